//! The `tollway` binary: hands the command line to `cli`.

fn main() -> std::process::ExitCode {
    tollway::cli::main()
}
