//! An answer as far as it has come.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::api::chat::answer::Chat;
use crate::api::face::{Start, Tally, Untold};

use super::answer::{Error, Incomplete, Item, Response, Usage};
use super::face::{Face, Terms};

pub(super) const UNDERWAY: &str = "in_progress";
pub(super) const COMPLETED: &str = "completed";
pub(super) const INCOMPLETE: &str = "incomplete";
pub(super) const FAILED: &str = "failed";

/// Longest answer that is kept until its end, in bytes: ten times what the longest of today's models may write.
const HELD_BYTES_MAX: usize = 16 << 20;
const TOO_LONG: Untold = Untold("it wrote more than a response can hold");

/// What a Response will say.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) terms: Arc<Terms>,
    pub(super) items: Vec<Item>,
    /// What every id of this answer ends in.
    own: String,
    id: String,
    created_at: i64,
    model: Option<Box<RawValue>>,
    service_tier: Option<Box<RawValue>>,
    finish: Option<Box<str>>,
    /// Bytes of text that are kept for the end.
    pub(super) held: usize,
}

impl Draft {
    pub(super) fn new(face: &Face, start: &Start<'_>) -> Self {
        let own = start.request_id.strip_prefix("req_").unwrap_or(start.request_id).to_owned();
        Self {
            terms: Arc::clone(&face.terms),
            items: Vec::new(),
            id: format!("resp_{own}"),
            own,
            created_at: start.at_s,
            model: None,
            service_tier: None,
            finish: None,
            held: 0,
        }
    }

    /// Takes from `chunk` what is not said by a choice.
    pub(super) fn note(&mut self, chunk: &Chat<'_>) {
        if self.model.is_none() {
            self.model = chunk.model.map(ToOwned::to_owned);
        }
        if let Some(tier) = chunk.service_tier {
            self.service_tier = Some(tier.to_owned());
        }
    }

    /// The model has ended for this reason; the first one counts.
    pub(super) fn finished(&mut self, reason: &str) {
        self.finish.get_or_insert_with(|| reason.into());
    }

    /// What cut the answer short, if something did.
    pub(super) fn cut_by(&self) -> Option<Incomplete> {
        match self.finish.as_deref() {
            Some("length") => Some(Incomplete { reason: "max_output_tokens" }),
            Some("content_filter") => Some(Incomplete { reason: "content_filter" }),
            _ => None,
        }
    }

    /// Holds what is kept to its bound.
    pub(super) fn bounded(&self) -> Result<(), Untold> {
        if self.held > HELD_BYTES_MAX { Err(TOO_LONG) } else { Ok(()) }
    }

    /// The id of the item that comes next.
    pub(super) fn next_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}_{}", self.own, self.items.len())
    }

    /// The Response object with this status.
    pub(super) fn response<'a>(
        &'a self,
        status: &'static str,
        error: Option<Error<'a>>,
        tally: Option<&Tally>,
    ) -> Response<'a> {
        let terms = &self.terms;
        Response {
            id: &self.id,
            object: "response",
            created_at: self.created_at,
            status,
            error,
            incomplete_details: (status == INCOMPLETE).then(|| self.cut_by()).flatten(),
            model: self.model.as_deref().or(terms.model.as_deref()),
            output: &self.items,
            service_tier: self.service_tier.as_deref(),
            usage: tally.map(Usage::of),
            echo: &terms.echo,
        }
    }
}
