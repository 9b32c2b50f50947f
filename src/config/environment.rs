//! What a configuration may read besides its own text: variables and secret files. `compile` asks for them through
//! a trait, so that it stays pure.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

/// Longest secret file, in bytes.
pub const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Why a secret file gave no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretFileError {
    /// It is a directory, device, pipe or socket.
    #[error("is not a regular file")]
    NotRegular,
    /// Longer than any secret.
    #[error("is longer than 64 KiB")]
    TooLong,
    /// Nothing in it but white space.
    #[error("is empty")]
    Empty,
    /// Not text, or text on several lines.
    #[error("holds something other than one line of visible ASCII text")]
    NotText,
    /// The system refused, with its words.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

/// The world as far as a configuration may see it.
pub trait Environment {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// The secret in a file; a relative path starts at the configuration file's folder.
    fn secret_file(&self, path: &Path) -> Result<SecretString, SecretFileError>;
}

/// This machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Where relative paths start.
    pub folder: PathBuf,
}

impl Environment for Machine {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn secret_file(&self, path: &Path) -> Result<SecretString, SecretFileError> {
        let text =
            super::load::read_regular(&self.folder.join(path), SECRET_BYTES_MAX).map_err(
                |error| match error {
                    super::load::ReadError::NotRegular => SecretFileError::NotRegular,
                    super::load::ReadError::TooLong => SecretFileError::TooLong,
                    super::load::ReadError::NotUtf8 => SecretFileError::NotText,
                    super::load::ReadError::Io(error) => {
                        SecretFileError::Unreadable(error.kind().to_string())
                    }
                },
            )?;
        secret_line(&text).map(SecretString::from)
    }
}

/// The one line of a secret file, without the line's end.
pub(super) fn secret_line(text: &str) -> Result<String, SecretFileError> {
    let line = text.trim_matches([' ', '\t', '\r', '\n']);
    match () {
        () if line.is_empty() => Err(SecretFileError::Empty),
        () if !is_secret(line) => Err(SecretFileError::NotText),
        () => Ok(line.to_owned()),
    }
}

/// Whether a text can be a bearer token: visible ASCII, so that it can stand in a header and adds none.
pub(super) fn is_secret(text: &str) -> bool {
    !text.is_empty() && text.len() <= 4096 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn r48_only_short_regular_files_hold_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine { folder: folder.path().to_owned() };
        let read =
            |name: &str| machine.secret_file(Path::new(name)).map(|secret| secret.expose_secret().to_owned());
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        write("good", b"abc-123\n");
        assert_eq!(read("good"), Ok("abc-123".to_owned()));
        write("long", "a".repeat(70_000).as_bytes());
        assert_eq!(read("long"), Err(SecretFileError::TooLong));
        write("two", b"abc\ndef\n");
        assert_eq!(read("two"), Err(SecretFileError::NotText));
        write("bytes", &[0xff, 0xfe]);
        assert_eq!(read("bytes"), Err(SecretFileError::NotText));
        write("empty", b"\n");
        assert_eq!(read("empty"), Err(SecretFileError::Empty));
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for odd in ["pipe", "/dev/zero", "."] {
            assert_eq!(read(odd), Err(SecretFileError::NotRegular), "{odd}");
        }
        assert!(matches!(read("none"), Err(SecretFileError::Unreadable(_))));
    }
}
