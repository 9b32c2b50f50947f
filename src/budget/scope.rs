//! For whom money and requests are counted: key, user, team, organisation, tag, policy.

use std::fmt;
use std::sync::Arc;

/// What a scope is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScopeKind {
    /// One virtual key.
    Key,
    /// All keys of one person or service.
    User,
    /// All keys of a team.
    Team,
    /// All teams of an organisation.
    Organisation,
    /// All requests with a tag, written `name=value`.
    Tag,
    /// All requests that a policy decides.
    Policy,
}

impl ScopeKind {
    /// The word in metrics, in keys of the store and in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::User => "user",
            Self::Team => "team",
            Self::Organisation => "organisation",
            Self::Tag => "tag",
            Self::Policy => "policy",
        }
    }
}

/// One scope, such as the team `search`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// Of what.
    pub kind: ScopeKind,
    /// Which one. Checked names only (R54): letters, digits and `. _ - =`.
    pub name: Arc<str>,
}

/// As `team:search`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.word(), self.name)
    }
}
