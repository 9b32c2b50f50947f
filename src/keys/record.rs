//! What is kept of a key, what may be shown of it, and how it changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::budget::{Calendar, Period};
use crate::units::{NanoUsd, PicoUsd};

use super::ask::Fault;
use super::secret::{Bytes32, KeyText, Pepper};

/// A key that was revoked, or has expired, so long ago makes room for others, its name included.
pub const FORGOTTEN_AFTER: Duration = Duration::from_hours(90 * 24);
/// More than anybody's budget for one key, in nano-dollars: sums of it stay exact in every store.
const USD_MAX: i64 = 9_000_000_000_000_000;

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its name, unique; rotating keeps it.
    pub name: Arc<str>,
    /// The keyed hash of its whole text.
    pub hash: Bytes32,
    /// The beginning of its text, to tell keys apart.
    pub prefix: Box<str>,
    /// Whose it is.
    pub team: Arc<str>,
    /// The person or service that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// What the team belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<Arc<str>>,
    /// Tags that each of its requests carries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<Arc<str>, Arc<str>>,
    /// Models it may ask for; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Arc<str>>,
    /// What it may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Allowance>,
    /// Requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u64>,
    /// Tokens a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u64>,
    /// Requests at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// The text that it had before it was rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_from: Option<Former>,
}

/// A text that still counts for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Its hash.
    pub hash: Bytes32,
    /// Its beginning.
    pub prefix: Box<str>,
    /// The first moment at which it counts no longer.
    pub until: Timestamp,
}

/// Money for a key in a window, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// How much, in USD.
    #[schemars(regex(pattern = r"^([0-8]?[0-9]{1,6})(\.[0-9]{1,9})?$"))]
    pub usd: Box<str>,
    /// `hour`, `day`, `week`, `month`, or a span that rolls along: `30m`, `24h`, `7d`.
    #[schemars(regex(
        pattern = r"^(hour|day|week|month|[1-9][0-9]{0,3}[mh]|[1-9][0-9]?d|[12][0-9]{2}d|3[0-5][0-9]d|36[0-6]d)$"
    ))]
    pub per: Box<str>,
    /// Whose midnights: `UTC`, `Europe/Berlin`.
    #[schemars(extend("format" = "time-zone"))]
    #[serde(default = "utc")]
    pub time_zone: Box<str>,
}

/// What may be shown of a key: all but its hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shown {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it counts.
    pub state: State,
    /// The beginning of its text.
    pub prefix: Box<str>,
    /// Whose it is.
    pub team: Arc<str>,
    /// The person or service that has it.
    pub user: Option<Arc<str>>,
    /// What the team belongs to.
    pub organisation: Option<Arc<str>>,
    /// Tags that each of its requests carries.
    pub tags: BTreeMap<Arc<str>, Arc<str>>,
    /// Models it may ask for; empty: all.
    pub models: Vec<Arc<str>>,
    /// What it may spend.
    pub budget: Option<Allowance>,
    /// Requests a minute.
    pub rpm: Option<u64>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// Requests at once.
    pub concurrency: Option<u32>,
    /// When it was made.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created: Timestamp,
    /// When it ends by itself.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires: Option<Timestamp>,
    /// When it was taken away.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub revoked: Option<Timestamp>,
    /// Until when the text from before its rotation counts too; only while it does.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub overlaps_until: Option<Timestamp>,
}

/// Whether a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It lets its callers in.
    Active,
    /// It has ended by itself.
    Expired,
    /// It was taken away.
    Revoked,
}

/// A new key, or an old one with a new text: the only time that the text is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Made {
    /// The text.
    pub key: String,
    /// What is kept.
    #[serde(flatten)]
    pub shown: Shown,
}

/// All that a store holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stored {
    /// Counts the changes; never goes back.
    pub version: i64,
    /// What the hashes are keyed with.
    pub pepper: Pepper,
    /// The keys, by name.
    pub records: Vec<Record>,
}

impl Record {
    /// What may be shown of it at `now`.
    pub fn shown(&self, now: Timestamp) -> Shown {
        Shown {
            name: Arc::clone(&self.name),
            state: self.state(now),
            prefix: self.prefix.clone(),
            team: Arc::clone(&self.team),
            user: self.user.clone(),
            organisation: self.organisation.clone(),
            tags: self.tags.clone(),
            models: self.models.clone(),
            budget: self.budget.clone(),
            rpm: self.rpm,
            tpm: self.tpm,
            concurrency: self.concurrency,
            created: self.created,
            expires: self.expires,
            revoked: self.revoked,
            overlaps_until: self
                .rotated_from
                .as_ref()
                .map(|former| former.until)
                .filter(|until| now < *until && self.revoked.is_none()),
        }
    }

    /// Whether it counts at `now`.
    pub fn state(&self, now: Timestamp) -> State {
        match (self.revoked, self.expires) {
            (Some(_), _) => State::Revoked,
            (None, Some(expires)) if expires <= now => State::Expired,
            (None, _) => State::Active,
        }
    }

    /// Takes it away, the text from before a rotation included. Once is enough.
    pub fn revoke(&mut self, now: Timestamp) {
        self.revoked.get_or_insert(now);
    }

    /// Gives it another text. The one that it has counts on for `overlap`; one from an earlier rotation no longer does.
    pub fn rotate(&mut self, text: &KeyText, pepper: &Pepper, overlap: Duration, now: Timestamp) {
        let hash = std::mem::replace(&mut self.hash, pepper.hash(text.expose().as_bytes()));
        let prefix = std::mem::replace(&mut self.prefix, text.prefix().into());
        let until = jiff::SignedDuration::try_from(overlap).ok().and_then(|span| now.checked_add(span).ok());
        let until = until.unwrap_or(now);
        self.rotated_from = (now < until).then_some(Former { hash, prefix, until });
    }

    /// Whether it ended so long ago that its room and its name may go to others.
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        let ended = [self.revoked, self.expires].into_iter().flatten().min();
        ended.is_some_and(|ended| {
            Duration::try_from(now.duration_since(ended)).is_ok_and(|ago| ago >= FORGOTTEN_AFTER)
        })
    }
}

impl Allowance {
    /// `50/month`, `2.50/24h`.
    pub fn parse(text: &str, time_zone: Option<&str>) -> Result<Self, Fault> {
        let (usd, per) = text.split_once('/').ok_or(Fault::new(
            "budget",
            "write it as AMOUNT/PERIOD in USD, such as 50/month, 5/day or 2.50/24h",
        ))?;
        let typed = Self {
            usd: usd.trim().into(),
            per: per.trim().into(),
            time_zone: time_zone.map_or_else(utc, Into::into),
        };
        typed.meaning().map(|_| typed)
    }

    /// How much, and when it begins anew.
    pub fn meaning(&self) -> Result<(NanoUsd, Calendar), Fault> {
        let is_plain = self.usd.len() <= 20 && self.usd.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let limit = PicoUsd::from_usd_text(&self.usd).ok().filter(|_| is_plain);
        // Finer than a nano-dollar is nothing that a record could hold.
        let limit = limit.filter(|limit| limit.0 % 1000 == 0).map(PicoUsd::to_nanos);
        let limit = limit.filter(|limit| (0..=USD_MAX).contains(&limit.0)).ok_or(Fault::new(
            "budget.usd",
            "must be an amount in USD from 0 to 9000000 with at most 9 decimals, such as 50 or 2.50",
        ))?;
        let period = match &*self.per {
            "hour" => Period::Hour,
            "day" => Period::Day,
            "week" => Period::Week,
            "month" => Period::Month,
            span => Period::Rolling(rolling(span).ok_or(Fault::new(
                "budget.per",
                "must be hour, day, week, month, or a span such as 30m, 24h or 7d, 366 days at most",
            ))?),
        };
        let zone = if &*self.time_zone == "UTC" { Ok(TimeZone::UTC) } else { TimeZone::get(&self.time_zone) };
        let zone = zone.map_err(|_| {
            Fault::new("budget.time_zone", "must be the name of a time zone, such as UTC or Europe/Berlin")
        })?;
        Ok((limit, Calendar { period, zone }))
    }
}

/// As it is typed: `50/month`.
impl std::fmt::Display for Allowance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.usd, self.per)?;
        if &*self.time_zone == "UTC" { Ok(()) } else { write!(f, " {}", self.time_zone) }
    }
}

/// A span of whole minutes, hours or days.
fn rolling(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|number| (1..=9999).contains(number))?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let minutes = match unit {
        "m" => number,
        "h" => number * 60,
        "d" => number * 24 * 60,
        _ => return None,
    };
    (is_plain && minutes <= 366 * 24 * 60).then(|| Duration::from_secs(minutes * 60))
}

fn utc() -> Box<str> {
    "UTC".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Ask;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_budget_is_read_to_the_nano_dollar() {
        let meaning = |text| Allowance::parse(text, None).map(|typed| typed.meaning().unwrap());
        let (limit, calendar) = meaning("50/month").unwrap();
        assert_eq!((limit, calendar.period), (NanoUsd(50_000_000_000), Period::Month));
        assert_eq!(meaning("0.000000001/hour").unwrap().0, NanoUsd(1));
        assert_eq!(meaning("2.5/24h").unwrap().1.period, Period::Rolling(Duration::from_hours(24)));
        assert_eq!(meaning("9000000/7d").unwrap().0, NanoUsd(USD_MAX));
        for odd in [
            "50",
            "/month",
            "-1/day",
            "1e3/day",
            "0.0000000001/day",
            "9000001/day",
            "1/year",
            "1/0h",
            "1/07h",
            "1/h",
            "1/367d",
            "1/9h9",
            "x/day",
        ] {
            assert!(meaning(odd).is_err(), "{odd}");
        }
        assert!(Allowance::parse("1/day", Some("Europe/Berlin")).is_ok());
        assert_eq!(Allowance::parse("1/day", Some("Mars/Olympus")).unwrap_err().field, "budget.time_zone");
    }

    #[test]
    fn a_rotated_key_has_two_texts_until_the_overlap_ends() {
        let pepper = Pepper(Bytes32([1; 32]));
        let (first, second, third) = (KeyText::of(&[1; 32]), KeyText::of(&[2; 32]), KeyText::of(&[3; 32]));
        let (noon, later) = (at("2026-11-25T12:00:00Z"), at("2026-11-26T12:00:00Z"));
        let mut record = Ask::default().record(&[0; 8], &first, &pepper, noon).unwrap();
        record.rotate(&second, &pepper, Duration::from_hours(24), noon);
        assert_eq!(record.hash, pepper.hash(second.expose().as_bytes()));
        assert_eq!(record.rotated_from.as_ref().unwrap().hash, pepper.hash(first.expose().as_bytes()));
        assert_eq!(record.shown(noon).overlaps_until, Some(later));
        assert_eq!(record.shown(later).overlaps_until, None);
        record.rotate(&third, &pepper, Duration::ZERO, noon);
        assert_eq!(record.rotated_from, None, "without overlap the old text ends at once");
        record.rotate(&first, &pepper, Duration::from_hours(1), noon);
        record.revoke(noon);
        assert_eq!((record.state(noon), record.shown(noon).overlaps_until), (State::Revoked, None));
        record.revoke(later);
        assert_eq!(record.revoked, Some(noon));
        assert!(!record.is_forgotten(later) && record.is_forgotten(at("2027-03-01T00:00:00Z")));
    }

    #[test]
    fn what_is_shown_holds_no_hash() {
        let pepper = Pepper(Bytes32([1; 32]));
        let record =
            Ask::default().record(&[0; 8], &KeyText::of(&[1; 32]), &pepper, Timestamp::UNIX_EPOCH).unwrap();
        let shown = serde_json::to_string(&record.shown(Timestamp::UNIX_EPOCH)).unwrap();
        let hash = serde_json::to_value(record.hash).unwrap();
        assert!(!shown.contains(hash.as_str().unwrap()), "{shown}");
        let kept = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&kept).unwrap(), record);
    }
}
