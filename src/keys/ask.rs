//! What somebody wants of a new key, checked before anything is kept of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::units::names;

use super::record::{Allowance, Record};
use super::secret::{KeyText, Pepper, suffix};

/// Most tags of a key.
pub const TAGS_MAX: usize = 16;
/// Most entries in a key's list of models.
pub const MODELS_MAX: usize = 64;
/// Most requests a minute that a limit may be set to.
pub const RPM_MAX: u64 = 1_000_000_000;
/// Most tokens a minute, likewise.
pub const TPM_MAX: u64 = 1_000_000_000_000;
/// Most requests at once, likewise.
pub const CONCURRENCY_MAX: u32 = 1_000_000;
/// Shortest and longest life, in seconds.
pub const LIFE_S: (u64, u64) = (60, 10 * 366 * 24 * 3600);
/// Longest overlap of a rotation, in seconds.
pub const OVERLAP_S_MAX: u64 = 30 * 24 * 3600;
/// The overlap where nobody says another, in seconds.
pub const OVERLAP_S: u64 = 24 * 3600;

/// The body of `POST /admin/v1/keys`, and what `tollway keys create` makes of its arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ask {
    /// Its name; without one it gets the team's and some letters.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))]
    pub name: Option<String>,
    /// Whose it is; `default` without.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))]
    pub team: Option<String>,
    /// The person or service that has it.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))]
    pub user: Option<String>,
    /// What the team belongs to.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))]
    pub organisation: Option<String>,
    /// Tags that each of its requests carries.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "tags_schema")]
    pub tags: BTreeMap<String, String>,
    /// Models it may ask for, with `*` and `?`; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(regex(pattern = r"^[A-Za-z0-9._/:@+~*?-]{1,256}$")))]
    pub models: Vec<String>,
    /// What it may spend.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Allowance")]
    pub budget: Option<Allowance>,
    /// Requests a minute.
    #[serde(deserialize_with = "given_whole", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(min = 1, max = 1_000_000_000))]
    pub rpm: Option<u64>,
    /// Tokens a minute.
    #[serde(deserialize_with = "given_whole", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(min = 1, max = 1_000_000_000_000_u64))]
    pub tpm: Option<u64>,
    /// Requests at once.
    #[serde(deserialize_with = "given_whole", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1, max = 1_000_000))]
    pub concurrency: Option<u32>,
    /// How long it lives, in seconds; without, until it is revoked.
    #[serde(deserialize_with = "given_whole", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(min = 60, max = 316_224_000))]
    pub expires_in_seconds: Option<u64>,
}

/// The body of `POST /admin/v1/keys/{name}/rotate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Overlap {
    /// How long the old text counts beside the new one, in seconds.
    #[serde(deserialize_with = "whole")]
    #[schemars(range(max = 2_592_000))]
    pub overlap_seconds: u64,
}

impl Default for Overlap {
    fn default() -> Self {
        Self { overlap_seconds: OVERLAP_S }
    }
}

/// What is wrong with an ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct Fault {
    /// The member.
    pub field: &'static str,
    /// What it should be.
    pub what: &'static str,
}

impl Fault {
    /// A fault of that member.
    pub const fn new(field: &'static str, what: &'static str) -> Self {
        Self { field, what }
    }
}

impl Ask {
    /// The record of a new key with this text. `random` names it where nobody did.
    pub fn record(
        self,
        random: &[u8; 8],
        text: &KeyText,
        pepper: &Pepper,
        now: Timestamp,
    ) -> Result<Record, Fault> {
        let team = name("team", self.team)?.unwrap_or_else(|| "default".into());
        let own = name("name", self.name)?;
        let named = || {
            let team: String = team.chars().take(names::NAME_LENGTH_MAX - 7).collect();
            format!("{team}-{}", suffix(random)).into()
        };
        if let Some(budget) = &self.budget {
            budget.meaning()?;
        }
        Ok(Record {
            name: own.unwrap_or_else(named),
            hash: pepper.hash(text.expose().as_bytes()),
            prefix: text.prefix().into(),
            user: name("user", self.user)?,
            organisation: name("organisation", self.organisation)?,
            tags: tags(self.tags)?,
            models: models(self.models)?,
            budget: self.budget,
            rpm: within(self.rpm, 1, RPM_MAX, Fault::new("rpm", "must be from 1 to 1000000000"))?,
            tpm: within(self.tpm, 1, TPM_MAX, Fault::new("tpm", "must be from 1 to 1000000000000"))?,
            concurrency: within(
                self.concurrency,
                1,
                CONCURRENCY_MAX,
                Fault::new("concurrency", "must be from 1 to 1000000"),
            )?,
            created: Timestamp::from_second(now.as_second()).unwrap_or(now),
            expires: expires(self.expires_in_seconds, now)?,
            revoked: None,
            rotated_from: None,
            team,
        })
    }
}

impl Overlap {
    /// As a time, checked.
    pub fn span(self) -> Result<Duration, Fault> {
        let fault = Fault::new("overlap_seconds", "must be from 0 to 2592000, which is 30 days");
        within(Some(self.overlap_seconds), 0, OVERLAP_S_MAX, fault)
            .map(|seconds| Duration::from_secs(seconds.unwrap_or(OVERLAP_S)))
    }
}

fn expires(seconds: Option<u64>, now: Timestamp) -> Result<Option<Timestamp>, Fault> {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let fault = Fault::new("expires_in_seconds", "must be from 60 to 316224000, which is ten years");
    let Some(seconds) = within(seconds, LIFE_S.0, LIFE_S.1, fault.clone())? else { return Ok(None) };
    let span = i64::try_from(seconds).map(SignedDuration::from_secs).map_err(|_| fault.clone())?;
    now.checked_add(span).map(Some).map_err(|_| fault)
}

fn within<T: Ord>(value: Option<T>, least: T, most: T, fault: Fault) -> Result<Option<T>, Fault> {
    match value {
        Some(value) if !(least..=most).contains(&value) => Err(fault),
        value => Ok(value),
    }
}

fn name(field: &'static str, text: Option<String>) -> Result<Option<Arc<str>>, Fault> {
    const WANTED: &str = "must begin with a letter or digit and go on with up to 63 of A-Z a-z 0-9 . _ -";
    match text {
        Some(text) if !names::is_name(&text) => Err(Fault::new(field, WANTED)),
        text => Ok(text.map(Into::into)),
    }
}

fn tags(typed: BTreeMap<String, String>) -> Result<BTreeMap<Arc<str>, Arc<str>>, Fault> {
    if typed.len() > TAGS_MAX {
        return Err(Fault::new("tags", "there may be 16 at most"));
    }
    if !typed.keys().all(|name| names::is_name(name)) {
        return Err(Fault::new("tags", "a tag's name has letters, digits and . _ -, 64 at most"));
    }
    if !typed.values().all(|value| names::is_tag_value(value)) {
        const WANTED: &str = "a tag's value has up to 128 printable ASCII characters without a comma, and no blank at its ends";
        return Err(Fault::new("tags", WANTED));
    }
    Ok(typed.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
}

fn models(typed: Vec<String>) -> Result<Vec<Arc<str>>, Fault> {
    if typed.len() > MODELS_MAX {
        return Err(Fault::new("models", "there may be 64 at most"));
    }
    if !typed.iter().all(|glob| names::is_model_name(&glob.replace(['*', '?'], "x"))) {
        const WANTED: &str = "each is a model's name, with * for any run of characters and ? for any one";
        return Err(Fault::new("models", WANTED));
    }
    Ok(typed.into_iter().map(Into::into).collect())
}

fn tags_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": TAGS_MAX,
        "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
        "additionalProperties": {"type": "string", "pattern": "^[!-+\\--~]([ -+\\--~]{0,126}[!-+\\--~])?$"},
    })
}

/// A member that may be left out, but not be null.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// As [`given`], for a whole number.
fn given_whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<Option<T>, D::Error> {
    let number = whole(from)?;
    T::try_from(number).map(Some).map_err(|_| serde::de::Error::custom(format!("{number} is too large")))
}

/// A whole number, also where it is written as `20.0`, which is one to JSON Schema and to some languages.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(from)?;
    let text = number.to_string();
    let digits = text.strip_suffix(".0").unwrap_or(&text);
    digits.parse().map_err(|_| serde::de::Error::custom(format!("{text} is not a whole number")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::secret::Bytes32;

    fn record(json: &str) -> Result<Record, String> {
        let ask: Ask = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let (text, pepper) = (KeyText::of(&[1; 32]), Pepper(Bytes32([1; 32])));
        ask.record(&[1; 8], &text, &pepper, Timestamp::UNIX_EPOCH).map_err(|fault| fault.to_string())
    }

    #[test]
    fn what_was_asked_for_is_kept() {
        let kept = record(
            r#"{"name":"a","team":"t","user":"u","organisation":"o","tags":{"env":"prod"},"models":["deepseek-*"],
                "budget":{"usd":"50","per":"month"},"rpm":600,"tpm":200000,"concurrency":20,"expires_in_seconds":60}"#,
        )
        .unwrap();
        assert_eq!((&*kept.name, &*kept.team, kept.user.as_deref()), ("a", "t", Some("u")));
        assert_eq!(
            (kept.organisation.as_deref(), kept.rpm, kept.concurrency),
            (Some("o"), Some(600), Some(20))
        );
        assert_eq!(kept.expires, Some(Timestamp::from_second(60).unwrap()));
        let unnamed = record(r#"{"team":"t"}"#).unwrap().name;
        assert!(unnamed.starts_with("t-") && names::is_name(&unnamed), "{unnamed}");
        let long = record(&format!(r#"{{"team":"{}"}}"#, "t".repeat(64))).unwrap().name;
        assert!(names::is_name(&long), "{long}");
        assert_eq!(&*record("{}").unwrap().team, "default");
        assert_eq!(record(r#"{"rpm":20.0}"#).unwrap().rpm, Some(20));
    }

    #[test]
    fn r54_odd_names_and_figures_are_refused_by_their_member() {
        for (json, word) in [
            (r#"{"name":""}"#, "name"),
            (r#"{"name":"a\r\nb"}"#, "name"),
            (r#"{"team":"../a"}"#, "team"),
            (r#"{"user":"\u202ea"}"#, "user"),
            (r#"{"organisation":"{a}"}"#, "organisation"),
            (r#"{"tags":{"a b":"x"}}"#, "tags"),
            (r#"{"tags":{"a":"x,y"}}"#, "tags"),
            (r#"{"models":["a b"]}"#, "models"),
            (r#"{"budget":{"usd":"-1","per":"day"}}"#, "budget.usd"),
            (r#"{"budget":{"usd":"1","per":"year"}}"#, "budget.per"),
            (r#"{"rpm":0}"#, "rpm"),
            (r#"{"tpm":1000000000001}"#, "tpm"),
            (r#"{"concurrency":0}"#, "concurrency"),
            (r#"{"expires_in_seconds":59}"#, "expires_in_seconds"),
            (r#"{"rpm":null}"#, "null"),
            (r#"{"rpm":1.5}"#, "1.5"),
            (r#"{"concurrency":4294967297}"#, "4294967297"),
            (r#"{"rpm":-1}"#, "-1"),
            (r#"{"key":"x"}"#, "unknown field"),
            (r#"{"rpm":1,"rpm":2}"#, "duplicate"),
        ] {
            let said = record(json).unwrap_err();
            assert!(said.contains(word), "{json}: {said}");
        }
        assert!(Overlap { overlap_seconds: OVERLAP_S_MAX + 1 }.span().is_err());
        assert_eq!(Overlap::default().span(), Ok(Duration::from_hours(24)));
    }
}
