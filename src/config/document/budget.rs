//! What may be spent, and how fast: budgets and limits as they are typed.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::config::naming;
use crate::config::node::{Node, Value};
use crate::config::read::{At, Decode, Reader};
use crate::config::record::{choice, not_among, record};

use super::values::{Count, Flag, Name, Span, Usd, Zone};

record! {
    /// Money that a policy's requests may cost.
    pub struct BudgetDocument {
        /// How much, in USD; at most 9,000,000.
        usd: Usd,
        /// For how long.
        per: PeriodWord,
        /// In place of `per`: so much in any span of this length up to now, such as 24h. A minute at least.
        rolling: Span,
        /// Whose midnights begin its days, weeks and months, such as Europe/Berlin. Default: UTC.
        zone: Zone,
        /// For whom it is counted: each of them has the whole amount. `tag:NAME`: each value of that tag. Default: policy.
        scope: ScopeSetting,
        /// What happens when it is spent. Default: reject.
        when_spent: WhenSpentWord,
        /// Whether it only counts and warns, and stops nothing. Default: false.
        soft: Flag,
    }
}

record! {
    /// Money for whom it stands with.
    pub struct AllowanceDocument {
        /// How much, in USD; at most 9,000,000.
        usd: Usd,
        /// For how long.
        per: PeriodWord,
        /// In place of `per`: so much in any span of this length up to now, such as 24h. A minute at least.
        rolling: Span,
        /// Whose midnights begin its days, weeks and months, such as Europe/Berlin. Default: UTC.
        zone: Zone,
        /// What happens when it is spent. Default: reject.
        when_spent: WhenSpentWord,
        /// Whether it only counts and warns, and stops nothing. Default: false.
        soft: Flag,
    }
}

record! {
    /// A team, and what its keys may take together.
    pub struct TeamDocument {
        /// What it belongs to.
        organisation: Name,
        /// Money that it may cost: one budget, or a list of several.
        budget: OneOrSeveral<AllowanceDocument>,
        /// Requests a minute.
        rpm: Count,
        /// Prompt and answer tokens a minute.
        tpm: Count,
        /// Requests at once.
        concurrency: Count,
    }
}

record! {
    /// What all keys of a user, or all teams of an organisation, may take together.
    pub struct GrantDocument {
        /// Money that they may cost: one budget, or a list of several.
        budget: OneOrSeveral<AllowanceDocument>,
        /// Requests a minute.
        rpm: Count,
        /// Prompt and answer tokens a minute.
        tpm: Count,
        /// Requests at once.
        concurrency: Count,
    }
}

choice! {
    /// A budget's time.
    pub enum PeriodWord {
        /// From full hour to full hour.
        Hour = "hour",
        /// From midnight to midnight.
        Day = "day",
        /// From Monday to Monday.
        Week = "week",
        /// From the first to the first.
        Month = "month",
    }
}

choice! {
    /// What happens when a budget is spent.
    pub enum WhenSpentWord {
        /// Requests are refused.
        Reject = "reject",
        /// Only the cheapest route serves.
        CheapestOnly = "cheapest-only",
        /// Only this machine serves.
        LocalOnly = "local-only",
    }
}

/// For whom a budget is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeSetting {
    /// Each key.
    Key,
    /// Each user.
    User,
    /// Each team.
    Team,
    /// Each organisation.
    Organisation,
    /// All requests of the policy together.
    Policy,
    /// Each value of this tag.
    Tag(Arc<str>),
}

const SCOPES: [&str; 6] = ["key", "user", "team", "organisation", "policy", "tag:NAME"];

impl Decode for ScopeSetting {
    fn decode(node: &Node, reader: &Reader<'_>) -> Option<Self> {
        let text = reader.text(node)?;
        let tag = text.trim().strip_prefix("tag:").map(str::trim);
        match (tag, text.trim()) {
            (Some(name), _) if naming::is_name(name) => Some(Self::Tag(name.into())),
            (Some(_), _) => {
                let message = "the tag after `tag:` has letters, digits and `. _ -`, 64 at most";
                reader.error(node.spot, message, Some("write it as `tag:feature`".to_owned()));
                None
            }
            (None, "key") => Some(Self::Key),
            (None, "user") => Some(Self::User),
            (None, "team") => Some(Self::Team),
            (None, "organisation") => Some(Self::Organisation),
            (None, "policy") => Some(Self::Policy),
            (None, "tag") => {
                let help = "write it as `tag:feature`, with the tag's name".to_owned();
                reader.error(node.spot, "`scope: tag` does not say which tag", Some(help));
                None
            }
            (None, other) => {
                not_among(reader, node.spot, other, &SCOPES);
                None
            }
        }
    }
}

impl JsonSchema for ScopeSetting {
    fn schema_name() -> Cow<'static, str> {
        "Scope".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(key|user|team|organisation|policy|tag:[A-Za-z0-9][A-Za-z0-9._-]{0,63})$|\\$\\{",
            "examples": ["key", "user", "team", "organisation", "policy", "tag:feature"],
            "description": "For whom a budget is counted: each key, user, team, organisation or value of a tag, or all requests of the policy together."
        })
    }
}

/// One of something, or a list of several.
#[derive(Debug, Clone)]
pub struct OneOrSeveral<T>(pub Vec<At<T>>);

impl<T: Decode> Decode for OneOrSeveral<T> {
    fn decode(node: &Node, reader: &Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => Vec::<At<T>>::decode(node, reader).map(Self),
            _ => T::decode(node, reader).map(|value| Self(vec![At { value, spot: node.spot }])),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OneOrSeveral<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrSeveral{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}
