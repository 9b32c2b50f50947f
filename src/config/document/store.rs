//! `store`, and what happens while it does not answer, as they are typed.

use schemars::JsonSchema;

use crate::config::node::{Node, Spot, Value};
use crate::config::read::{At, Decode, Reader};
use crate::config::record::{choice, record};

use super::values::{Span, Text};

/// Where replicas share what they know: an address alone, or with terms.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum StoreSetting {
    /// `embedded`, or the address of a Redis.
    Address(Text),
    /// With terms.
    Terms(StoreDocument),
}

record! {
    /// A Redis, and how much is made of its silence.
    #[schemars(extend("required" = ["url"]))]
    pub struct StoreDocument {
        /// Its address, such as `redis://host:6379/0`.
        url: Text,
        /// What happens to requests with a hard budget while it does not answer. Default: refuse. A policy may say otherwise.
        on_store_loss: OnStoreLossWord,
        /// How long a request waits at most for a Redis that is slow; for one that was quick and falls silent 50ms. Default 1s.
        patience: Span,
    }
}

choice! {
    /// What happens to requests with a hard budget while the store does not answer.
    pub enum OnStoreLossWord {
        /// They are refused: nothing is spent unseen.
        Refuse = "refuse",
        /// Each replica spends on from slices that it has leased beforehand, and never more.
        LocalShare = "local-share",
        /// They are admitted, and counted when it is back.
        Allow = "allow",
    }
}

impl Decode for StoreSetting {
    fn decode(node: &Node, reader: &Reader<'_>) -> Option<Self> {
        match node.value {
            Value::Map(_) => StoreDocument::decode(node, reader).map(Self::Terms),
            _ => Text::decode(node, reader).map(Self::Address),
        }
    }
}

impl At<StoreSetting> {
    /// The address, and where it stands.
    pub fn address(&self) -> Option<(&str, Spot)> {
        match &self.value {
            StoreSetting::Address(address) => Some((&address.0, self.spot)),
            StoreSetting::Terms(terms) => terms.url.as_ref().map(|url| (&*url.value.0, url.spot)),
        }
    }

    /// Its terms, where there are any.
    pub const fn terms(&self) -> Option<&StoreDocument> {
        match &self.value {
            StoreSetting::Address(_) => None,
            StoreSetting::Terms(terms) => Some(terms),
        }
    }
}
