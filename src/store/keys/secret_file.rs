//! A secret of this server's own in a file: random, made once, readable by its owner alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{Error, random};

/// The secret in that file, which is made where there is none: by one process, whole or not at all.
pub fn kept(path: &Path) -> Result<[u8; 32], Error> {
    let failed = |error| Error::Io { path: path.to_owned(), error };
    if !path.exists() {
        let draft = path.with_extension(format!("draft.{}", std::process::id()));
        let written = write_draft(&draft).and_then(|()| match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        });
        let _ = fs::remove_file(&draft);
        written.map_err(failed)?;
    }
    read(path)
}

/// The secret in that file.
pub fn read(path: &Path) -> Result<[u8; 32], Error> {
    let failed = |error| Error::Io { path: path.to_owned(), error };
    let mut text = String::new();
    fs::File::open(path).and_then(|file| file.take(1024).read_to_string(&mut text)).map_err(failed)?;
    let bytes = blake3::Hash::from_hex(text.trim()).map_err(|_| {
        let what = "does not hold what this gateway wrote there: 64 hexadecimal digits";
        Error::Refused(format!("{}: {what}", path.display()))
    })?;
    Ok(*bytes.as_bytes())
}

fn write_draft(path: &Path) -> io::Result<()> {
    let bits: [u8; 32] = random().map_err(io::Error::other)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(blake3::Hash::from_bytes(bits).to_hex().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
