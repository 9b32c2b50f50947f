//! Where the database is: an address as `psql` takes it, of which the settings for TLS are ours to obey.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::Error;
use super::tls::{Tls, Trust};

/// The name under which connections stand in `pg_stat_activity`, unless the address says another.
const APPLICATION: &str = "tollway";
/// A host that does not answer is given up after so long.
const DIAL_MAX: Duration = Duration::from_secs(5);

/// A database, and what its certificate must be.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: Tls,
}

impl Address {
    /// Reads `postgres://user:password@host:port/database?sslmode=…`. What is said of a bad one holds none of it.
    pub fn new(url: &str) -> Result<Self, Error> {
        let bad = |what: &str| Error::Address(what.to_owned());
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut roots, mut rest) = (None, None, Vec::new());
        for setting in query.split('&').filter(|setting| !setting.is_empty()) {
            match setting.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => roots = Some(value),
                _ => rest.push(setting),
            }
        }
        let rest = rest.join("&");
        let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{rest}") };
        let mut config: Config = url.parse().map_err(|_| bad("its address cannot be read"))?;
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(DIAL_MAX);
        }
        let is_near = config.get_hosts().iter().all(is_here);
        let (how, trust) = match mode {
            Some("disable") => (SslMode::Disable, Trust::Anybody),
            Some("prefer") => (SslMode::Prefer, Trust::Anybody),
            // As libpq does it: with roots that are named, `require` means that they must have signed.
            Some("require") if roots.is_some() => (SslMode::Require, Trust::Signed),
            Some("require") => (SslMode::Require, Trust::Anybody),
            Some("verify-ca") => (SslMode::Require, Trust::Signed),
            Some("verify-full") => (SslMode::Require, Trust::Named),
            Some(_) => return Err(bad("its sslmode is none that is known")),
            None if is_near => (SslMode::Prefer, Trust::Anybody),
            None => (SslMode::Require, Trust::Named),
        };
        config.ssl_mode(how);
        let tls = Tls::new(trust, roots.map(Path::new)).map_err(Error::Address)?;
        Ok(Self { config, tls })
    }

    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn tls(&self) -> Tls {
        self.tls.clone()
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its own words would hold the password.
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

/// Whether a host is this machine, so that nobody listens in between.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_as_strict_as_the_address_says_and_strictest_where_it_says_nothing() {
        let mode = |url: &str| {
            let address = Address::new(url).expect("an address");
            (address.config.get_ssl_mode(), address.tls.trust())
        };
        assert_eq!(mode("postgres://u:p@db.example/d"), (SslMode::Require, Trust::Named));
        assert_eq!(mode("postgres://u:p@127.0.0.1/d"), (SslMode::Prefer, Trust::Anybody));
        assert_eq!(mode("postgres://u@%2Ftmp/d"), (SslMode::Prefer, Trust::Anybody));
        assert_eq!(mode("postgres://u@h/d?sslmode=disable"), (SslMode::Disable, Trust::Anybody));
        assert_eq!(mode("postgres://u@h/d?sslmode=require"), (SslMode::Require, Trust::Anybody));
        assert_eq!(
            mode("postgres://u@h/d?connect_timeout=3&sslmode=verify-ca"),
            (SslMode::Require, Trust::Signed)
        );
    }

    #[test]
    fn r51_what_is_said_of_an_address_holds_no_password() {
        let bad = "postgres://u:hunter2@h:port/d";
        let error = Address::new(bad).expect_err("no number");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let good = Address::new("postgres://u:hunter2@localhost/d").expect("an address");
        assert!(!format!("{good:?}").contains("hunter2"));
        let missing =
            Address::new("postgres://u:hunter2@h/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem");
        let said = missing.expect_err("no file").to_string();
        assert!(said.contains("/nowhere/ca.pem") && !said.contains("hunter2"), "{said}");
    }
}
