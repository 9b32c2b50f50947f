//! `tollway schema`: the JSON Schemas that editors complete and check with.

use std::io::Write as _;
use std::process::ExitCode;

use crate::config::document::schema;

/// Print a JSON Schema, for editors.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tollway schema policy > policy.schema.json\n\n\
    then begin a policy file with\n  # yaml-language-server: $schema=policy.schema.json")]
pub(super) struct Args {
    /// Which file's schema.
    #[arg(value_enum)]
    document: Document,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Document {
    /// tollway.yaml
    Config,
    /// A file under policies/
    Policy,
}

/// Prints it.
pub(super) fn run(args: &Args) -> ExitCode {
    let schema = match args.document {
        Document::Config => schema::config(),
        Document::Policy => schema::policy(),
    };
    match std::io::stdout().lock().write_all(schema::printed(&schema).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough (`tollway schema config | head`).
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
