//! For people or for scripts: what `--output` chooses.

use std::io::{self, Write};

use serde::Serialize;

/// Who reads what a verb prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// Aligned text for people.
    #[default]
    Human,
    /// One JSON value for scripts.
    Json,
}

impl Output {
    /// Prints `value`, in the words that `text` makes of it or as JSON. A reader who has seen enough (`| head`) is no
    /// error.
    pub fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
        to: &mut impl Write,
    ) -> io::Result<()> {
        let text = match self {
            Self::Human => text(value),
            Self::Json => serde_json::to_string_pretty(value)? + "\n",
        };
        match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            printed => printed,
        }
    }
}
