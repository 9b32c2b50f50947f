//! What is typed in a scenario file, field by field. The comments here are the descriptions in its JSON Schema.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::config::document::gateway::{PriceDocument, RetentionWord};
use crate::config::document::values::{Count, Flag, ModelName, Name, Span, Text, Usd, Word, words};
use crate::config::read::At;
use crate::config::record::record;

words! {
    /// A number above zero.
    Above(f64) = { "type": "number", "exclusiveMinimum": 0 }, |text| match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("a number above 0".to_owned()),
    };
    /// A number, zero or above.
    Amount(f64) = { "type": "number", "minimum": 0 }, |text| match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("a number, 0 or more".to_owned()),
    };
    /// A share from 0 to 1.
    Part(f64) = { "type": "number", "minimum": 0, "maximum": 1 }, |text| match text.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("a number from 0 to 1".to_owned()),
    };
    /// A moment: `2026-11-16T08:00:00Z`.
    Moment(Timestamp) = { "type": "string", "format": "date-time" }, |text| {
        text.parse::<Timestamp>().map_err(|_| "a moment such as `2026-11-16T08:00:00Z`".to_owned())
    };
}

record! {
    /// A market and its incidents.
    pub struct ScenarioDocument {
        /// Another scenario file in the same folder: what stands there holds wherever this file says nothing.
        extends: Text,
        /// What it is about, in a sentence.
        about: Text,
        /// The moment at which the trace begins: prices depend on the hour.
        begins: Moment,
        /// How late first tokens may be.
        slo: SloDocument,
        /// The model that all routes sell.
        checkpoint: ModelName,
        /// What holds for every route that says nothing else.
        defaults: RouteDocument,
        /// Who sells.
        routes: Vec<At<RouteDocument>>,
        /// Hardware of our own.
        local: LocalDocument,
        /// What goes wrong, and when.
        incidents: Vec<At<IncidentDocument>>,
    }
}

record! {
    /// How late a first token may be.
    pub struct SloDocument {
        /// The part that every request has.
        ttft: Span,
        /// What each thousand prompt tokens adds.
        ttft_per_1k: Span,
    }
}

record! {
    /// One seller's offer.
    pub struct RouteDocument {
        /// Its name.
        name: Text,
        /// Where requests are processed.
        region: Name,
        /// What happens to prompts and answers. Default: unknown.
        retention: RetentionWord,
        /// `fp8`, `bf16` and the like. Default: unknown.
        quantization: Name,
        /// Longest prompt and answer together, in tokens. Default: no bound.
        context_tokens: Count,
        /// Its prices, in USD per million tokens.
        price: PriceDocument,
        /// First tokens.
        first_token: FirstTokenDocument,
        /// Tokens after the first.
        pace: PaceDocument,
        /// Attempts that fail.
        errors: ErrorsDocument,
        /// What it takes a second. Default: anything.
        limits: LimitsDocument,
        /// Its prompt cache. Default: it has none.
        cache: CacheDocument,
        /// Share of the prompt that is billed although the attempt was cancelled. Default: 1.
        cancelled_prompt_billed: Part,
    }
}

record! {
    /// Time to first token = rtt + base x noise x drift x slow + uncached prompt / prefill x drift x slow.
    pub struct FirstTokenDocument {
        /// Way there and back. Default: 20ms.
        rtt: Span,
        /// Median of the rest for a short prompt.
        base: Span,
        /// Uncached prompt tokens a second.
        prefill_tokens_per_second: Above,
        /// The distribution of the noise, by name: `a` to `h`. Default: `h`.
        shape: Text,
        /// The noise itself, instead of a shape: what the base is multiplied by, ascending, each value as likely as another.
        noise: Vec<At<Above>>,
        /// Spread of a further lognormal factor. Default: 0.05.
        noise_sigma: Amount,
        /// Share of calls in the tail. Default: 0.01.
        tail_share: Part,
        /// What a call in the tail is multiplied by. Default: 3.5.
        tail_factor: Above,
        /// Spread of the slow drift of the level. Default: 0.15.
        drift_sigma: Amount,
        /// How fast the drift forgets. Default: 900s.
        drift_relaxation: Span,
        /// How much slower it is at the day's busiest hour than on average, as a share. Default: 0.1.
        day_amplitude: Part,
    }
}

record! {
    /// Tokens after the first.
    pub struct PaceDocument {
        /// Mean tokens a second.
        tokens_per_second: Above,
        /// Spread of a lognormal factor, one draw an answer. Default: 0.15.
        noise_sigma: Amount,
        /// Share of answers that stall once. Default: 0.002.
        stall_share: Part,
        /// For how long. Default: 3s.
        stall: Span,
    }
}

record! {
    /// Attempts that fail.
    pub struct ErrorsDocument {
        /// Share of attempts. Default: 0.
        share: Part,
        /// Share of those that get a 5xx; the others stay silent. Default: 0.7.
        quick_share: Part,
        /// How soon a 5xx comes. Default: 300ms.
        quick: Span,
    }
}

record! {
    /// Token buckets.
    pub struct LimitsDocument {
        /// Uncached prompt tokens a second.
        uncached_tokens_per_second: Above,
        /// All prompt tokens a second.
        prompt_tokens_per_second: Above,
        /// Answer tokens a second.
        output_tokens_per_second: Above,
        /// Requests a second.
        requests_per_second: Above,
        /// How many seconds' worth may come at once. Default: 10s.
        burst: Span,
        /// Whether limits grow a tenth a minute under use and shrink when idle. Default: false.
        adaptive: Flag,
        /// How soon a 429 comes. Default: 80ms.
        refusal: Span,
        /// Whether a 429 says when to come back. Default: true.
        says_retry_after: Flag,
    }
}

record! {
    /// A prompt cache.
    pub struct CacheDocument {
        /// How long a block lives after its last use; `0s`: there is no cache.
        ttl: Span,
        /// Chance that what is there is billed as cached. Default: 1.
        honoured: Part,
        /// Only whole multiples of this many tokens are served from it. Default: 64.
        granularity_tokens: Count,
    }
}

record! {
    /// A node of our own.
    pub struct LocalDocument {
        /// Its name. Default: `local`.
        name: Text,
        /// Where it stands. Default: `local`.
        region: Name,
        /// What its tokens cost, in USD per million. Default: nothing.
        price: PriceDocument,
        /// Longest prompt and answer together, in tokens. Default: no bound.
        context_tokens: Count,
        /// Uncached prompt tokens a second while no answers are written.
        prefill_tokens_per_second: Above,
        /// Answer tokens a second of one stream alone.
        stream_tokens_per_second: Above,
        /// Answer tokens a second of all streams together.
        decode_tokens_per_second: Above,
        /// Streams at once.
        active_max: Count,
        /// Tokens that its prefix cache holds.
        cache_tokens: Count,
        /// How long a block lives in it. Default: 1h.
        cache_ttl: Span,
        /// What its power costs an hour. Default: 1.
        power_usd_per_hour: Usd,
        /// Share of the node that the trace gets. Default: what lets it carry about half of the prompt tokens.
        share: Part,
    }
}

record! {
    /// Something that goes wrong for a while: one of the keys from `slow` on says what.
    pub struct IncidentDocument {
        /// Whom it befalls.
        route: Text,
        /// From this share of the trace,
        from: Part,
        /// to this one.
        to: Part,
        /// First tokens take so many times as long.
        slow: Above,
        /// Nothing works: half of the attempts get a 5xx, the others silence.
        down: Flag,
        /// So much of its limits is left.
        limit_cut: Above,
        /// Its prices are so many times as high.
        price: Above,
        /// Usage reports count so many times the prompt tokens.
        wrong_usage: Above,
        /// Streams write at so much of their pace after a good first token.
        slow_stream: Above,
        /// This share of attempts is answered 200 with an error inside.
        error_inside: Part,
        /// The local node is restarted: queue and cache are gone, and it is away until `to`.
        restart: Flag,
    }
}
