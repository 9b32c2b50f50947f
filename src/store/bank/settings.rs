//! Whether Redis is set up so that money is safe in it (R43).

use std::collections::HashMap;

use redis::{FromRedisValue, Value};

use super::link::{ANSWER_MAX, Link};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The setting, a word that does not change.
    pub setting: &'static str,
    /// What it means, and what to do.
    pub text: String,
    /// Whether budgets can be overspent because of it while nothing else fails.
    pub grave: bool,
}

/// Asks for the settings, and says what is not as it should be. What may not be asked is a finding too.
pub(super) async fn check(link: &mut Link) -> Vec<Finding> {
    let mut said = HashMap::new();
    for section in ["server", "memory", "persistence", "replication"] {
        let info = link.plain::<Value>(&["INFO", section], ANSWER_MAX).await;
        if let Some(text) = info.ok().and_then(|value| texts(value).pop()) {
            let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
            said.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
    }
    // Services that keep CONFIG to themselves still tell most of it by INFO.
    for name in ["maxmemory-policy", "appendonly", "min-replicas-to-write"] {
        let pair = link.plain::<Value>(&["CONFIG", "GET", name], ANSWER_MAX).await;
        if let Some(value) = pair.ok().and_then(|value| texts(value).pop()) {
            said.insert(name.to_owned(), value);
        }
    }
    judge(&said)
}

/// The texts of an answer in order; of a cluster's the last is that of one of its nodes.
fn texts(value: Value) -> Vec<String> {
    match value {
        Value::Array(parts) => parts.into_iter().flat_map(texts).collect(),
        Value::Map(pairs) => {
            pairs.into_iter().flat_map(|(name, value)| [name, value]).flat_map(texts).collect()
        }
        other => String::from_redis_value(other).into_iter().collect(),
    }
}

fn judge(said: &HashMap<String, String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |setting, grave, text: String| findings.push(Finding { setting, text, grave });
    let get = |names: &[&str]| names.iter().find_map(|name| said.get(*name)).map(String::as_str);
    match get(&["maxmemory-policy", "maxmemory_policy"]) {
        Some("noeviction") => {}
        Some(policy) => {
            let text = format!(
                "`maxmemory-policy` is `{policy}`: balances may be thrown away. Budgets need `noeviction`"
            );
            find("maxmemory-policy", true, text);
        }
        None => find("maxmemory-policy", false, "`maxmemory-policy` may not be read".to_owned()),
    }
    let appends = get(&["appendonly"]).map_or(get(&["aof_enabled"]) == Some("1"), |value| value == "yes");
    if !appends {
        let text = "`appendonly` is off: after a restart of Redis all replicas write their balances anew, and what a replica \
                    that is dead at that time had spent is missing until it is back";
        find("persistence", false, text.to_owned());
    }
    let replicas = get(&["connected_slaves"]).and_then(|count| count.parse::<u32>().ok()).unwrap_or(0);
    if replicas > 0 && get(&["min-replicas-to-write"]) == Some("0") {
        let text = "`min-replicas-to-write` is 0: a primary that is cut off goes on admitting beside the one that follows it";
        find("min-replicas-to-write", true, text.to_owned());
    }
    if get(&["role"]) == Some("slave") {
        find("role", true, "this Redis is a replica: `store` must name the primary".to_owned());
    }
    let version = get(&["redis_version"]).unwrap_or_default();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major < 6) {
        find("version", true, format!("Redis {version} is older than 6.0, with which nothing was tested"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(changed: &[(&str, &str)]) -> Vec<&'static str> {
        let usual = [
            ("maxmemory-policy", "noeviction"),
            ("appendonly", "yes"),
            ("redis_version", "7.0.15"),
            ("role", "master"),
            ("min-replicas-to-write", "0"),
        ];
        let said = usual.iter().chain(changed).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        judge(&said.collect()).iter().map(|finding| finding.setting).collect()
    }

    #[test]
    fn r43_each_setting_that_endangers_money_is_found() {
        assert_eq!(settings(&[]), Vec::<&str>::new());
        assert_eq!(settings(&[("maxmemory-policy", "allkeys-lru")]), ["maxmemory-policy"]);
        assert_eq!(settings(&[("appendonly", "no")]), ["persistence"]);
        assert_eq!(settings(&[("connected_slaves", "1")]), ["min-replicas-to-write"]);
        assert_eq!(
            settings(&[("connected_slaves", "1"), ("min-replicas-to-write", "1")]),
            Vec::<&str>::new()
        );
        assert_eq!(settings(&[("role", "slave")]), ["role"]);
        assert_eq!(settings(&[("redis_version", "5.0.9")]), ["version"]);
    }
}
