//! `store`: whether this gateway is alone, or the Redis in which it shares what it knows with other replicas.

use http::Uri;

use crate::config::document::TollwayDocument;
use crate::config::read::Reader;
use crate::config::record::not_among;
use crate::config::snapshot::Store;

const WORKS: &str = "write it as `redis://host:6379/0`, `redis+cluster://host:6379,host:6379` or \
                     `redis+sentinel://host:26379,host:26379/name`, over TLS with `rediss`";

pub(super) fn compile(reader: &Reader<'_>, document: &TollwayDocument) -> Store {
    let Some(store) = &document.store else { return Store::Embedded };
    let text = &*store.0;
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        None if text == "embedded" => {}
        Some(
            "redis" | "rediss" | "redis+cluster" | "rediss+cluster" | "redis+sentinel" | "rediss+sentinel",
        ) => match fault_in(text) {
            None => {
                return Store::Redis(text.to_owned().into());
            }
            Some(fault) => reader.error(store.spot, fault, Some(WORKS.to_owned())),
        },
        Some(scheme) if scheme.contains("cluster") || scheme.contains("sentinel") => {
            reader.error(store.spot, "`store` is not an address of Redis", Some(WORKS.to_owned()));
        }
        _ => not_among(reader, store.spot, text, &["embedded", "redis://host:port/db"]),
    }
    Store::Embedded
}

/// What is wrong with an address of Redis. Nothing said here holds any of it, since a password may stand there.
fn fault_in(text: &str) -> Option<&'static str> {
    // A client library would take settings from there, among them one that turns the certificate's check off.
    if text.contains(['?', '#']) {
        return Some("`store` must not have a query or fragment");
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (tls, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    if kind.is_empty() && hosts.contains(',') {
        return Some("`store` names several hosts, which only a cluster has, or sentinels");
    }
    for host in hosts.split(',') {
        let at = if user.is_empty() { "" } else { "@" };
        let Ok(uri) = format!("{tls}://{user}{at}{host}").parse::<Uri>() else {
            return Some("`store` is not an address of Redis");
        };
        if uri.host().unwrap_or_default().is_empty() {
            return Some("`store` names no host");
        }
    }
    let is_number =
        |database: &str| database.len() <= 5 && database.bytes().all(|byte| byte.is_ascii_digit());
    match kind {
        "cluster" => (!matches!(path, "" | "0")).then_some("a cluster has no databases to choose from"),
        "sentinel" => {
            let (name, database) = path.split_once('/').unwrap_or((path, ""));
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if name.is_empty() || !name.bytes().all(plain) {
                return Some("`store` must say after the sentinels what they call the primary");
            }
            (!is_number(database)).then_some("`store` must end with the number of a database")
        }
        _ => (!is_number(path)).then_some("`store` must end with the number of a database"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_redis_pass_and_nothing_else() {
        for good in [
            "redis://h",
            "redis://h:6379",
            "redis://h:6379/",
            "rediss://u:p%40w@h/3",
            "redis://:pw@[::1]:1/15",
            "redis+cluster://u:p%40w@a:1,b,[::1]:2",
            "rediss+cluster://a/",
            "redis+sentinel://a:1,b:2/main",
            "rediss+sentinel://:pw@a/my-primary.0/3",
        ] {
            assert_eq!(fault_in(good), None, "{good}");
        }
        for bad in [
            "redis://",
            "redis:///0",
            "redis://h/x",
            "redis://h/0?protocol=3",
            "rediss://h#insecure",
            "redis://a:1,b:2/0",
            "redis+cluster://a,,b",
            "redis+cluster://a/3",
            "redis+cluster://",
            "redis+sentinel://a:1",
            "redis+sentinel://a:1/",
            "redis+sentinel://a:1/main/x",
            "redis+sentinel://a:1/m{x}",
            "redis+sentinel://a:1/main?x",
        ] {
            assert!(fault_in(bad).is_some(), "{bad}");
        }
    }
}
