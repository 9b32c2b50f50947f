//! `store`: whether this gateway is alone, or the Redis in which it shares what it knows with other replicas.

use http::Uri;

use crate::config::document::TollwayDocument;
use crate::config::problem::Severity;
use crate::config::read::Reader;
use crate::config::record::not_among;
use crate::config::snapshot::Store;

const WORKS: &str = "write it as `redis://host:6379/0` or, over TLS, `rediss://host:6379/0`";

pub(super) fn compile(reader: &Reader<'_>, document: &TollwayDocument) -> Store {
    let Some(store) = &document.store else { return Store::Embedded };
    let text = &*store.0;
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        None if text == "embedded" => {}
        Some("redis" | "rediss") => match fault_in(text) {
            None => {
                let message = "replicas share virtual keys and their routes' health and rate limits in Redis; each replica \
                               holds budgets and limits by itself";
                reader.push(Severity::Warning, Some(store.spot), message, None);
                return Store::Redis(text.to_owned().into());
            }
            Some(fault) => reader.error(store.spot, fault, Some(WORKS.to_owned())),
        },
        Some(scheme) if scheme.contains("cluster") || scheme.contains("sentinel") => {
            let message = "a Redis cluster or sentinel cannot be used yet, only a single Redis";
            reader.error(store.spot, message, Some(WORKS.to_owned()));
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
    let Ok(uri) = text.parse::<Uri>() else { return Some("`store` is not an address of Redis") };
    let host = uri.host().unwrap_or_default();
    if host.is_empty() {
        return Some("`store` names no host");
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains(',')) {
        return Some("`store` names several hosts, and only a single Redis can be used");
    }
    let database = uri.path().trim_start_matches('/');
    let is_number = database.len() <= 5 && database.bytes().all(|byte| byte.is_ascii_digit());
    (!is_number).then_some("`store` must end with the number of a database")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_redis_pass_and_nothing_else() {
        for good in [
            "redis://h",
            "redis://h:6379",
            "redis://h:6379/",
            "rediss://u:p%40w@h/3",
            "redis://:pw@[::1]:1/15",
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
        ] {
            assert!(fault_in(bad).is_some(), "{bad}");
        }
    }
}
