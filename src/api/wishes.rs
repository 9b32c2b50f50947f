//! What a caller says of who should serve its request: OpenRouter's routing fields, read once. Routing alone decides what
//! comes of them.

use smallvec::SmallVec;

use crate::routing::{Quantile, Retention, Sort};
use crate::units::{NanoUsd, TokenPrice};

use super::body::{self, Error};
use super::scan::{self, Kind, Scanner};

/// Most models a request may name, and most entries of a list in `provider`.
pub const MODELS_MAX: usize = 16;
const LIST_MAX: usize = 64;
/// Longest name in such a list, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Longest `session_id`, in characters (OpenRouter's own bound).
const SESSION_CHARS_MAX: usize = 256;

/// Members of a body that steer OpenRouter and this gateway, and mean nothing to anybody else.
pub const MEMBERS: [&str; 4] = ["models", "provider", "usage", "session_id"];

/// What one request asks for.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "so many switches have these fields")]
pub struct Wishes {
    /// Models to try, in order, after `model`.
    pub models: Vec<Box<str>>,
    /// Providers to try first, in this order.
    pub order: Vec<Box<str>>,
    /// Nobody but these; empty: anybody.
    pub only: Vec<Box<str>>,
    /// Not these.
    pub ignore: Vec<Box<str>>,
    /// Whether a second provider may be tried only if `order` names it (`allow_fallbacks: false`).
    pub no_fallbacks: bool,
    /// Whether a route must keep every parameter of the request.
    pub require_parameters: bool,
    /// The most that may be kept of the request.
    pub retention_max: Option<Retention>,
    /// Allowed quantisations, in lower case; empty: any.
    pub quantizations: Vec<Box<str>>,
    /// What to order by.
    pub sort: Option<Sort>,
    /// Whether the order of `models` gives way to `sort` (`partition: none`).
    pub across_models: bool,
    /// Dearest prompt token.
    pub prompt_price_max: Option<TokenPrice>,
    /// Dearest answer token.
    pub completion_price_max: Option<TokenPrice>,
    /// Dearest fee per request.
    pub fee_max: Option<NanoUsd>,
    /// Tokens a second that the given share of answers should reach.
    pub throughput_min: SmallVec<[Quantile; 1]>,
    /// Seconds within which the given share of first tokens should come.
    pub latency_max: SmallVec<[Quantile; 1]>,
    /// Members of `provider` that this gateway does not know; only OpenRouter can honour them.
    pub unknown: Vec<Box<str>>,
    /// What keeps a conversation where it is: `session_id`, else `prompt_cache_key`.
    pub session: Option<Box<str>>,
    /// Whether `session` is a `session_id`.
    session_is_own: bool,
    /// Whether usage is asked for (`usage: {include: true}`).
    pub include_usage: bool,
    /// Names in `order` and `only` to which no provider here answers: OpenRouter may know them. Set once the request meets
    /// the configuration.
    pub foreign: Vec<Box<str>>,
}

impl Wishes {
    /// Whether this member of a body is one of these fields.
    pub fn is_member(name: &str) -> bool {
        MEMBERS.contains(&name) || name == "prompt_cache_key"
    }

    /// Reads the member called `name`, the scanner standing at its value.
    pub(super) fn member(&mut self, scanner: &mut Scanner<'_>, body: &[u8], name: &str) -> Result<(), Error> {
        match name {
            "models" => self.models(scanner, body),
            "provider" => self.provider(scanner, body),
            "usage" => object(scanner, body, "usage", |scanner, key| {
                if key == "include" {
                    self.include_usage = body::boolean(scanner, body, "usage.include")?;
                } else {
                    scanner.value()?;
                }
                Ok(())
            }),
            "session_id" => {
                if let Some(session) = text(scanner, body, "session_id")? {
                    if session.is_empty() || session.chars().count() > SESSION_CHARS_MAX {
                        let reason = "it must have 1 to 256 characters";
                        return Err(Error::Invalid { param: "session_id", reason });
                    }
                    (self.session, self.session_is_own) = (Some(session), true);
                }
                Ok(())
            }
            _ => {
                // OpenAI's own field: whatever stands there is for the provider to judge.
                let kind = scanner.kind()?;
                let span = scanner.value()?;
                if kind == Kind::String && !self.session_is_own {
                    self.session = Some(scan::text_of(body, &span).into());
                }
                Ok(())
            }
        }
    }

    fn models(&mut self, scanner: &mut Scanner<'_>, body: &[u8]) -> Result<(), Error> {
        let models = list(scanner, body, "models", MODELS_MAX)?;
        for model in &models {
            body::check_model_name("models", model)?;
        }
        self.models = models;
        Ok(())
    }

    fn provider(&mut self, scanner: &mut Scanner<'_>, body: &[u8]) -> Result<(), Error> {
        object(scanner, body, "provider", |scanner, key| {
            match key {
                "order" => self.order = list(scanner, body, "provider.order", LIST_MAX)?,
                "only" => self.only = list(scanner, body, "provider.only", LIST_MAX)?,
                "ignore" => self.ignore = list(scanner, body, "provider.ignore", LIST_MAX)?,
                "allow_fallbacks" => {
                    let stated = optional_boolean(scanner, body, "provider.allow_fallbacks")?;
                    self.no_fallbacks = stated == Some(false);
                }
                "require_parameters" => {
                    self.require_parameters = body::boolean(scanner, body, "provider.require_parameters")?;
                }
                "data_collection" => {
                    if word(scanner, body, "provider.data_collection", &COLLECTION, "write allow or deny")?
                        == Some(true)
                    {
                        self.keep_at_most(Retention::Stored);
                    }
                }
                "zdr" => {
                    if body::boolean(scanner, body, "provider.zdr")? {
                        self.keep_at_most(Retention::None);
                    }
                }
                "quantizations" => {
                    let named = list(scanner, body, "provider.quantizations", LIST_MAX)?;
                    self.quantizations = named.iter().map(|one| one.to_lowercase().into()).collect();
                }
                "sort" => self.sort(scanner, body)?,
                "max_price" => self.max_price(scanner, body)?,
                "preferred_min_throughput" => {
                    self.throughput_min = quantiles(scanner, body, "provider.preferred_min_throughput")?;
                }
                "preferred_max_latency" => {
                    self.latency_max = quantiles(scanner, body, "provider.preferred_max_latency")?;
                }
                other => {
                    let kind = scanner.kind()?;
                    let span = scanner.value()?;
                    // What is null or switched off asks for nothing.
                    if kind != Kind::Null && &body[span] != b"false" && self.unknown.len() < LIST_MAX {
                        self.unknown.push(other.chars().take(NAME_BYTES_MAX / 4).collect::<String>().into());
                    }
                }
            }
            Ok(())
        })
    }

    fn keep_at_most(&mut self, most: Retention) {
        self.retention_max = Some(self.retention_max.map_or(most, |known| known.min(most)));
    }

    fn sort(&mut self, scanner: &mut Scanner<'_>, body: &[u8]) -> Result<(), Error> {
        let fix = "write price, throughput, latency or exacto, or {by: …, partition: model or none}";
        if scanner.kind()? != Kind::Object {
            self.sort = word(scanner, body, "provider.sort", &SORTS, fix)?;
            return Ok(());
        }
        object(scanner, body, "provider.sort", |scanner, key| {
            match key {
                "by" => self.sort = word(scanner, body, "provider.sort.by", &SORTS, fix)?,
                "partition" => {
                    let param = "provider.sort.partition";
                    self.across_models = word(scanner, body, param, &PARTITIONS, fix)? == Some(true);
                }
                _ => {
                    scanner.value()?;
                }
            }
            Ok(())
        })
    }

    fn max_price(&mut self, scanner: &mut Scanner<'_>, body: &[u8]) -> Result<(), Error> {
        let tokens = TokenPrice::ceiling_from_usd_per_mtok;
        object(scanner, body, "provider.max_price", |scanner, key| {
            match key {
                "prompt" => {
                    self.prompt_price_max = amount(scanner, body, "provider.max_price.prompt", tokens)?;
                }
                "completion" => {
                    self.completion_price_max =
                        amount(scanner, body, "provider.max_price.completion", tokens)?;
                }
                "request" => {
                    self.fee_max =
                        amount(scanner, body, "provider.max_price.request", NanoUsd::ceiling_from_usd_text)?;
                }
                // Nobody but OpenRouter charges for these apart from tokens; it reads them itself.
                "image" => {
                    amount(scanner, body, "provider.max_price.image", tokens)?;
                }
                "audio" => {
                    amount(scanner, body, "provider.max_price.audio", tokens)?;
                }
                _ => {
                    let reason = "it knows prompt, completion, request, image and audio, in USD per million tokens (request: in USD)";
                    return Err(Error::Invalid { param: "provider.max_price", reason });
                }
            }
            Ok(())
        })
    }
}

/// A model's name without OpenRouter's suffix for a sort, and that sort.
pub fn without_suffix(model: &str) -> Option<(&str, Sort)> {
    let (name, suffix) = model.rsplit_once(':')?;
    let sort = match suffix {
        "floor" => Sort::Price,
        "nitro" => Sort::Throughput,
        _ => return None,
    };
    (!name.is_empty()).then_some((name, sort))
}

/// A word, and what it means.
type Words<T> = [(&'static str, T)];

const SORTS: [(&str, Sort); 4] = [
    ("price", Sort::Price),
    ("throughput", Sort::Throughput),
    ("latency", Sort::Latency),
    ("exacto", Sort::Exacto),
];
/// Whether collecting is denied.
const COLLECTION: [(&str, bool); 2] = [("allow", false), ("deny", true)];
/// Whether all models are sorted together.
const PARTITIONS: [(&str, bool); 2] = [("model", false), ("none", true)];
/// The shares that OpenRouter's percentiles name.
const PERCENTILES: [(&str, f32); 4] = [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p99", 0.99)];

/// The object that begins here, member by member; null has none.
fn object(
    scanner: &mut Scanner<'_>,
    body: &[u8],
    param: &'static str,
    mut each: impl FnMut(&mut Scanner<'_>, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    match scanner.kind()? {
        Kind::Null => {
            scanner.value()?;
            return Ok(());
        }
        Kind::Object => {}
        got => return Err(Error::WrongType { param, expected: "an object", got: got.name() }),
    }
    let mut keys: SmallVec<[scan::Span; 16]> = SmallVec::new();
    let mut walk = scanner.enter_object()?;
    while let Some(key) = walk.next(scanner)? {
        if keys.len() == LIST_MAX {
            return Err(Error::Invalid { param, reason: "it has more than 64 members" });
        }
        let name = scan::text_of(body, &key);
        each(scanner, &name)?;
        keys.push(key);
    }
    body::refuse_duplicates(body, keys.iter())
}

/// A list of names; null is an empty one.
fn list(
    scanner: &mut Scanner<'_>,
    body: &[u8],
    param: &'static str,
    most: usize,
) -> Result<Vec<Box<str>>, Error> {
    let expected = "an array of strings";
    match scanner.kind()? {
        Kind::Null => {
            scanner.value()?;
            return Ok(Vec::new());
        }
        Kind::Array => {}
        got => return Err(Error::WrongType { param, expected, got: got.name() }),
    }
    let mut items = scanner.enter_array()?;
    let mut names = Vec::new();
    while items.next(scanner)? {
        let got = scanner.kind()?;
        let span = scanner.value()?;
        if got != Kind::String {
            return Err(Error::WrongType { param, expected, got: got.name() });
        }
        let name = scan::text_of(body, &span);
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Error::Invalid { param, reason: "a name has 1 to 256 bytes" });
        }
        if names.len() == most {
            return Err(Error::Invalid { param, reason: "it has too many entries (models: 16, others: 64)" });
        }
        names.push(name.into());
    }
    Ok(names)
}

fn text(scanner: &mut Scanner<'_>, body: &[u8], param: &'static str) -> Result<Option<Box<str>>, Error> {
    let got = scanner.kind()?;
    let span = scanner.value()?;
    match got {
        Kind::Null => Ok(None),
        Kind::String => Ok(Some(scan::text_of(body, &span).into())),
        _ => Err(Error::WrongType { param, expected: "a string", got: got.name() }),
    }
}

fn word<T: Copy>(
    scanner: &mut Scanner<'_>,
    body: &[u8],
    param: &'static str,
    words: &Words<T>,
    fix: &'static str,
) -> Result<Option<T>, Error> {
    let Some(text) = text(scanner, body, param)? else { return Ok(None) };
    let meant = words.iter().find(|(known, _)| **known == *text).map(|(_, meant)| *meant);
    meant.map(Some).ok_or(Error::Invalid { param, reason: fix })
}

fn optional_boolean(
    scanner: &mut Scanner<'_>,
    body: &[u8],
    param: &'static str,
) -> Result<Option<bool>, Error> {
    if scanner.kind()? == Kind::Null {
        scanner.value()?;
        return Ok(None);
    }
    body::boolean(scanner, body, param).map(Some)
}

/// An amount of money, as a number or as a string with one in it: read from its digits, never through a float.
fn amount<T>(
    scanner: &mut Scanner<'_>,
    body: &[u8],
    param: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    let got = scanner.kind()?;
    let span = scanner.value()?;
    let digits = match got {
        Kind::Null => return Ok(None),
        Kind::Number => std::str::from_utf8(&body[span]).unwrap_or_default().into(),
        Kind::String => scan::text_of(body, &span),
        _ => return Err(Error::WrongType { param, expected: "a number", got: got.name() }),
    };
    let reason = "write a number of at least 0, in USD per million tokens (request: in USD)";
    read(&digits).map(Some).ok_or(Error::Invalid { param, reason })
}

/// A number (the median), or an object of percentiles.
fn quantiles(
    scanner: &mut Scanner<'_>,
    body: &[u8],
    param: &'static str,
) -> Result<SmallVec<[Quantile; 1]>, Error> {
    let invalid =
        Error::Invalid { param, reason: "write a number above 0, or {p50, p75, p90, p99: a number}" };
    let number = |scanner: &mut Scanner<'_>| -> Result<Option<f32>, Error> {
        let got = scanner.kind()?;
        let span = scanner.value()?;
        match got {
            Kind::Null => Ok(None),
            Kind::Number => {
                let number = std::str::from_utf8(&body[span]).unwrap_or_default().parse::<f32>();
                let sensible = number.ok().filter(|number| *number > 0.0 && number.is_finite());
                sensible.map(Some).ok_or_else(|| invalid.clone())
            }
            _ => Err(Error::WrongType { param, expected: "a number or an object", got: got.name() }),
        }
    };
    let mut wanted = SmallVec::new();
    if scanner.kind()? != Kind::Object {
        wanted.extend(number(scanner)?.map(|value| Quantile { share: 0.5, value }));
        return Ok(wanted);
    }
    object(scanner, body, param, |scanner, key| {
        let known = PERCENTILES.iter().find(|(name, _)| *name == key);
        let (_, share) = known.ok_or_else(|| invalid.clone())?;
        wanted.extend(number(scanner)?.map(|value| Quantile { share: *share, value }));
        Ok(())
    })?;
    Ok(wanted)
}

#[cfg(test)]
mod tests;
