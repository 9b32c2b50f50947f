//! The ledger of a fleet: a PostgreSQL to which every replica sends its records, and from which all of them are read together.
//!
//! `address` says where it is, `tls` how sure one is of that, `schema` makes its tables, `rows` is what stands in them. `send` is the
//! task that sends, `read` is for those who look. No request waits for any of it: what is durable is the ledger on each machine.

mod address;
pub mod read;
mod rows;
mod schema;
pub mod send;
mod tls;

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Connection, Socket};

pub use address::Address;
pub use read::Reader;
pub use send::{Progress, Sender, run};

use tls::Stream;

/// Longest wait for a connection, with all that is said before the first question.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Why the database could not be spoken to. No password is in it, nor anything of a row.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be an address, or its certificates cannot be read.
    #[error("the ledger's PostgreSQL: {0}")]
    Address(String),
    /// It could not be reached, or went away.
    #[error("PostgreSQL cannot be reached: {0}")]
    Unreachable(String),
    /// It stayed silent.
    #[error("PostgreSQL does not answer in time")]
    Timeout,
    /// It does not let us in.
    #[error("PostgreSQL refuses the connection: {0}")]
    Refused(String),
    /// It was asked something that it did not do.
    #[error("PostgreSQL refuses what it was asked: {0}")]
    Query(String),
    /// Its tables are another version's.
    #[error("the tables in PostgreSQL have version {0}, and this version of tollway knows {known}", known = schema::VERSION)]
    Version(i32),
    /// What it says makes no sense.
    #[error("PostgreSQL says what makes no sense: {0}")]
    Odd(String),
    /// The ledger on this machine could not be read or written.
    #[error("{0}")]
    Ledger(#[from] super::ledger::Error),
}

impl Error {
    /// The word for it in metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Unreachable(_) => "unreachable",
            Self::Timeout => "timeout",
            Self::Refused(_) => "refused",
            Self::Query(_) | Self::Version(_) | Self::Odd(_) => "query",
            Self::Ledger(_) => "ledger",
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            // Its sources tell of sockets and certificates; what a connection was opened with is in none of them.
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            return Self::Unreachable(text);
        };
        // Details are left out: they may hold rows.
        let text = format!("{} ({})", said.message(), said.code().code());
        let class = said.code().code().get(..2).unwrap_or_default();
        match class {
            "28" => Self::Refused(text),
            "57" | "53" | "08" => Self::Unreachable(text),
            _ if *said.code() == SqlState::INVALID_CATALOG_NAME => Self::Refused(text),
            _ => Self::Query(text),
        }
    }
}

/// A connection that nobody drives yet: whoever asks something polls it meanwhile (`driven`).
struct Link {
    client: Client,
    connection: Connection<Socket, Stream>,
}

impl Link {
    async fn open(address: &Address) -> Result<Self, Error> {
        let connecting = Box::pin(address.config().connect(address.tls()));
        let connected = tokio::time::timeout(CONNECT_MAX, connecting).await.map_err(|_| Error::Timeout)?;
        let (client, connection) = connected?;
        Ok(Self { client, connection })
    }

    /// What `ask` brings, with the connection driven until then, in `limit` at most. After an error the link is of no use.
    async fn driven<T>(
        &mut self,
        limit: Duration,
        ask: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Self { client, connection } = self;
        let asked = async {
            tokio::select! {
                biased;
                answer = ask(client) => answer,
                ended = connection => match ended {
                    Ok(()) => Err(Error::Unreachable("the connection was closed".to_owned())),
                    Err(error) => Err(error.into()),
                },
            }
        };
        tokio::time::timeout(limit, Box::pin(asked)).await.map_err(|_| Error::Timeout)?
    }
}
