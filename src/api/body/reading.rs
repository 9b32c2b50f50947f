//! The walk over a body: each member goes to who reads it, and what they find is gathered.

use smallvec::SmallVec;

use crate::api::scan::{self, Fault, Kind, Scanner, Span};
use crate::api::splice::Member;
use crate::api::wishes::Wishes;
use crate::routing::{Capabilities, Endpoint};

use super::error::Error;
use super::values::{boolean, check_model_name, refuse_duplicates, whole_number};

/// Most members the outermost object may have.
pub const MEMBERS_MAX: usize = 1024;

/// What a body was found to say.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) model: Box<str>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) output_tokens_max: Option<u64>,
    pub(super) choices: u64,
    /// Prompts in one request for completions; each is answered by itself.
    pub(super) prompts: u64,
    pub(super) prompt_bytes: u64,
    pub(super) documents: u64,
    pub(super) needs: Capabilities,
    pub(super) tags: SmallVec<[(Box<str>, Box<str>); 2]>,
    pub(super) wishes: Option<Box<Wishes>>,
}

/// A body that is being read.
pub(super) struct Reading<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) body: &'a [u8],
    pub(super) members: Vec<Member>,
    pub(super) found: Found,
    pub(super) has_model: bool,
    pub(super) has_prompt: bool,
    pub(super) query_bytes: u64,
    pub(super) documents: u64,
}

impl<'a> Reading<'a> {
    pub(super) fn new(endpoint: Endpoint, body: &'a [u8]) -> Self {
        let needs = match endpoint {
            Endpoint::Chat => Capabilities::CHAT,
            Endpoint::Completions => Capabilities::COMPLETIONS,
            Endpoint::Embeddings => Capabilities::EMBEDDINGS,
            Endpoint::Rerank => Capabilities::RERANK,
        };
        let found = Found { needs, ..Found::default() };
        Self {
            endpoint,
            body,
            members: Vec::with_capacity(16),
            found,
            has_model: false,
            has_prompt: false,
            query_bytes: 0,
            documents: 0,
        }
    }

    /// Reads one member, the scanner standing at its value.
    pub(super) fn member(&mut self, scanner: &mut Scanner<'_>, key: Span) -> Result<(), Error> {
        if self.members.len() == MEMBERS_MAX {
            return Err(Error::NotJson(Fault::TooDeep { max: MEMBERS_MAX }));
        }
        let start = scanner.offset();
        let name = scan::text_of(self.body, &key);
        match &*name {
            "model" => self.model(scanner)?,
            "messages" if self.endpoint == Endpoint::Chat => self.messages(scanner)?,
            "prompt" if self.endpoint == Endpoint::Completions => self.prompt(scanner, "prompt")?,
            "input" if self.endpoint == Endpoint::Embeddings => self.prompt(scanner, "input")?,
            "query" if self.endpoint == Endpoint::Rerank => self.query(scanner)?,
            "documents" if self.endpoint == Endpoint::Rerank => self.documents(scanner)?,
            "top_n" if self.endpoint == Endpoint::Rerank => self.top_n(scanner)?,
            "return_documents" if self.endpoint == Endpoint::Rerank => self.return_documents(scanner)?,
            "stream" => self.found.stream = boolean(scanner, self.body, "stream")?,
            "stream_options" => self.stream_options(scanner)?,
            "max_tokens" => self.output_bound(scanner, "max_tokens")?,
            "max_completion_tokens" => self.output_bound(scanner, "max_completion_tokens")?,
            "n" => self.choices(scanner, "n")?,
            "best_of" if self.endpoint == Endpoint::Completions => self.choices(scanner, "best_of")?,
            "tools" | "functions" => self.tools(scanner)?,
            "tool_choice" => self.tool_choice(scanner)?,
            "response_format" => self.response_format(scanner)?,
            "logprobs" => self.logprobs(scanner)?,
            "metadata" => self.metadata(scanner)?,
            other if Wishes::is_member(other) => {
                self.found.wishes.get_or_insert_default().member(scanner, self.body, other)?;
            }
            _ => {
                scanner.value()?;
            }
        }
        self.members.push(Member { key, value: start..scanner.offset() });
        Ok(())
    }

    fn model(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let got = scanner.kind()?;
        let span = scanner.value()?;
        if got != Kind::String {
            return Err(Error::WrongType { param: "model", expected: "a string", got: got.name() });
        }
        let model = scan::text_of(self.body, &span);
        check_model_name("model", &model)?;
        self.found.model = model.into();
        self.has_model = true;
        Ok(())
    }

    fn stream_options(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let param = "stream_options";
        match scanner.kind()? {
            Kind::Null => {
                scanner.value()?;
            }
            Kind::Object => {
                self.object(scanner, |reading, scanner, name| {
                    if name == "include_usage" {
                        reading.found.include_usage =
                            boolean(scanner, reading.body, "stream_options.include_usage")?;
                    } else {
                        scanner.value()?;
                    }
                    Ok(())
                })?;
            }
            got => return Err(Error::WrongType { param, expected: "an object", got: got.name() }),
        }
        Ok(())
    }

    fn output_bound(&mut self, scanner: &mut Scanner<'_>, param: &'static str) -> Result<(), Error> {
        match whole_number(scanner, self.body, param)? {
            Some(0) => Err(Error::Invalid { param, reason: "it must be at least 1" }),
            Some(bound) => {
                let tighter = self.found.output_tokens_max.map_or(bound, |known| known.min(bound));
                self.found.output_tokens_max = Some(tighter);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Walks the object that begins here, refusing a key that stands twice.
    pub(super) fn object(
        &mut self,
        scanner: &mut Scanner<'_>,
        mut each: impl FnMut(&mut Self, &mut Scanner<'_>, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut keys: SmallVec<[Span; 16]> = SmallVec::new();
        let mut walk = scanner.enter_object()?;
        while let Some(key) = walk.next(scanner)? {
            if keys.len() == MEMBERS_MAX {
                return Err(Error::NotJson(Fault::TooDeep { max: MEMBERS_MAX }));
            }
            let name = scan::text_of(self.body, &key).into_owned();
            each(self, scanner, &name)?;
            keys.push(key);
        }
        refuse_duplicates(self.body, keys.iter())
    }

    pub(super) fn refuse_duplicates(&self) -> Result<(), Error> {
        refuse_duplicates(self.body, self.members.iter().map(|member| &member.key))
    }

    pub(super) fn finish(mut self) -> Result<(Found, Vec<Member>), Error> {
        if !self.has_model {
            // A list of models is enough for OpenRouter.
            let first = self.found.wishes.as_ref().and_then(|wishes| wishes.models.first());
            self.found.model = first.cloned().ok_or(Error::Missing("model"))?;
        }
        self.found.include_usage |= self.found.wishes.as_ref().is_some_and(|wishes| wishes.include_usage);
        if !self.has_prompt {
            return Err(Error::Missing(match self.endpoint {
                Endpoint::Chat => "messages",
                Endpoint::Completions => "prompt",
                Endpoint::Embeddings => "input",
                Endpoint::Rerank => "documents",
            }));
        }
        if self.endpoint == Endpoint::Rerank {
            if self.query_bytes == 0 {
                return Err(Error::Missing("query"));
            }
            // A reranker reads the query with every document.
            let queries = self.query_bytes.saturating_mul(self.documents);
            self.found.prompt_bytes = self.found.prompt_bytes.saturating_add(queries);
            self.found.documents = self.documents;
            self.found.stream = false;
        }
        Ok((self.found, self.members))
    }
}
