//! `store`: whether this gateway is alone, or the Redis in which it shares what it knows with other replicas, and what happens
//! while that does not answer.

use std::time::Duration;

use http::Uri;

use crate::budget::OnStoreLoss;
use crate::config::document::store::OnStoreLossWord;
use crate::config::document::{PolicyDocument, TollwayDocument};
use crate::config::problem::Severity;
use crate::config::read::{At, Reader};
use crate::config::record::not_among;
use crate::config::snapshot::{Store, StoreTerms};
use crate::routing::Policy;

const WORKS: &str = "write it as `redis://host:6379/0`, `redis+cluster://host:6379,host:6379` or \
                     `redis+sentinel://host:26379,host:26379/name`, over TLS with `rediss`";

/// A request has to wait for an answer of Redis at least a moment, and its caller does not wait for ever.
const PATIENCE: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(10);
const NOTHING_IS_SHARED: &str = "nothing is shared with other replicas here, and no store can fall silent";

pub(super) fn compile(reader: &Reader<'_>, document: &TollwayDocument) -> Store {
    let Some(store) = &document.store else { return Store::Embedded };
    let Some((text, spot)) = store.address() else {
        let help = "write `url: redis://host:6379/0`".to_owned();
        reader.missing(store.spot, &["url"], "`store` does not say where it is", Some(help));
        return Store::Embedded;
    };
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        None if text == "embedded" => {}
        Some(
            "redis" | "rediss" | "redis+cluster" | "rediss+cluster" | "redis+sentinel" | "rediss+sentinel",
        ) => match fault_in(text) {
            None => {
                return Store::Redis(text.to_owned().into());
            }
            Some(fault) => reader.error(spot, fault, Some(WORKS.to_owned())),
        },
        Some(scheme) if scheme.contains("cluster") || scheme.contains("sentinel") => {
            reader.error(spot, "`store` is not an address of Redis", Some(WORKS.to_owned()));
        }
        _ => not_among(reader, spot, text, &["embedded", "redis://host:port/db"]),
    }
    Store::Embedded
}

/// What is made of its silence.
pub(super) fn terms(reader: &Reader<'_>, document: &TollwayDocument) -> StoreTerms {
    let defaults = StoreTerms::default();
    let Some(store) = &document.store else { return defaults };
    let Some(typed) = store.terms() else { return defaults };
    if store.address().is_some_and(|(address, _)| address == "embedded") {
        let on_loss = typed.on_store_loss.as_ref().map(|word| word.spot);
        for spot in on_loss.into_iter().chain(typed.patience.as_ref().map(|span| span.spot)) {
            reader.push(Severity::Warning, Some(spot), NOTHING_IS_SHARED, None);
        }
    }
    let patience = typed.patience.as_ref();
    if let Some(patience) = patience.filter(|patience| !PATIENCE.contains(&patience.0)) {
        let help = "it is what a request waits for a slow Redis at most; the default is 1s".to_owned();
        reader.error(patience.spot, "`patience` must be from 50ms to 10s", Some(help));
    }
    StoreTerms {
        on_loss: typed.on_store_loss.as_ref().map_or(defaults.on_loss, |word| meaning(word.value)),
        patience: patience.map_or(defaults.patience, |span| span.0),
    }
}

/// For each of `policies` what happens to its requests while the store does not answer.
pub(super) fn of_policies(
    reader: &Reader<'_>,
    typed: &[At<PolicyDocument>],
    policies: &[Policy],
    store: &Store,
    terms: StoreTerms,
) -> Vec<OnStoreLoss> {
    let own = |policy: &Policy| {
        let is_it =
            |typed: &&At<PolicyDocument>| typed.policy.as_ref().is_some_and(|name| *name.0 == *policy.name);
        typed.iter().find(is_it)?.on_store_loss.as_ref()
    };
    let of = |policy: &Policy| {
        let Some(word) = own(policy) else { return terms.on_loss };
        if matches!(store, Store::Embedded) {
            reader.push(Severity::Warning, Some(word.spot), NOTHING_IS_SHARED, None);
        }
        meaning(word.value)
    };
    policies.iter().map(of).collect()
}

const fn meaning(word: OnStoreLossWord) -> OnStoreLoss {
    match word {
        OnStoreLossWord::Refuse => OnStoreLoss::Refuse,
        OnStoreLossWord::LocalShare => OnStoreLoss::LocalShare,
        OnStoreLossWord::Allow => OnStoreLoss::Allow,
    }
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
