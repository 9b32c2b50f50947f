//! One request's account: opened when a route is about to be asked, closed exactly once, however the request ends.
//!
//! Closing prices the answer, counts it and writes its line in the access log. An account that is dropped open - the
//! caller left, a task was cancelled, a bug unwound - closes itself as cut, so that nothing ends uncharged or unseen.

mod line;
mod recorded;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::ledger::{Bounds, Settlement, Source, components, settle};
use crate::pricing::PriceCard;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::kept::Kept;
use crate::telemetry::{InFlight, Metrics, Series};
use crate::treasury::{Purse, Settling};
use crate::units::{Clock, Mono, NanoUsd, Reported, RequestId, Usage};
use crate::upstream::trial::{Course, Lost, tell_breaker};
use crate::upstream::{Lessons, Reason, Underway};

use super::parts::{Bill, Part, settled};

pub use line::failures_into;
pub use recorded::{Asked, attempt_record, lost_attempts};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Whole.
    Well,
    /// The caller left before the end.
    CallerLeft,
    /// The upstream broke off after its first token; the code says how.
    Broken(&'static str),
}

/// More is being held; says all that is held then, or that there is no room.
pub type Growing = Pin<Box<dyn Future<Output = Option<NanoUsd>> + Send>>;

/// Who asked, for the log and the metrics.
#[derive(Debug)]
pub struct Who {
    /// The request's id.
    pub id: RequestId,
    /// The model as the caller wrote it.
    pub model: Box<str>,
    /// Policy that decided.
    pub policy: Arc<str>,
    /// The caller's team.
    pub team: Arc<str>,
    /// Name of the caller's key; empty without one.
    pub key: Arc<str>,
    /// `chat`, `completions`, `embeddings`.
    pub endpoint: &'static str,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// Why it went where it went.
    pub decision: Option<Kept>,
}

/// Who answered.
#[derive(Debug)]
pub struct Answered {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The checkpoint.
    pub checkpoint: Arc<str>,
    /// `provider/upstream-model`.
    pub route: Arc<str>,
    /// The provider's own name for the answer; empty if it said none.
    pub generation: Box<str>,
    /// Its prices as they were when the decision was made.
    pub card: Option<PriceCard>,
    /// Keeps it counted as running there, and tells the route how it ended.
    pub underway: Underway,
    /// What else is learnt from it.
    pub lessons: Lessons,
    /// How many tries it took.
    pub attempts: u32,
    /// What failed before.
    pub failures: Vec<Reason>,
    /// When the answer (or its first token) was here, and since when it was waited for.
    pub answered: Mono,
    /// As above.
    pub asked: Mono,
    /// The wall clock at that moment: prices depend on the hour.
    pub at: Timestamp,
}

/// What every account shares.
#[derive(Clone)]
pub struct Books {
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Where their lines go.
    pub log: AccessLog,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// An open account. Close it; dropped, it closes itself as cut.
#[must_use = "an account that is dropped counts the request as cut"]
pub struct Account {
    open: Option<Box<Open>>,
}

struct Open {
    books: Books,
    who: Who,
    answered: Answered,
    series: Arc<Series>,
    _in_flight: InFlight,
    began: Mono,
    /// Time to the first token.
    ttft: Duration,
    /// Time in the gateway before the caller's answer began: all but the wait for upstreams.
    overhead: Duration,
    reported: Option<Reported>,
    counted: Usage,
    /// Parts that broke off, of an answer that other routes went on with.
    parts: Vec<Part>,
    /// What became of the attempts that brought no answer.
    course: Arc<Course>,
    /// What is held for it; none where nothing is accounted for beyond metrics and log.
    purse: Option<Purse>,
}

impl Account {
    /// Opens an account for a request that began at `began` and has its answer now.
    pub fn open(
        books: Books,
        who: Who,
        answered: Answered,
        series: Arc<Series>,
        in_flight: InFlight,
        began: Mono,
        (course, purse): (Arc<Course>, Option<Purse>),
    ) -> Self {
        let replied = books.clock.now().mono;
        let waited = answered.answered.since(answered.asked);
        let open = Open {
            ttft: answered.answered.since(began),
            overhead: replied.since(began).saturating_sub(waited),
            books,
            who,
            answered,
            series,
            _in_flight: in_flight,
            began,
            reported: None,
            counted: Usage::default(),
            parts: Vec::new(),
            course,
            purse,
        };
        Self { open: Some(Box::new(open)) }
    }

    /// What the answer comes to if the part under way has this report, or else this count.
    pub fn bill(&self, reported: Option<&Reported>, counted: Usage) -> Bill {
        let Some(open) = self.open.as_deref() else { return Bill::default() };
        let last = settle(open.answered.card.as_ref(), reported, counted, true, open.answered.at);
        let bill = if open.parts.is_empty() {
            Bill::of_all([&last])
        } else {
            Bill::of_all(settled(&open.parts, reported).iter().chain([&last]))
        };
        bill.with_lost(open.course.lost_amount())
    }

    /// Whether any budget holds what it may cost.
    pub fn is_counted(&self) -> bool {
        self.open.as_deref().and_then(|open| open.purse.as_ref()).is_some_and(Purse::is_counted)
    }

    /// Asks that so many answer tokens more may be paid for; `None`: they cost nothing, or nobody holds anything.
    pub fn grow(&self, tokens: u64) -> Option<Growing> {
        let open = self.open.as_deref()?;
        let (purse, card, at) = (open.purse.as_ref()?, open.answered.card.as_ref()?, open.answered.at);
        let bounds =
            Bounds { prompt: open.counted.prompt, output: 0, attempts: 1, searches: 1, resumes: false };
        let of = |output| Bounds { output, ..bounds }.ceiling([card], at, at).0;
        let extra = of(tokens).saturating_sub(of(0));
        (extra > 0).then(|| Box::pin(purse.grow(NanoUsd(extra))) as Growing)
    }

    /// So much is held now.
    pub fn grown(&mut self, amount: NanoUsd) {
        if let Some(purse) = self.open.as_deref_mut().and_then(|open| open.purse.as_mut()) {
            purse.grown(amount);
        }
    }

    /// The part under way broke off: its route hears of it at once, whoever goes on.
    pub fn broke(&mut self) {
        if let Some(open) = self.open.as_deref_mut() {
            open.broke();
        }
    }

    /// Another route goes on with the answer, which broke off for `reason`.
    pub fn hand_over(&mut self, to: Answered, series: Arc<Series>, reason: &'static str) {
        let Some(open) = self.open.as_deref_mut() else { return };
        let now = open.books.clock.now().mono;
        let by = std::mem::replace(&mut open.answered, to);
        let series = std::mem::replace(&mut open.series, series);
        let (reported, counted) = (open.reported.take(), std::mem::take(&mut open.counted));
        let part = Part { by, series, reported, counted, reason };
        let settlement =
            settle(part.by.card.as_ref(), part.reported.as_ref(), part.counted, false, part.by.at);
        learn(&part.by.lessons, now, &settlement, false);
        open.parts.push(part);
    }

    /// Notes what is known by now, in case the request is cut.
    pub fn note(&mut self, reported: Option<&Reported>, counted: Usage) {
        if let Some(open) = self.open.as_deref_mut() {
            open.reported = reported.copied();
            open.counted = counted;
        }
    }

    /// The request's id, for an error event.
    pub fn request_id(&self) -> &str {
        self.open.as_deref().map_or("", |open| open.who.id.as_str())
    }

    /// Closes it. What comes back is ready once the ledger has it for good.
    pub fn close(mut self, ended: Ended) -> Settling {
        self.open.take().map_or_else(Settling::done, |open| open.close(ended))
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            // It is written whether or not anybody waits for it.
            drop(open.close(Ended::CallerLeft));
        }
    }
}

impl Open {
    fn close(mut self, ended: Ended) -> Settling {
        let now = self.books.clock.now();
        let whole = ended == Ended::Well;
        let card = self.answered.card.as_ref();
        let settlement = settle(card, self.reported.as_ref(), self.counted, whole, self.answered.at);
        let earlier = settled(&self.parts, self.reported.as_ref());
        let total = now.mono.since(self.began);
        self.teach(ended, &settlement, now.mono);
        self.count(ended, &settlement, total, now.mono);
        for (part, settlement) in self.parts.iter().zip(&earlier) {
            self.charge(&part.by, &part.series, settlement);
        }
        let lost = self.course.lost();
        charge_lost(&self.books.metrics, &self.who.policy, &self.who.team, &lost);
        self.log(ended, &settlement, &earlier, total, now.wall);
        let Some(purse) = self.purse.take() else { return Settling::done() };
        purse.settle(self.closing(ended, &settlement, &earlier, &lost, total, now))
    }

    /// Tells the route and the tables of requests what became of the answer.
    fn teach(&mut self, ended: Ended, settlement: &Settlement, now: Mono) {
        let by = &mut self.answered;
        let rest_s = now.since(by.answered).as_secs_f32();
        match ended {
            Ended::Well => {
                let paced = self.who.stream && settlement.usage.completion > 1;
                by.underway.ended(paced.then_some((settlement.usage.completion, rest_s)));
            }
            Ended::CallerLeft => by.underway.ended(None),
            Ended::Broken(_) => self.broke(),
        }
        // A part's prompt and length say nothing of what such requests are like.
        let is_part = !self.parts.is_empty();
        if is_part {
            let cost = settlement.charge.map(|charge| charge.total());
            self.answered.lessons.learn(now, None, false, cost);
        } else {
            learn(&self.answered.lessons, now, settlement, ended == Ended::Well);
        }
    }

    fn broke(&mut self) {
        let by = &mut self.answered;
        let change = by.underway.broke();
        let metrics = &self.books.metrics;
        tell_breaker(metrics, &by.provider, &by.checkpoint, &by.route, change, "broken_stream");
    }

    fn count(&self, ended: Ended, settlement: &Settlement, total: Duration, now: Mono) {
        let (metrics, series) = (&self.books.metrics, &self.series);
        let (provider, model) = (&*self.answered.provider, &*self.answered.checkpoint);
        match ended {
            Ended::Well => series.ok.inc(),
            Ended::CallerLeft => {
                metrics.ended(&self.who.policy, &self.who.team, provider, model, 200, "cancelled");
            }
            Ended::Broken(_) => {
                metrics.ended(&self.who.policy, &self.who.team, provider, model, 200, "upstream_error");
            }
        }
        series.overhead.observe(self.overhead.as_secs_f64());
        let usage = settlement.usage;
        if self.who.stream {
            series.duration_stream.observe(total.as_secs_f64());
            series.ttft.observe(self.ttft.as_secs_f64());
            let rest = now.since(self.answered.answered);
            if whole_pace(ended, usage.completion) {
                #[expect(clippy::cast_precision_loss, reason = "a mean, not a count")]
                series.per_token.observe(rest.as_secs_f64() / (usage.completion - 1) as f64);
            }
        } else {
            series.duration_whole.observe(total.as_secs_f64());
        }
        self.charge(&self.answered, series, settlement);
        if let Some(cost) = settlement.cost().filter(|_| ended != Ended::Well) {
            metrics.waste(provider, "cancelled_stream").add(cost);
        }
        if settlement.charge.is_some() {
            self.drift(settlement);
        }
    }

    /// Counts one part's tokens and money.
    fn charge(&self, by: &Answered, series: &Series, settlement: &Settlement) {
        let metrics = &self.books.metrics;
        let usage = settlement.usage;
        let output = usage.completion.saturating_sub(usage.reasoning);
        let kinds = [usage.uncached(), usage.cached, usage.cache_write, output, usage.reasoning];
        for (counter, tokens) in series.tokens.iter().zip(kinds) {
            if tokens > 0 {
                counter.inc_by(tokens);
            }
        }
        if let Source::Estimated(reason) = settlement.source {
            metrics.estimated(&by.provider, reason);
        }
        let (Some(charge), Some(cost)) = (settlement.charge, settlement.cost()) else {
            metrics.unpriced(&by.provider, &by.checkpoint);
            return;
        };
        series.cost.add(cost);
        for (counter, amount) in series.cost_components.iter().zip(components(&charge)) {
            counter.add(amount);
        }
    }

    /// How far the provider's own statement is from what its card says.
    fn drift(&self, settlement: &Settlement) {
        let (Source::Stated, Some(card), Some(charge)) =
            (settlement.source, &self.answered.card, settlement.charge)
        else {
            return;
        };
        let ours = card.cost_of(&settlement.usage, self.answered.at).total();
        if ours.0 > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a ratio for a gauge")]
            let ratio = charge.total().0 as f64 / ours.0 as f64 - 1.0;
            self.books.metrics.drift(&self.answered.provider, &self.answered.checkpoint, ratio);
        }
    }
}

/// Counts what attempts without an answer cost: their prompts.
pub fn charge_lost(metrics: &Metrics, policy: &str, team: &str, lost: &[Lost]) {
    for one in lost.iter().filter(|one| one.amount().0 > 0) {
        let (cost, series) = (one.amount(), metrics.series(policy, team, &one.provider, &one.checkpoint));
        series.cost.add(cost);
        // The first kind is the prompt's.
        series.cost_components.iter().take(1).for_each(|prompt| prompt.add(cost));
    }
}

fn learn(lessons: &Lessons, now: Mono, settlement: &Settlement, whole: bool) {
    let known = matches!(settlement.source, Source::Reported | Source::Stated);
    let cost = settlement.charge.map(|charge| charge.total());
    lessons.learn(now, known.then_some(&settlement.usage), whole, cost);
}

fn whole_pace(ended: Ended, completion: u64) -> bool {
    ended == Ended::Well && completion > 1
}
