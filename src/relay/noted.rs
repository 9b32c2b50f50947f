//! A named request's answer, taken down as its caller is told it, so that whoever asks for it again is told the same at no cost.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::upstream::{Form, Whole};

use super::kept::{ANSWER_BYTES_MAX, without_cost, without_native_cost};
use super::meter::Out;
use super::parts::Bill;

/// An answer on its way to where it is kept. Ready once it is there, or could not be put there in time.
pub type KeepingIt = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What becomes of an answer that has ended well: its words, none if they were too many, whether they are a provider's own
/// Responses, and what it came to.
type Keep = Box<dyn FnOnce(Bytes, bool, Bill) -> KeepingIt + Send>;

/// A stream that is being taken down, before it is told in another shape. Dropped, nothing of it is kept.
pub struct Noting {
    said: Vec<u8>,
    native: bool,
    too_long: bool,
    /// What it came to, once it is whole.
    came_to: Option<Bill>,
    keep: Keep,
}

impl Noting {
    /// Gives the whole stream to `keep`, if it ends well.
    pub fn new(native: bool, keep: impl FnOnce(Bytes, bool, Bill) -> KeepingIt + Send + 'static) -> Self {
        Self { said: Vec::new(), native, too_long: false, came_to: None, keep: Box::new(keep) }
    }

    pub(super) fn hear(&mut self, out: &Out) {
        let more: usize = out.iter().map(Bytes::len).sum();
        if self.too_long || self.said.len() + more > ANSWER_BYTES_MAX {
            self.too_long = true;
            self.said = Vec::new();
            return;
        }
        out.iter().for_each(|bytes| self.said.extend_from_slice(bytes));
    }

    /// It is whole, and comes to `bill`, although more bytes may come.
    pub(super) fn is_whole(&mut self, bill: Bill) {
        self.came_to.get_or_insert(bill);
    }

    /// Nothing more comes: it is kept if it is whole.
    pub(super) fn ended(noting: &mut Option<Box<Self>>) -> Option<KeepingIt> {
        let noting = noting.take()?;
        Some((noting.keep)(Bytes::from(noting.said), noting.native, noting.came_to?))
    }
}

/// A whole answer as it is kept; empty: it is too long.
pub fn noted(answer: &Whole) -> Bytes {
    if answer.body.len() > ANSWER_BYTES_MAX {
        return Bytes::new();
    }
    let free = match answer.form {
        Form::Chat => without_cost(&answer.body),
        Form::Responses => without_native_cost(&answer.body),
    };
    free.unwrap_or_else(|| Bytes::copy_from_slice(&answer.body))
}
