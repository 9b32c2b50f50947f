//! Reads the configuration's files: the one place here that touches the file system.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::pricing::Book;

use super::problem::{Problem, Problems, Severity};

/// Longest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Longest history of fetched prices that is read, in bytes: some ten thousand versions.
pub const SYNCED_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The history of fetched prices, in the state folder.
pub const SYNCED_FILE: &str = "prices.json";
/// Most policy files that are read.
pub const POLICY_FILES_MAX: usize = 256;

/// Where the configuration is, and what the command line says over it.
#[derive(Debug, Clone, Default)]
pub struct Location {
    /// `tollway.yaml`.
    pub config: PathBuf,
    /// Whether a missing `config` is an error: the operator named it.
    pub config_named: bool,
    /// The folder of policies.
    pub policies: PathBuf,
    /// Whether a missing `policies` is an error.
    pub policies_named: bool,
    /// `--listen`, which wins over the file.
    pub listen: Option<String>,
}

/// A file's text, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file as messages name it.
    pub name: Arc<str>,
    /// What it holds.
    pub text: Result<Arc<str>, String>,
}

/// Everything that was typed, as it stands in the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    /// `tollway.yaml`, if there is one.
    pub config: Option<Source>,
    /// The policy files, in name order.
    pub policies: Vec<Source>,
    /// What could not be found or listed at all.
    pub faults: Vec<Source>,
    /// `--listen`.
    pub listen: Option<String>,
    /// The folder in which relative paths start.
    pub folder: PathBuf,
    /// Which of the two were there.
    pub found: Found,
    /// The prices that were fetched ([`Documents::read_synced`]), if there are any.
    pub synced: Option<Source>,
}

/// Which parts of a configuration were there to be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// `tollway.yaml`.
    pub config: bool,
    /// The folder of policies.
    pub policies: bool,
}

impl Documents {
    /// Reads the prices that `tollway prices sync` keeps in `state_dir`.
    pub fn read_synced(&mut self, state_dir: &Path) {
        let path = state_dir.join(SYNCED_FILE);
        self.synced = match read_regular(&path, SYNCED_BYTES_MAX) {
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            read => Some(source(&path, read)),
        };
    }

    /// The prices that were fetched; none where there is no such file.
    pub fn synced_book(&self) -> Result<Book, String> {
        let Some(Source { name, text }) = &self.synced else { return Ok(Book::default()) };
        let read = text.clone().and_then(|text| Book::parse(&text).map_err(|error| error.to_string()));
        read.map_err(|problem| format!("{name} cannot be used: {problem}"))
    }

    /// What was there before and is gone, as problems: a file that vanishes under a running gateway is an accident (a volume
    /// unmounted, a rename half done), and the built-in defaults would drop every constraint in silence.
    pub(super) fn lacks(&self, before: Found) -> Problems {
        let mut problems = Problems::default();
        let parts = [
            (before.config && !self.found.config, "the configuration file"),
            (before.policies && !self.found.policies, "the folder of policies"),
        ];
        for (_, what) in parts.into_iter().filter(|(is_gone, _)| *is_gone) {
            problems.push(Problem {
                severity: Severity::Error,
                place: None,
                key_path: String::new(),
                message: format!("{what} is gone; what it said last stays in force"),
                suggestion: Some("put it back, or restart to do without it".to_owned()),
            });
        }
        problems
    }
}

/// Why a file was not read.
#[derive(Debug)]
pub(super) enum ReadError {
    NotRegular,
    TooLong,
    NotUtf8,
    Io(io::Error),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRegular => f.write_str("is not a regular file"),
            Self::TooLong => f.write_str("is too long: 1 MiB at most"),
            Self::NotUtf8 => f.write_str("is not UTF-8 text"),
            Self::Io(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl Location {
    /// `tollway.yaml` and `policies/` in the working folder, neither of which need exist.
    pub fn new(config: Option<PathBuf>, policies: Option<PathBuf>) -> Self {
        Self {
            config_named: config.is_some(),
            config: config.unwrap_or_else(|| PathBuf::from("tollway.yaml")),
            policies_named: policies.is_some(),
            policies: policies.unwrap_or_else(|| PathBuf::from("policies")),
            listen: None,
        }
    }

    /// The folder in which relative paths of the configuration start.
    pub fn folder(&self) -> PathBuf {
        match self.config.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Reads everything. What could not be read stands in the result, to be reported with all else that is wrong.
    pub fn read(&self) -> Documents {
        let mut documents =
            Documents { listen: self.listen.clone(), folder: self.folder(), ..Documents::default() };
        match read_regular(&self.config, FILE_BYTES_MAX) {
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound && !self.config_named => {}
            read => {
                let is_gone =
                    matches!(&read, Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound);
                documents.found.config = !is_gone;
                documents.config = Some(source(&self.config, read));
            }
        }
        match policy_files(&self.policies) {
            Ok(paths) => {
                documents.found.policies = true;
                documents.policies =
                    paths.iter().map(|path| source(path, read_regular(path, FILE_BYTES_MAX))).collect();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.policies_named => {}
            Err(error) => documents.faults.push(source(&self.policies, Err(ReadError::Io(error)))),
        }
        documents
    }
}

fn source(path: &Path, read: Result<String, ReadError>) -> Source {
    Source {
        name: path.display().to_string().into(),
        text: read.map(Into::into).map_err(|error| error.to_string()),
    }
}

/// `*.yaml` and `*.yml` of a folder in name order; hidden files, such as editors' and Kubernetes' own, are not among them.
fn policy_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_yaml = Path::new(name).extension().is_some_and(|end| end == "yaml" || end == "yml");
        if is_yaml && !name.starts_with('.') {
            paths.push(path);
        }
        if paths.len() > POLICY_FILES_MAX {
            return Err(io::Error::other(format!("holds more than {POLICY_FILES_MAX} policy files")));
        }
    }
    paths.sort();
    Ok(paths)
}

/// The text of a regular file of at most `bytes_max` bytes.
///
/// The kind is looked at before the file is opened, since opening a pipe would wait for its writer, and again afterwards.
pub(super) fn read_regular(path: &Path, bytes_max: u64) -> Result<String, ReadError> {
    if !fs::metadata(path).map_err(ReadError::Io)?.is_file() {
        return Err(ReadError::NotRegular);
    }
    let file = File::open(path).map_err(ReadError::Io)?;
    if !file.metadata().map_err(ReadError::Io)?.is_file() {
        return Err(ReadError::NotRegular);
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() as u64 > bytes_max {
        return Err(ReadError::TooLong);
    }
    String::from_utf8(bytes).map_err(|_| ReadError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_regular_text_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("long");
        fs::write(&long, vec![b'a'; 101]).unwrap();
        assert!(matches!(read_regular(&long, 100), Err(ReadError::TooLong)));
        assert!(matches!(read_regular(&long, 101), Ok(text) if text.len() == 101));
        fs::write(&long, [0xff, 0xfe]).unwrap();
        assert!(matches!(read_regular(&long, 100), Err(ReadError::NotUtf8)));
        assert!(matches!(read_regular(folder.path(), 100), Err(ReadError::NotRegular)));
        assert!(matches!(read_regular(Path::new("/dev/zero"), 100), Err(ReadError::NotRegular)));
        assert!(matches!(read_regular(&folder.path().join("none"), 100), Err(ReadError::Io(_))));
    }

    #[test]
    fn policies_come_in_name_order_without_hidden_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["20-b.yaml", "10-a.yml", ".hidden.yaml", "readme.md", "..data"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = policy_files(folder.path())
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["10-a.yml", "20-b.yaml"]);
    }
}
