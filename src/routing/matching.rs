//! Which policy decides a request, and whom it names: globs without allocation.

use super::facts::RequestFacts;
use super::policy::{Glob, Matcher, Mode, Policy};
use super::route::Route;

/// The place of the first policy that acts and matches; files apply in name order.
pub fn select(policies: &[Policy], facts: &RequestFacts<'_>) -> Option<usize> {
    policies.iter().position(|policy| policy.mode == Mode::Live && policy.matcher.matches(facts))
}

/// Every policy that matches and only watches, with its place, in order: what each would decide is recorded beside what is
/// done.
pub fn shadows<'p>(
    policies: &'p [Policy],
    facts: &RequestFacts<'_>,
) -> impl Iterator<Item = (usize, &'p Policy)> {
    let policies = policies.iter().enumerate();
    policies.filter(|(_, policy)| policy.mode == Mode::Shadow && policy.matcher.matches(facts))
}

impl Matcher {
    /// Whether every list that is not empty has a match.
    pub fn matches(&self, facts: &RequestFacts<'_>) -> bool {
        any_or_empty(&self.models, |glob| glob.matches(facts.model))
            && any_or_empty(&self.keys, |glob| glob.matches(facts.key))
            && any_or_empty(&self.teams, |glob| glob.matches(facts.team))
            && any_or_empty(&self.endpoints, |name| **name == *facts.endpoint.name())
            && self.tags.iter().all(|(key, wanted)| {
                facts.tags.iter().any(|(name, value)| **key == **name && wanted.matches(value))
            })
    }
}

impl Policy {
    /// Where `routes` names this route, by its provider (`deepseek`) or its full name (`deepseek/deepseek-v4-pro`).
    /// An empty list names everyone, first.
    pub fn place_of(&self, route: &Route) -> Option<usize> {
        if self.routes.is_empty() {
            return Some(0);
        }
        self.routes.iter().position(|glob| glob.matches(&route.provider) || glob.matches(&route.name))
    }
}

impl Glob {
    /// Whether the whole of `text` fits. Upper and lower case differ, as in providers' model ids.
    ///
    /// Only the last `*` seen is ever widened, so the work is bounded by the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let (mut pattern, mut rest) = (self.0.chars(), text.chars());
        // What to go on with when the last star takes one more character.
        let mut star: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
        loop {
            let mut after = pattern.clone();
            match after.next() {
                Some('*') => {
                    star = Some((after.clone(), rest.clone()));
                    pattern = after;
                    continue;
                }
                Some(wanted) => {
                    let mut next = rest.clone();
                    if next.next().is_some_and(|found| wanted == '?' || wanted == found) {
                        (pattern, rest) = (after, next);
                        continue;
                    }
                }
                None if rest.as_str().is_empty() => return true,
                None => {}
            }
            let Some((after_star, taken_to)) = &mut star else { return false };
            if taken_to.next().is_none() {
                return false;
            }
            (pattern, rest) = (after_star.clone(), taken_to.clone());
        }
    }
}

fn any_or_empty<T>(list: &[T], fits: impl FnMut(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        Glob(text.into())
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything/at all", true),
            ("deepseek-v4-*", "deepseek-v4-pro", true),
            ("deepseek-v4-*", "deepseek-v4", false),
            ("*-pro", "deepseek-v4-pro", true),
            ("*-pro", "deepseek-v4-pro-0813", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxxb", true),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "ab", false),
            ("gl?-5", "glm-5", true),
            ("gl?-5", "gl-5", false),
            ("?", "é", true),
            ("**", "x", true),
            ("Kimi*", "kimi-k3", false),
            ("a.c", "abc", false),
        ] {
            assert_eq!(glob(pattern).matches(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_name_is_answered_at_once() {
        let name = "a".repeat(10_000);
        assert!(!glob("*a*a*a*a*a*a*a*b").matches(&name));
    }

    #[test]
    fn every_list_must_match_and_an_empty_one_does() {
        let matcher = Matcher {
            models: vec![glob("x-*"), glob("y")],
            endpoints: vec!["chat".into()],
            tags: vec![("tier".into(), glob("inter*"))],
            ..Matcher::default()
        };
        let tags = [("tier", "batch"), ("tier", "interactive")];
        let facts = RequestFacts { model: "y", tags: &tags, ..RequestFacts::default() };
        assert!(matcher.matches(&facts));
        assert!(!matcher.matches(&RequestFacts { tags: &tags[..1], ..facts }));
        assert!(!matcher.matches(&RequestFacts { model: "z", ..facts }));
        assert!(!matcher.matches(&RequestFacts { endpoint: super::super::Endpoint::Embeddings, ..facts }));
        assert!(Matcher::default().matches(&RequestFacts::default()));
    }
}
