//! What the other replicas of this gateway know of a route, beside what this one has seen itself.
//!
//! A word that says "keep away until then" holds until then, whatever becomes of whoever said it: it is about the provider.
//! How much a replica asks for, and the cap it found, count only while it goes on saying so.

use std::time::Duration;

use crate::units::Mono;

use super::load::GROWTH;

/// How long rates and caps of others count after they were last said.
pub const WORD_LASTS: Duration = Duration::from_secs(5);
/// In this time a cap grows e-fold, and by how many times that at most.
const FORGETS: Duration = Duration::from_mins(1);
const GROWN_MOST: f64 = 30.0;
/// Two refusals this near to each other are one limit's; clocks of replicas are told apart no better.
const SAME_REFUSAL: Duration = Duration::from_secs(1);

/// What one replica knows of a route and tells the others.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Standing {
    /// Uncached prompt tokens a second that it asks for.
    pub rate: f64,
    /// The most that the route seems to take of the whole fleet.
    pub cap: Option<Cap>,
    /// The provider asked to wait until then.
    pub limited_until: Option<Mono>,
    /// Its breaker is open.
    pub open: Option<Spell>,
    /// Set aside until the operator acts.
    pub disabled: Option<Spell>,
}

/// A cap, and the refusal it was learnt from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cap {
    /// Uncached prompt tokens a second.
    pub tokens: f64,
    /// When the provider refused.
    pub refused_at: Mono,
}

impl Cap {
    /// The most it seems to take at `now`, in uncached prompt tokens a second. A refusal tells of a moment: how much a bucket
    /// held after what came before. So the cap grows as time passes; to be refused once more costs a tenth of a second, to
    /// keep away from a route that would take it may cost its price over and over.
    pub fn at(self, now: Mono) -> f64 {
        let grown = now.since(self.refused_at).as_secs_f64() / FORGETS.as_secs_f64();
        self.tokens * grown.min(GROWN_MOST).exp()
    }
}

/// From when until when a route is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spell {
    /// An answer to what was asked since then proves it wrong.
    pub since: Mono,
    /// It ends by itself then.
    pub until: Mono,
}

impl Standing {
    /// Whether there is nothing to tell.
    pub fn is_blank(&self) -> bool {
        *self == Self::default()
    }

    /// Whether others should hear at once what has changed since `told`: all but slow figures.
    pub fn is_news_after(&self, told: &Self) -> bool {
        let refused_at = |standing: &Self| standing.cap.map(|cap| cap.refused_at);
        (self.limited_until, self.open, self.disabled) != (told.limited_until, told.open, told.disabled)
            || refused_at(self) != refused_at(told)
    }
}

/// What all others say together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Others {
    said: Standing,
    lasts_until: Mono,
}

impl Others {
    /// The worst of what each of them says, which was last `heard` when.
    pub fn of(words: impl Iterator<Item = (Mono, Standing)>) -> Self {
        words.fold(Self::default(), |all, (heard, word)| {
            let said = &all.said;
            Self {
                said: Standing {
                    rate: said.rate + word.rate,
                    cap: latest(said.cap, word.cap),
                    limited_until: said.limited_until.max(word.limited_until),
                    open: longest(said.open, word.open),
                    disabled: longest(said.disabled, word.disabled),
                },
                lasts_until: all.lasts_until.max(heard.plus(WORD_LASTS)),
            }
        })
    }

    /// They say something new; a cap that this replica's own successes have raised since stays raised.
    pub(super) fn hear(&mut self, mut news: Self) {
        if let (Some(known), Some(told)) = (self.said.cap, &mut news.said.cap)
            && is_same(known, *told)
        {
            told.tokens = told.tokens.max(known.tokens);
        }
        *self = news;
    }

    /// An attempt of this replica was taken: the cap may be higher than was said.
    pub(super) fn taken(&mut self) {
        if let Some(cap) = &mut self.said.cap {
            cap.tokens *= GROWTH;
        }
    }

    /// Uncached prompt tokens a second that they ask for.
    pub(super) fn rate(&self, now: Mono) -> f64 {
        if now < self.lasts_until { self.said.rate } else { 0.0 }
    }

    /// The cap in force: of `own` and theirs the one of the latest refusal.
    pub(super) fn cap_beside(&self, now: Mono, own: Option<Cap>) -> Option<Cap> {
        latest(own, self.said.cap.filter(|_| now < self.lasts_until))
    }

    /// Until when the provider asked any of them to wait.
    pub(super) fn limited_until(&self, now: Mono) -> Option<Mono> {
        self.said.limited_until.filter(|until| now < *until)
    }

    /// Until when a breaker of theirs keeps the route closed, unless it has answered what we asked after that opened:
    /// `proved_from` is when the latest of our attempts began that it answered.
    pub(super) fn open_until(&self, now: Mono, proved_from: Option<Mono>) -> Option<Mono> {
        in_force(self.said.open, now, proved_from)
    }

    /// The same for a route that only the operator can mend.
    pub(super) fn disabled_until(&self, now: Mono, proved_from: Option<Mono>) -> Option<Mono> {
        in_force(self.said.disabled, now, proved_from)
    }
}

fn in_force(spell: Option<Spell>, now: Mono, proved_from: Option<Mono>) -> Option<Mono> {
    let spell = spell?;
    (now < spell.until && proved_from.is_none_or(|from| from <= spell.since)).then_some(spell.until)
}

fn is_same(one: Cap, other: Cap) -> bool {
    one.refused_at.since(other.refused_at).max(other.refused_at.since(one.refused_at)) < SAME_REFUSAL
}

fn latest(one: Option<Cap>, other: Option<Cap>) -> Option<Cap> {
    match (one, other) {
        (Some(a), Some(b)) if is_same(a, b) => Some(if a.tokens <= b.tokens { a } else { b }),
        (Some(a), Some(b)) => Some(if a.refused_at > b.refused_at { a } else { b }),
        (one, other) => one.or(other),
    }
}

fn longest(one: Option<Spell>, other: Option<Spell>) -> Option<Spell> {
    match (one, other) {
        (Some(a), Some(b)) => Some(if a.until >= b.until { a } else { b }),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[expect(clippy::unnecessary_wraps, reason = "as a standing has it")]
    fn cap(tokens: f64, refused_at: u64) -> Option<Cap> {
        Some(Cap { tokens, refused_at: at(refused_at) })
    }

    #[test]
    fn rates_add_up_the_latest_refusal_caps_and_the_longest_wait_counts() {
        let one = Standing {
            rate: 100.0,
            cap: cap(900.0, 1_000),
            limited_until: Some(at(9_000)),
            ..Standing::default()
        };
        let two = Standing {
            rate: 50.0,
            cap: cap(700.0, 5_000),
            limited_until: Some(at(7_000)),
            ..Standing::default()
        };
        let others = Others::of([(at(6_000), one), (at(6_000), two)].into_iter());
        assert!((others.rate(at(6_000)) - 150.0).abs() < 1e-9);
        assert_eq!(others.cap_beside(at(6_000), None), cap(700.0, 5_000));
        assert_eq!(others.cap_beside(at(6_000), cap(2_000.0, 20_000)), cap(2_000.0, 20_000));
        assert_eq!(
            others.cap_beside(at(6_000), cap(650.0, 4_900)),
            cap(650.0, 4_900),
            "one limit: the lower"
        );
        assert_eq!(others.limited_until(at(6_000)), Some(at(9_000)));
        assert_eq!(others.limited_until(at(9_000)), None);
    }

    #[test]
    fn what_is_no_longer_said_is_forgotten_but_a_wait_lasts_as_long_as_it_said() {
        let word = Standing {
            rate: 100.0,
            cap: cap(900.0, 0),
            limited_until: Some(at(30_000)),
            ..Standing::default()
        };
        let others = Others::of(std::iter::once((at(0), word)));
        assert!(others.rate(at(5_000)) < 1e-9);
        assert_eq!(others.cap_beside(at(5_000), None), None);
        assert_eq!(others.limited_until(at(29_000)), Some(at(30_000)));
    }

    #[test]
    fn an_answer_to_what_was_asked_since_proves_an_open_breaker_of_another_wrong() {
        let open = Some(Spell { since: at(1_000), until: at(5_000) });
        let others = Others::of(std::iter::once((at(1_000), Standing { open, ..Standing::default() })));
        assert_eq!(others.open_until(at(2_000), None), Some(at(5_000)));
        assert_eq!(others.open_until(at(2_000), Some(at(900))), Some(at(5_000)));
        assert_eq!(others.open_until(at(2_000), Some(at(1_500))), None);
        assert_eq!(others.open_until(at(5_000), None), None);
    }

    #[test]
    fn our_successes_raise_their_cap_until_another_refusal() {
        let said = |tokens, refused_at| {
            Others::of(std::iter::once((
                at(0),
                Standing { cap: cap(tokens, refused_at), ..Standing::default() },
            )))
        };
        let mut others = Others::default();
        others.hear(said(1_000.0, 100_000));
        (0..100).for_each(|_| others.taken());
        others.hear(said(1_001.0, 100_300));
        assert!(others.cap_beside(at(0), None).unwrap().tokens > 1_300.0);
        others.hear(said(800.0, 103_000));
        assert_eq!(others.cap_beside(at(0), None), cap(800.0, 103_000));
    }
}
