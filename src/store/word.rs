//! What one replica tells the others, as it stands in Redis: JSON, versioned, with a bound on everything that is read.
//!
//! Another program, another version or a typing error may have written there, so that what is no message is ignored whole,
//! and a figure that no replica would send is cut to its bound.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of this format. Added members do not change it, since readers skip what they do not know.
const VERSION: u32 = 1;
/// Longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Most routes in a message.
const ROUTES_MAX: usize = 1_000;
/// Most tokens a second of anything.
const RATE_MAX: f64 = 1e9;
/// Longest time that anything lies ahead or behind, in milliseconds: an hour.
const SPAN_MS_MAX: u64 = 3_600_000;

/// What a replica knows of its routes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    v: u32,
    /// Counts this replica's messages: one that is not the last again says that the replica is alive.
    pub n: u64,
    /// By the route's name. A route without an entry is as good as new to it.
    pub routes: BTreeMap<String, Word>,
}

/// What it knows of one route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Word {
    /// Uncached prompt tokens a second that it asks for.
    #[serde(skip_serializing_if = "is_zero")]
    pub rate: f64,
    /// The cap in those, and how long ago the refusal was that taught it, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<(f64, u64)>,
    /// The provider asked to wait for so many milliseconds yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limited_ms: Option<u64>,
    /// The breaker stays open for so many milliseconds yet, and opened so many ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_ms: Option<(u64, u64)>,
    /// Set aside until the operator acts, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_ms: Option<(u64, u64)>,
}

impl Message {
    /// The `n`-th message of a replica.
    pub fn new(n: u64, routes: impl Iterator<Item = (String, Word)>) -> Self {
        Self { v: VERSION, n, routes: routes.take(ROUTES_MAX).collect() }
    }

    /// As it is written.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings and finite numbers always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What these bytes say; `None` if they are no message of this version.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        let mut message: Self = serde_json::from_slice(bytes).ok()?;
        if message.v != VERSION || message.routes.len() > ROUTES_MAX {
            return None;
        }
        message.routes.values_mut().for_each(Word::bound);
        Some(message)
    }
}

impl Word {
    fn bound(&mut self) {
        let rate = |rate: f64| if rate.is_finite() { rate.clamp(0.0, RATE_MAX) } else { 0.0 };
        let span = |ms: u64| ms.min(SPAN_MS_MAX);
        self.rate = rate(self.rate);
        // A cap below one token a second is no cap that a replica learns.
        self.cap = self.cap.map(|(cap, ago)| (rate(cap).max(1.0), span(ago)));
        self.limited_ms = self.limited_ms.map(span);
        self.open_ms = self.open_ms.map(|(left, ago)| (span(left), span(ago)));
        self.disabled_ms = self.disabled_ms.map(|(left, ago)| (span(left), span(ago)));
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_zero(rate: &f64) -> bool {
    *rate == 0.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let word = Word {
            rate: 12.5,
            cap: Some((900.0, 100)),
            limited_ms: Some(29_000),
            open_ms: Some((1_500, 500)),
            disabled_ms: Some((1, 2)),
        };
        let routes = [("a/b".to_owned(), word), ("c/d".to_owned(), Word::default())];
        let message = Message::new(7, routes.into_iter());
        assert_eq!(Message::read(&message.to_bytes()), Some(message));
    }

    #[test]
    fn what_is_no_message_is_ignored_and_absurd_figures_are_cut() {
        let bombs =
            ["", "nonsense", "{}", "[]", r#"{"v":2,"n":1,"routes":{}}"#, r#"{"v":1,"n":-1,"routes":{}}"#];
        assert!(bombs.iter().all(|bytes| Message::read(bytes.as_bytes()).is_none()));
        assert_eq!(Message::read(br#"{"v":1,"n":1,"routes":{"a":{"rate":1e999}}}"#), None);
        assert_eq!(Message::read(&vec![b'['; MESSAGE_BYTES_MAX]), None);
        assert_eq!(Message::read(&vec![b' '; MESSAGE_BYTES_MAX + 1]), None);
        let absurd =
            br#"{"v":1,"n":1,"new":0,"routes":{"a":{"rate":-5,"cap":[0,1],"open_ms":[99999999999999,3],"x":{}}}}"#;
        let word = Word { cap: Some((1.0, 1)), open_ms: Some((SPAN_MS_MAX, 3)), ..Word::default() };
        assert_eq!(Message::read(absurd).unwrap().routes["a"], word);
    }

    proptest! {
        #[test]
        fn r17_no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            Message::read(&bytes);
        }

        #[test]
        fn whatever_is_read_is_within_its_bounds(rate: f64, cap: f64, left: u64, ago: u64) {
            let text = format!(r#"{{"v":1,"n":1,"routes":{{"a":{{"rate":{rate:?},"cap":[{cap:?},{ago}],"open_ms":[{left},{ago}]}}}}}}"#);
            if let Some(message) = Message::read(text.as_bytes()) {
                let word = message.routes["a"];
                prop_assert!((0.0..=RATE_MAX).contains(&word.rate));
                prop_assert!(word.cap.is_some_and(|(cap, ago)| (1.0..=RATE_MAX).contains(&cap) && ago <= SPAN_MS_MAX));
                prop_assert!(word.open_ms.is_some_and(|(left, ago)| left.max(ago) <= SPAN_MS_MAX));
            }
        }
    }
}
