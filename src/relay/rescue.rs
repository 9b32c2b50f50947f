//! What a stream asks for when it breaks off under a policy that wants it gone on with: another route's continuation.
//!
//! The relay knows neither policies nor routes: whoever opened the stream gives it a [`Rescue`], and gets it back with each
//! continuation, so that a second break can be mended as well.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::api::continued::SoFar;
use crate::telemetry::Series;
use crate::upstream::Streamed;

use super::account::Answered;

/// Finds somebody to go on.
pub struct Rescue {
    /// Starts looking. Dropping the future cancels what is under way.
    pub go_on: Box<dyn FnOnce(Broke) -> Rescuing + Send>,
}

/// A search under way.
pub type Rescuing = Pin<Box<dyn Future<Output = Rescued> + Send>>;

/// A stream that broke off.
#[derive(Debug)]
pub struct Broke {
    /// What its caller has been told.
    pub so_far: SoFar,
    /// Why it broke off.
    pub reason: &'static str,
}

/// What came of a search.
#[expect(clippy::large_enum_variant, reason = "one lives at a time, for a moment")]
pub enum Rescued {
    /// Another route goes on.
    By(Continued),
    /// Nothing is left to say: the answer has reached its caller's bound.
    AtBound,
    /// Nobody goes on.
    Nobody,
}

/// A continuation that has begun.
pub struct Continued {
    /// What was said before it.
    pub so_far: SoFar,
    /// The stream, whose first words are here.
    pub streamed: Streamed,
    /// Who goes on.
    pub answered: Answered,
    /// Where that is counted.
    pub series: Arc<Series>,
    /// Whether it may begin with a repetition.
    pub may_echo: bool,
    /// What the caller is told of all breaks so far: a JSON array.
    pub resumed: String,
    /// Mends the next break.
    pub next: Rescue,
}
