//! `tollway check`: validates the files with the very code that serves them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::config::{Location, Problem, Problems, Severity, Snapshot, watch};

/// Validate the configuration and the policies.
///
/// Every fault is shown at once, with its file, line and column, and the nearest right word. Exit status: 0 where everything
/// is accepted, 1 where something is not.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollway check\n  tollway check --config tollway.yaml --policies policies --output github"
)]
pub(super) struct Args {
    /// The configuration file [default: tollway.yaml, which need not exist]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of policies [default: policies, which need not exist]
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// For people, for scripts, or as annotations of a GitHub workflow
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Human,
    Json,
    Github,
}

/// Checks, and prints what it found.
pub(super) fn run(args: Args) -> ExitCode {
    let location = Location::new(args.config, args.policies);
    let (_, compiled) = watch::read(&location);
    let accepted = compiled.is_ok();
    let text = match args.output {
        Output::Human => human(&compiled),
        Output::Json => format!("{:#}\n", as_json(&compiled)),
        Output::Github => github(problems(&compiled)),
    };
    let printed = anstream::stdout().lock().write_all(text.as_bytes());
    match printed {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ if accepted => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

type Compiled = Result<Snapshot, Problems>;

fn problems(compiled: &Compiled) -> &Problems {
    match compiled {
        Ok(snapshot) => &snapshot.warnings,
        Err(problems) => problems,
    }
}

fn human(compiled: &Compiled) -> String {
    let mut text = String::new();
    for problem in problems(compiled) {
        text.push_str(&coloured(problem));
        text.push('\n');
    }
    match compiled {
        Ok(snapshot) => text.push_str(&summary(snapshot)),
        Err(problems) => {
            let of = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
            let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
            let _ = write!(text, "refused: {}", counted(errors, "error"));
            if warnings > 0 {
                let _ = write!(text, ", {}", counted(warnings, "warning"));
            }
            text.push('\n');
        }
    }
    text
}

/// A problem as it prints itself, its severity and carets in colour.
fn coloured(problem: &Problem) -> String {
    let colour = match problem.severity {
        Severity::Error => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
    };
    let style = Style::new().bold().fg_color(Some(colour.into()));
    let word = format!("{}: ", problem.severity.name());
    let mut text = String::new();
    for line in problem.to_string().lines() {
        let is_carets =
            line.trim_start().strip_prefix('|').is_some_and(|rest| rest.trim().chars().all(|c| c == '^'));
        let _ = match line.split_once(&word) {
            Some((before, after)) if text.is_empty() => {
                writeln!(text, "{before}{style}{word}{style:#}{after}")
            }
            _ if is_carets => writeln!(text, "{style}{line}{style:#}"),
            _ => writeln!(text, "{line}"),
        };
    }
    text
}

fn summary(snapshot: &Snapshot) -> String {
    let counts = snapshot.counts();
    let mut text = format!(
        "ok: {} ({} usable), {}, {}, {}, {}, {}\n",
        counted(counts.providers, "provider"),
        counts.usable,
        counted(counts.routes, "route"),
        if counts.policies == 1 { "1 policy".to_owned() } else { format!("{} policies", counts.policies) },
        counted(counts.keys, "key"),
        counted(counts.budgets, "budget"),
        counted(counts.limits, "limit"),
    );
    for provider in &snapshot.providers {
        if let Err(why) = &provider.usable {
            let _ = writeln!(text, "  {} is left aside: {why}", provider.name);
        }
    }
    text
}

fn counted(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

fn as_json(compiled: &Compiled) -> Value {
    let problems: Vec<Value> = problems(compiled)
        .iter()
        .map(|problem| {
            let place = problem.place.as_ref();
            json!({
                "severity": problem.severity.name(),
                "file": place.map(|place| &*place.file),
                "line": place.map(|place| place.line).filter(|line| *line > 0),
                "column": place.map(|place| place.column).filter(|column| *column > 0),
                "key": problem.key_path,
                "message": problem.message,
                "suggestion": problem.suggestion,
            })
        })
        .collect();
    let counts = compiled.as_ref().ok().map(|snapshot| {
        let counts = snapshot.counts();
        json!({
            "providers": counts.providers,
            "usable": counts.usable,
            "routes": counts.routes,
            "policies": counts.policies,
            "keys": counts.keys,
            "budgets": counts.budgets,
            "limits": counts.limits,
        })
    });
    json!({ "ok": compiled.is_ok(), "counts": counts, "problems": problems })
}

/// Workflow commands, which GitHub turns into annotations of the changed lines.
fn github(problems: &Problems) -> String {
    let escaped = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| escaped(text).replace(':', "%3A").replace(',', "%2C");
    let mut text = String::new();
    for problem in problems {
        text.push_str("::");
        text.push_str(problem.severity.name());
        if let Some(place) = &problem.place {
            let _ = write!(text, " file={}", property(&place.file));
            if place.line > 0 {
                let _ = write!(text, ",line={},col={}", place.line, place.column);
            }
        }
        let help = problem.suggestion.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        let _ = writeln!(text, "::{}", escaped(&format!("{}{help}", problem.message)));
    }
    text
}
