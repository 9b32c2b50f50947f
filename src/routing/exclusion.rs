//! Why a route is left out: a stable name, and plain words with the fix.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::units::{NanoUsd, TokenPrice};

use super::route::Capabilities;

/// Why a route is not among the candidates.
#[derive(Debug, Clone, PartialEq)]
pub enum Exclusion {
    /// The policy's `routes` does not name it.
    NotInPolicy,
    /// The caller's `provider.only` or `provider.ignore` rules it out.
    NotWanted {
        /// Which of them.
        field: &'static str,
    },
    /// The caller allows nobody but those in its `provider.order`.
    WishOrder,
    /// The caller allows no second provider.
    WishFallbacks,
    /// It would not heed this part of the request, and the caller wants all of it heeded.
    WishParameter(Arc<str>),
    /// It keeps more than the caller allows, or nobody knows.
    WishRetention,
    /// Not a quantisation that the caller allows, or not known.
    WishQuantization(Option<Arc<str>>),
    /// A price over the caller's own ceiling.
    WishPrice {
        /// `prompt` or `completion`.
        which: &'static str,
        /// The price in force.
        price: TokenPrice,
        /// The ceiling.
        max: TokenPrice,
    },
    /// A fee per request over the caller's own ceiling.
    WishFee {
        /// The fee.
        fee: NanoUsd,
        /// The ceiling.
        max: NanoUsd,
    },
    /// Only a pin (`provider/model`) may choose it.
    PinOnly,
    /// No price is known and the policy does not allow that.
    Unpriced,
    /// Input or output price over the ceiling.
    PriceOver {
        /// `input` or `output`.
        which: &'static str,
        /// The price in force.
        price: TokenPrice,
        /// The ceiling.
        max: TokenPrice,
    },
    /// Region not allowed, or not known.
    Region(Option<Arc<str>>),
    /// Keeps more than allowed, or nobody knows.
    Retention,
    /// Quantisation not allowed, or not known.
    Quantization(Option<Arc<str>>),
    /// Prompt and answer do not fit.
    ContextTooSmall {
        /// What it takes.
        tokens_max: u64,
        /// What the request needs.
        tokens_needed: u64,
    },
    /// It lacks something the request needs.
    Lacks(Capabilities),
    /// Breaker open.
    BreakerOpen {
        /// For how much longer.
        remaining: Duration,
    },
    /// The provider asked us to wait.
    RateLimited {
        /// For how much longer.
        remaining: Duration,
    },
    /// It is asked for as much as it took before it refused.
    OverCap {
        /// Uncached prompt tokens a second it is asked for.
        rate: u64,
        /// The most it seems to take.
        cap: u64,
    },
    /// As many answers are under way there as it can write at once.
    Full {
        /// How many.
        running: u32,
    },
    /// It is an engine of our own, and what waits there would make this request late.
    Queue {
        /// Prompt tokens that are still to be read.
        queued: f32,
    },
    /// The operator has to act first: bad key, no credit, unknown model.
    Disabled {
        /// For how much longer it is left alone.
        remaining: Duration,
    },
    /// The key may not use this model.
    Forbidden,
}

impl Exclusion {
    /// Whether it is the caller's own wish that rules the route out.
    pub const fn is_wish(&self) -> bool {
        matches!(
            self,
            Self::NotWanted { .. }
                | Self::WishOrder
                | Self::WishFallbacks
                | Self::WishParameter(_)
                | Self::WishRetention
                | Self::WishQuantization(_)
                | Self::WishPrice { .. }
                | Self::WishFee { .. }
        )
    }

    /// Whether it is only so for now: the route may be asked later in the same request.
    pub const fn is_for_now(&self) -> bool {
        matches!(
            self,
            Self::BreakerOpen { .. }
                | Self::RateLimited { .. }
                | Self::OverCap { .. }
                | Self::Full { .. }
                | Self::Queue { .. }
                | Self::Disabled { .. }
        )
    }

    /// A stable name for logs, metrics and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotInPolicy => "not_in_policy",
            Self::NotWanted { .. } => "not_wanted",
            Self::WishOrder => "wish_order",
            Self::WishFallbacks => "wish_fallbacks",
            Self::WishParameter(_) => "wish_parameter",
            Self::WishRetention => "wish_retention",
            Self::WishQuantization(_) => "wish_quantization",
            Self::WishPrice { .. } | Self::WishFee { .. } => "wish_price",
            Self::PinOnly => "pin_only",
            Self::Unpriced => "unpriced",
            Self::PriceOver { .. } => "price_over",
            Self::Region(_) => "region",
            Self::Retention => "retention",
            Self::Quantization(_) => "quantization",
            Self::ContextTooSmall { .. } => "context_too_small",
            Self::Lacks(_) => "lacks",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::RateLimited { .. } => "rate_limited",
            Self::OverCap { .. } => "over_cap",
            Self::Full { .. } => "full",
            Self::Queue { .. } => "queue",
            Self::Disabled { .. } => "disabled",
            Self::Forbidden => "forbidden",
        }
    }
}

/// The reason in plain words, with the fix. It names no key and no address, so a caller may see it.
impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInPolicy => f.write_str("the policy does not name it; add it to the policy's `routes`"),
            Self::NotWanted { field } => write!(f, "the request's own `provider.{field}` rules it out"),
            Self::WishOrder => f.write_str(
                "the request wants nobody but the providers in its `provider.order` (`allow_fallbacks: false`)",
            ),
            Self::WishFallbacks => {
                f.write_str("the request wants no second provider (`provider.allow_fallbacks: false`)")
            }
            Self::WishParameter(name) => {
                write!(f, "it would not heed the request's `{name}`, which the request insists on")
            }
            Self::WishRetention => f.write_str(
                "it keeps more than the request allows (`provider.zdr`, `provider.data_collection`), or nobody knows; \
                 set the provider's `data_retention` in tollway.yaml if you do",
            ),
            Self::WishQuantization(Some(kind)) => {
                write!(f, "its quantisation {kind} is not among the request's `provider.quantizations`")
            }
            Self::WishQuantization(None) => f.write_str(
                "its quantisation is not known, and the request has `provider.quantizations`; \
                 set the model's `quantization` in tollway.yaml",
            ),
            Self::WishPrice { which, price, max } => write!(
                f,
                "its {which} price of {price} USD per million tokens is over the request's own ceiling of {max} \
                 (`provider.max_price.{which}`)"
            ),
            Self::WishFee { fee, max } => write!(
                f,
                "its fee of {fee} USD a request is over the request's own ceiling of {max} \
                 (`provider.max_price.request`)"
            ),
            Self::PinOnly => f.write_str("a special serving path; only its own full name chooses it"),
            Self::Unpriced => f.write_str(
                "its price is not known; set `price` for the model in tollway.yaml, or `allow_unpriced: true` in a policy without a price ceiling",
            ),
            Self::PriceOver { which, price, max } => write!(
                f,
                "its {which} price of {price} USD per million tokens is over the ceiling of {max} \
                 (`max_price.{which}`)"
            ),
            Self::Region(Some(region)) => {
                write!(f, "its region {region} is not among the policy's `constraints.regions`")
            }
            Self::Region(None) => f.write_str("its region is not known; set the provider's `region` in tollway.yaml"),
            Self::Retention => f.write_str(
                "it keeps more than `constraints.data_retention` allows, or nobody knows; \
                 set the provider's `data_retention` in tollway.yaml if you do",
            ),
            Self::Quantization(Some(kind)) => {
                write!(f, "its quantisation {kind} is not among the policy's `constraints.quantizations`")
            }
            Self::Quantization(None) => {
                f.write_str("its quantisation is not known; set the model's `quantization` in tollway.yaml")
            }
            Self::ContextTooSmall { tokens_max, tokens_needed } => write!(
                f,
                "it takes {tokens_max} tokens and prompt and answer need {tokens_needed}; \
                 shorten the prompt or lower `max_tokens`"
            ),
            Self::Lacks(missing) => write_lacks(f, *missing),
            Self::BreakerOpen { remaining } => {
                write!(f, "it failed too often lately; it is tried again in {}", Wait(*remaining))
            }
            Self::RateLimited { remaining } => {
                write!(f, "its provider asked for a pause; it is asked again in {}", Wait(*remaining))
            }
            Self::OverCap { rate, cap } => write!(
                f,
                "it is asked for {rate} prompt tokens a second, and it refused at more than {cap}; the rest goes elsewhere"
            ),
            Self::Full { running } => write!(f, "{running} answers are under way there, as many as it writes at once"),
            Self::Queue { queued } => {
                write!(f, "{queued:.0} prompt tokens wait there to be read, too many for this request to be in time")
            }
            Self::Disabled { remaining } => write!(
                f,
                "it waits for the operator, who finds the cause in the log; it is looked at again in {}",
                Wait(*remaining)
            ),
            Self::Forbidden => f.write_str("this key may not use the model; add it to the key's `models`"),
        }
    }
}

fn write_lacks(f: &mut fmt::Formatter<'_>, missing: Capabilities) -> fmt::Result {
    f.write_str("it does not offer ")?;
    let lacked = Capabilities::WORDS.iter().filter(|(one, _)| missing.covers(*one));
    for (index, (_, words)) in lacked.enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{words}")?;
    }
    f.write_str(", which the request needs")
}

/// A wait in whole seconds, never `0 s`: the next whole second is when trying makes sense.
struct Wait(Duration);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs().saturating_add(u64::from(self.0.subsec_nanos() > 0));
        write!(f, "{} s", seconds.max(1))
    }
}
