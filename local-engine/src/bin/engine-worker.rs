//! The worker process alone, without the gateway around it.

fn main() -> std::process::ExitCode {
    local_engine::worker_main(std::env::args_os().skip(1))
}
