//! The file beside the ledger: its lock is the right to write, and it holds the number of the last transaction that anybody
//! was told of. A ledger with fewer has lost some, which its own checksums cannot tell: each earlier state bears them too.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::error::Error;
use super::{Durability, schema};

/// Number, run of the machine, durability, checksum.
const LENGTH: usize = 8 + 16 + 1 + 7;

/// How often the lock is asked for, ten milliseconds apart.
const TRIES: u32 = 20;

/// The right to write a ledger, until it is dropped.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    boot: [u8; 16],
    /// What it held at the opening.
    said: Option<Said>,
}

#[derive(Debug, Clone, Copy)]
struct Said {
    commits: i64,
    /// Whether that must be on the disk: it was synced, or the machine has not stopped since.
    sure: bool,
}

impl Witness {
    /// Takes the right, or says who cannot have it.
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        let name = schema::lock_file(path);
        let failed = |error: std::io::Error| Error::io(&name, &error);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let options = File::options().create(true).truncate(false).read(true).write(true).open(&name);
        let mut file = options.map_err(failed)?;
        // A lock that was just given up may be held a moment longer, by a child that has not begun its own program yet.
        let mut tries = TRIES;
        while let Err(error) = file.try_lock() {
            match error {
                TryLockError::WouldBlock if tries == 0 => return Err(Error::Held(path.to_owned())),
                TryLockError::WouldBlock => tries -= 1,
                TryLockError::Error(error) => return Err(failed(error)),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let boot = boot();
        let mut bytes = Vec::with_capacity(LENGTH);
        file.by_ref().take(LENGTH as u64).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Self { file, boot, said: read(&bytes, &boot) })
    }

    /// Whether there was a ledger before.
    pub(super) fn knows_of_one(&self) -> bool {
        self.said.is_some_and(|said| said.commits > 0)
    }

    /// Compares what was said with what the file has.
    pub(super) fn compare(&self, path: &Path, commits: i64) -> Result<(), Error> {
        match self.said {
            Some(said) if said.commits > commits && said.sure => {
                let gone = said.commits - commits;
                Err(Error::damaged(
                    path,
                    format!("its last {gone} transactions, which were acknowledged, are gone"),
                ))
            }
            Some(said) if said.commits > commits => {
                let gone = said.commits - commits;
                tracing::error!(
                    gone,
                    "the machine stopped, and the ledger's last transactions with it: see docs/ledger.md on `durability`"
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Notes a transaction, before anybody is told of it.
    pub(super) fn note(&self, commits: i64, durability: Durability) {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&commits.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.boot);
        bytes[24] = u8::from(durability == Durability::Power);
        let sum = blake3::hash(&bytes[..25]);
        bytes[25..].copy_from_slice(&sum.as_bytes()[..LENGTH - 25]);
        if let Err(error) = self.file.write_all_at(&bytes, 0) {
            tracing::warn!(%error, "the number of the last transaction was not noted");
        }
    }
}

fn read(bytes: &[u8], boot: &[u8; 16]) -> Option<Said> {
    let sum = blake3::hash(bytes.get(..25)?);
    if bytes.get(25..LENGTH)? != &sum.as_bytes()[..LENGTH - 25] {
        return None;
    }
    let commits = i64::from_le_bytes(bytes[..8].try_into().ok()?);
    Some(Said { commits, sure: bytes[24] == 1 || bytes[8..24] == boot[..] })
}

/// This run of the machine; all runs are one where the system does not name them.
fn boot() -> [u8; 16] {
    let name = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut first = [0; 16];
    first.copy_from_slice(&blake3::hash(&name).as_bytes()[..16]);
    first
}
