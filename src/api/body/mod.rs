//! A request body, read once: what is authorised, priced, logged and sent upstream is this one parsed value.

mod error;
mod needs;
mod prompt;
mod reading;
mod tags;
mod tokens;
mod values;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::routing::{Endpoint, Needs};

use super::continued::SoFar;
use super::face::Face;
use super::responses::Native;
use super::scan::{self, Kind, Scanner};
use super::splice::{self, Edit, Member, splice};
use super::wishes::Wishes;

use reading::Reading;

pub use error::Error;
pub use reading::MEMBERS_MAX;
pub use tags::{TAGS_MAX, is_tag_text};
pub use values::MODEL_NAME_BYTES_MAX;

pub(super) use values::{boolean, check_model_name, refuse_duplicates};

/// What an image counts in the prompt's bytes, whatever its own size: about 1,600 tokens, the most that a model of
/// Anthropic's makes of one.
pub const IMAGE_BYTES: u64 = 6_400;

/// A request once parsed. Everything the gateway needs of the body is here; the rest goes through as bytes.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which API.
    pub endpoint: Endpoint,
    /// The body as it came.
    pub body: Bytes,
    /// Members of its outermost object, in order.
    pub members: Vec<Member>,
    /// `model`, escapes undone.
    pub model: Box<str>,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Whether the caller asked for the usage chunk.
    pub include_usage: bool,
    /// The caller's bound on the answer in tokens.
    pub output_tokens_max: Option<u64>,
    /// How many answers are written at once (`n`, `best_of`, several prompts), each of them with the bound above.
    pub choices: u64,
    /// Size of the prompt-bearing members in bytes, from which its tokens are estimated.
    pub prompt_bytes: u64,
    /// Documents to rank; none but for a reranker.
    pub documents: u64,
    /// What a route must be able to do.
    pub needs: Needs,
    /// Tags from `metadata`.
    pub tags: SmallVec<[(Box<str>, Box<str>); 2]>,
    /// The caller's patience, from its client's headers.
    pub deadline: Option<Duration>,
    /// The bound that whoever pays has put on the answer in place of a wider one of the caller's, in tokens for each choice.
    pub bound: Option<u64>,
    /// What was said already, where another route has to go on.
    pub so_far: Option<Arc<SoFar>>,
    /// Who should serve it, where the caller says; most do not.
    pub wishes: Option<Box<Wishes>>,
    /// What turns the answer into the caller's own shape, where that is not this endpoint's.
    pub face: Option<Box<Face>>,
}

impl Call {
    /// Reads `body` as a call of `endpoint`, nesting at most `depth_max` levels.
    pub fn parse(endpoint: Endpoint, body: Bytes, depth_max: usize) -> Result<Self, Error> {
        scan::check_utf8(&body)?;
        let mut reading = Reading::new(endpoint, &body);
        let mut scanner = Scanner::new(&body, depth_max);
        match scanner.kind()? {
            Kind::Object => {}
            other => {
                // The whole text is checked first: "not JSON" is the better message where both hold.
                scanner.value()?;
                scanner.finish()?;
                return Err(Error::NotAnObject(other.name()));
            }
        }
        let mut members = scanner.enter_object()?;
        while let Some(key) = members.next(&mut scanner)? {
            reading.member(&mut scanner, key)?;
        }
        scanner.finish()?;
        reading.refuse_duplicates()?;
        let (found, members) = reading.finish()?;
        Ok(Self {
            endpoint,
            members,
            model: found.model,
            stream: found.stream,
            include_usage: found.include_usage,
            output_tokens_max: found.output_tokens_max,
            choices: found.choices.max(1).saturating_mul(found.prompts.max(1)),
            prompt_bytes: found.prompt_bytes,
            documents: found.documents,
            needs: Needs(found.needs),
            tags: found.tags,
            deadline: None,
            bound: None,
            so_far: None,
            wishes: found.wishes,
            face: None,
            body,
        })
    }

    /// The same call with at most `max` tokens in all of its answer, where its caller said more or nothing: what whoever pays
    /// for it can afford. Of several choices each gets its share.
    #[must_use]
    pub fn bounded(self, max: u64) -> Self {
        let fits = |own: u64| own.saturating_mul(self.choices) <= max;
        if !self.endpoint.writes() || self.output_tokens_max.is_some_and(fits) {
            return self;
        }
        let bound = (max / self.choices.max(1)).max(1);
        let each = Bytes::from(bound.to_string());
        let bounds = ["max_tokens", "max_completion_tokens"].map(|name| self.member(name).map(|(at, _)| at));
        let mut edits: SmallVec<[Edit; 2]> =
            bounds.into_iter().flatten().map(|at| Edit::Replace(at, each.clone())).collect();
        if edits.is_empty() {
            edits.push(Edit::Append([b"\"max_tokens\":", &*each].concat().into()));
        }
        let body = Bytes::from(splice(&self.body, &self.members, &edits).concat());
        match Self::parse(self.endpoint, body, scan::DEPTH_LIMIT) {
            // What was put on beside the body stays.
            Ok(bounded) => Self {
                prompt_bytes: self.prompt_bytes,
                tags: self.tags,
                deadline: self.deadline,
                bound: Some(bound),
                so_far: self.so_far,
                wishes: self.wishes,
                face: self.face,
                model: self.model,
                ..bounded
            },
            // It was read once, and only a number has changed.
            Err(_) => self,
        }
    }

    /// The member called `key`, by its place.
    pub fn member(&self, key: &str) -> Option<(usize, &Member)> {
        splice::member(&self.body, &self.members, key)
    }

    /// Puts on the face that the answer is told through, and takes from it what the translated body cannot say.
    pub fn wear(&mut self, face: Option<Box<Face>>) {
        let Some(face) = face else { return };
        let (tags, images) = (face.tags(), face.images());
        self.tags.extend(tags.iter().take(TAGS_MAX).cloned());
        self.prompt_bytes =
            self.prompt_bytes.saturating_sub(images.bytes).saturating_add(images.count * IMAGE_BYTES);
        self.face = Some(face);
    }

    /// The request in its caller's own words, where those are another API's that some providers speak too. What goes on with
    /// an answer is always a chat.
    pub fn native(&self) -> Option<&Native> {
        self.face.as_deref().filter(|_| self.so_far.is_none())?.native()
    }

    /// The endpoint's name as its caller knows it, for records.
    pub fn surface_name(&self) -> &'static str {
        self.face.as_ref().map_or_else(|| self.endpoint.name(), |face| face.name())
    }
}

#[cfg(test)]
mod tests;
