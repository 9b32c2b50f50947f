//! Which ledger is read: this machine's, or the database that has every replica's records.

use secrecy::ExposeSecret as _;

use super::{Error, Which};
use crate::config::{Location, watch};
use crate::ledger::RequestRecord;
use crate::store::ledger::{Reader, read::Span};
use crate::store::postgres;

/// A ledger that is read.
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub(in crate::cli) enum Source {
    /// On this machine.
    Here(Reader),
    /// Of the whole fleet.
    Fleet(Fleet),
}

/// The fleet's, and what waits for its answers.
pub(in crate::cli) struct Fleet {
    pub(in crate::cli) reader: postgres::Reader,
    pub(in crate::cli) runtime: tokio::runtime::Runtime,
}

impl Which {
    /// Opens the ledger that was asked for.
    pub(in crate::cli) fn source(&self) -> Result<Source, Error> {
        if self.fleet { self.fleet().map(Source::Fleet) } else { self.open().map(Source::Here) }
    }

    /// Connects to the fleet's database.
    pub(super) fn fleet(&self) -> Result<Fleet, Error> {
        let (_, compiled) = watch::read(&Location::new(self.config.clone(), None));
        let settings = compiled.map_err(Error::Configuration)?.settings;
        let address = settings.ledger.postgres.ok_or_else(|| {
            Error::Usage("--fleet needs `ledger: {postgres: …}` in the configuration".to_owned())
        })?;
        let address = postgres::Address::new(address.0.expose_secret())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let reader = runtime.block_on(postgres::Reader::open(&address))?;
        Ok(Fleet { reader, runtime })
    }
}

impl Source {
    /// Each record in turn, until `see` says no more (`false`).
    pub(in crate::cli) fn each(
        &mut self,
        span: Span,
        see: impl FnMut(RequestRecord) -> bool,
    ) -> Result<(), Error> {
        match self {
            Self::Here(reader) => Ok(reader.each(span, see)?),
            Self::Fleet(Fleet { reader, runtime }) => Ok(runtime.block_on(reader.each(span, see))?),
        }
    }
}
