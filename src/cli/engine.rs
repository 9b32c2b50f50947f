//! `tollway engine`: how the local engine is, and what hardware there is for it.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use local_engine::{
    EngineState, EngineStatus,
    hardware::{self, Hardware},
};

/// The admin listener's default address.
const ADMIN_URL: &str = "http://127.0.0.1:9464";

/// How long the gateway may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most of its answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// The local engine.
#[derive(Debug, Args)]
#[command(after_help = "Example: tollway engine status --output json")]
pub(super) struct EngineArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// How a running gateway's engine is: state, load, restarts, and why it is not ready.
    ///
    /// Exit status 0 when it is ready, 1 when it is not or the gateway cannot be reached.
    #[command(after_help = "Example: tollway engine status --url http://127.0.0.1:9464")]
    Status {
        /// The gateway's admin listener.
        #[arg(long, default_value = ADMIN_URL)]
        url: String,
        /// For people or for scripts.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// What this machine has for a local engine: cores, CPU features, accelerators.
    #[command(after_help = "Example: tollway engine detect --output json")]
    Detect {
        /// For people or for scripts.
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Why the gateway's answer is not to be had.
#[derive(Debug, thiserror::Error)]
enum Unreachable {
    #[error("`--url {0}` is not an address of the form http://host:port")]
    Address(String),
    #[error(
        "no gateway answers at {0} ({1}); start one with `tollway serve`, or give its admin listener with `--url`"
    )]
    Silent(String, io::Error),
    #[error("{0} answered with status {1}; is it the admin listener of a gateway?")]
    Refused(String, u16),
    #[error("{0} did not answer with an engine's status ({1}); is it the admin listener of a gateway?")]
    Strange(String, serde_json::Error),
}

/// Runs `tollway engine`, with its results on `out`.
///
/// # Errors
/// Only where `out` cannot be written to.
pub(super) fn run(args: &EngineArgs, out: &mut dyn Write) -> Result<ExitCode, io::Error> {
    match &args.verb {
        Verb::Status { url, output } => match status(url) {
            Ok(status) => print_status(&status, *output, out),
            Err(error) => {
                match output {
                    Output::Text => writeln!(out, "{error}")?,
                    Output::Json => writeln!(out, "{}", serde_json::json!({"error": error.to_string()}))?,
                }
                Ok(ExitCode::FAILURE)
            }
        },
        Verb::Detect { output } => {
            print_hardware(&hardware::detect(), *output, out)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print_status(status: &EngineStatus, output: Output, out: &mut dyn Write) -> Result<ExitCode, io::Error> {
    let code = if status.state == EngineState::Ready { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if output == Output::Json {
        serde_json::to_writer_pretty(&mut *out, status)?;
        writeln!(out)?;
        return Ok(code);
    }
    let state = match status.state {
        EngineState::Starting => "starting",
        EngineState::Ready => "ready",
        EngineState::BackingOff => "backing off",
        EngineState::Failed => "failed",
        EngineState::Off => "off",
    };
    writeln!(out, "engine    {state}")?;
    if let Some(reason) = &status.reason {
        writeln!(out, "reason    {reason}")?;
    }
    if status.state == EngineState::Off {
        return Ok(code);
    }
    writeln!(out, "model     {} ({})", status.model, status.model_file.display())?;
    writeln!(
        out,
        "load      {} running of {}, {} queued of {}",
        status.running, status.parallel, status.queued, status.queue_requests_max
    )?;
    writeln!(out, "context   {} of {} tokens in use", status.kv_tokens, status.context_tokens)?;
    writeln!(out, "speed     {} tokens/s over the last steps", status.tokens_per_second)?;
    let pid = status.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    writeln!(out, "process   {pid}, {} restarts, socket {}", status.restarts, status.socket.display())?;
    Ok(code)
}

fn print_hardware(found: &Hardware, output: Output, out: &mut dyn Write) -> Result<(), io::Error> {
    if output == Output::Json {
        serde_json::to_writer_pretty(&mut *out, found)?;
        return writeln!(out);
    }
    writeln!(
        out,
        "cpu           {} cores, {}: {}",
        found.cores,
        found.architecture,
        found.cpu_features.join(" ")
    )?;
    if found.cpu_features_missing.is_empty() {
        writeln!(out, "embedded      runs here, with {} compute threads by default", found.compute_threads)?;
    } else {
        writeln!(
            out,
            "embedded      does not run here: the CPU lacks {}",
            found.cpu_features_missing.join(", ")
        )?;
    }
    if found.accelerators.is_empty() {
        writeln!(out, "accelerators  none that nvidia-smi or npu-smi reports")?;
    }
    for device in &found.accelerators {
        let memory =
            device.memory_mib.map_or_else(|| "memory unknown".to_owned(), |mib| format!("{mib} MiB"));
        writeln!(out, "accelerator   {} {}: {}, {memory}", device.vendor, device.index, device.name)?;
    }
    Ok(())
}

fn status(url: &str) -> Result<EngineStatus, Unreachable> {
    let wrong = || Unreachable::Address(url.to_owned());
    let authority = url.strip_prefix("http://").ok_or_else(wrong)?.trim_end_matches('/');
    let address = if authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let (code, body) = fetch(&address).map_err(|error| Unreachable::Silent(url.to_owned(), error))?;
    if code != 200 {
        return Err(Unreachable::Refused(url.to_owned(), code));
    }
    serde_json::from_slice(&body).map_err(|error| Unreachable::Strange(url.to_owned(), error))
}

/// One GET over one connection. HTTP/1.0, so that the answer is neither chunked nor kept open.
fn fetch(address: &str) -> Result<(u16, Vec<u8>), io::Error> {
    let resolved =
        address.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&resolved, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /admin/v1/engine HTTP/1.0\r\nhost: {address}\r\naccept: application/json\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(broken)?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer);
    let code = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).ok_or_else(broken)?;
    Ok((code, body))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: EngineArgs,
    }

    fn run_line(words: &[&str]) -> (bool, String) {
        let line = Line::try_parse_from([&["engine"], words].concat()).unwrap();
        let mut out = Vec::new();
        let code = run(&line.args, &mut out).unwrap();
        (code == ExitCode::SUCCESS, String::from_utf8(out).unwrap())
    }

    /// A gateway that answers once.
    fn gateway(answer: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // To its end: what is left unread would make a reset of the close.
            let (mut asked, mut part) = (Vec::new(), [0; 512]);
            while !asked.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut part).unwrap();
                assert!(read > 0, "the request ends early");
                asked.extend_from_slice(&part[..read]);
            }
            assert!(asked.starts_with(b"GET /admin/v1/engine "));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        url
    }

    #[test]
    fn a_ready_engine_is_shown_and_succeeds() {
        let mut status = EngineStatus::off("");
        status.state = EngineState::Ready;
        status.reason = None;
        status.model = "small".to_owned();
        status.running = 2;
        status.parallel = 8;
        let url = gateway(format!("HTTP/1.1 200 OK\r\n\r\n{}", serde_json::to_string(&status).unwrap()));
        let (succeeded, text) = run_line(&["status", "--url", &url]);
        assert!(succeeded && text.contains("engine    ready") && text.contains("2 running of 8"), "{text}");
    }

    #[test]
    fn an_engine_that_is_off_fails_with_its_reason_for_scripts_too() {
        let answer = serde_json::to_string(&EngineStatus::off("nobody wants it")).unwrap();
        let url = gateway(format!("HTTP/1.0 200 OK\r\n\r\n{answer}"));
        let (succeeded, text) = run_line(&["status", "--url", &url, "--output", "json"]);
        let read: EngineStatus = serde_json::from_str(&text).unwrap();
        assert!(!succeeded && read.reason.as_deref() == Some("nobody wants it"));
    }

    #[test]
    fn whoever_is_not_a_gateway_is_told_apart() {
        let (_, text) = run_line(&["status", "--url", &gateway("HTTP/1.1 404 Not Found\r\n\r\n".to_owned())]);
        assert!(text.contains("status 404"), "{text}");
        let (_, text) = run_line(&["status", "--url", &gateway("HTTP/1.1 200 OK\r\n\r\nhello".to_owned())]);
        assert!(text.contains("did not answer with an engine's status"), "{text}");
        let (_, text) = run_line(&["status", "--url", "localhost"]);
        assert!(text.contains("not an address"), "{text}");
        // A port that was just free.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (succeeded, text) = run_line(&["status", "--url", &format!("http://127.0.0.1:{port}")]);
        assert!(!succeeded && text.contains("tollway serve"), "{text}");
    }

    #[test]
    fn this_machine_has_a_core() {
        let (succeeded, text) = run_line(&["detect", "--output", "json"]);
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(succeeded && found["cores"].as_u64().unwrap() >= 1);
    }
}
