//! `ledger`: where and how records are kept, and the PostgreSQL that a fleet sends them to.

use std::path::Path;

use http::Uri;

use crate::config::document::TollwayDocument;
use crate::config::document::ledger::{DurabilityWord, LedgerDocument};
use crate::config::read::Reader;
use crate::config::snapshot::{LedgerSettings, PostgresAddress};

use super::settings::{RETENTION, in_folder, secret, state_dir};

const WORKS: &str =
    "write it as `postgres://user:password@host:5432/database`, with `?sslmode=verify-full` or another mode";

/// Settings of an address that are understood. Others would be taken for settings of the client's or of the server's.
const QUERY: [&str; 4] = ["sslmode", "sslrootcert", "application_name", "connect_timeout"];
const SSL_MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// Where and how records are kept.
pub(super) fn compile(reader: &Reader<'_>, document: &TollwayDocument, folder: &Path) -> LedgerSettings {
    let typed = document.ledger.as_ref().map(|ledger| &ledger.0);
    let path = typed.and_then(|ledger| ledger.path.as_ref());
    let durability = typed.and_then(|ledger| ledger.durability.as_ref());
    let retention = typed.and_then(|ledger| ledger.retention.as_ref());
    LedgerSettings {
        path: path
            .map_or_else(|| state_dir(document, folder).join("ledger.db"), |path| in_folder(folder, &path.0)),
        synced: durability.is_some_and(|word| word.value == DurabilityWord::Power),
        retention: retention.map_or(Some(RETENTION), |days| days.0),
        postgres: typed.and_then(|ledger| postgres(reader, ledger)),
    }
}

fn postgres(reader: &Reader<'_>, ledger: &LedgerDocument) -> Option<PostgresAddress> {
    use secrecy::ExposeSecret as _;
    let spot = ledger.postgres.as_ref().map(|typed| typed.spot);
    let spot = spot.or_else(|| ledger.postgres_file.as_ref().map(|file| file.spot))?;
    match secret(reader, ledger.postgres.as_ref(), ledger.postgres_file.as_ref())? {
        Ok(address) => match fault_in(address.expose_secret()) {
            None => Some(PostgresAddress(address)),
            Some(fault) => {
                reader.error(spot, fault, Some(WORKS.to_owned()));
                None
            }
        },
        Err(variable) => {
            let message =
                format!("`{}` needs the variable {variable}, which is unset or empty", reader.key(spot));
            reader.error(spot, &message, Some(format!("set {variable}")));
            None
        }
    }
}

/// What is wrong with an address of PostgreSQL. Nothing said here holds any of it, since a password may stand there.
fn fault_in(text: &str) -> Option<&'static str> {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    let Some(rest) = rest else { return Some("the ledger is not an address of PostgreSQL") };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    if host.contains(',') {
        return Some("the ledger's address names several hosts: name the one that may be written to");
    }
    // A folder of sockets is a host with its slashes escaped, which no other address has.
    let socket = host.starts_with("%2F") || host.starts_with("%2f");
    let uri = format!("http://{}", if socket { "localhost" } else { host }).parse::<Uri>();
    if uri.map_or(true, |uri| uri.host().unwrap_or_default().is_empty()) {
        return Some("the ledger's address names no host");
    }
    if user.starts_with(':') {
        return Some("the ledger's address has a password and no user");
    }
    if database.contains(['/', '#']) || query.contains('#') {
        return Some("the ledger's address has more behind the database than it may");
    }
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        match setting.split_once('=') {
            Some(("sslmode", mode)) if !SSL_MODES.contains(&mode) => {
                return Some(
                    "`sslmode` must be `disable`, `prefer`, `require`, `verify-ca` or `verify-full`",
                );
            }
            Some((name, _)) if QUERY.contains(&name) => {}
            _ => {
                return Some(
                    "behind the `?` only `sslmode`, `sslrootcert`, `application_name` and `connect_timeout` may stand",
                );
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_postgresql_pass_and_nothing_else() {
        for good in [
            "postgres://h",
            "postgresql://u:p%40w@h:5432/tollway",
            "postgres://u@[::1]/d?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres://u@%2Fvar%2Frun%2Fpostgresql/d?sslmode=disable",
        ] {
            assert_eq!(fault_in(good), None, "{good}");
        }
        for bad in [
            "redis://h",
            "postgres://",
            "postgres:///d",
            "postgres://:pw@h/d",
            "postgres://a,b/d",
            "postgres://h/d/e",
            "postgres://h/d?sslmode=none",
            "postgres://h/d?options=-c%20x",
            "postgres://h/d#f",
        ] {
            assert!(fault_in(bad).is_some(), "{bad}");
        }
    }
}
