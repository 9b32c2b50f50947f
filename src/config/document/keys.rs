//! Callers' keys as they are typed.

use crate::config::read::{At, Pairs};
use crate::config::record::record;

use super::budget::{AllowanceDocument, OneOrSeveral};
use super::values::{Count, FilePath, Moment, Name, Pattern, Secret, TagValue, Text};

record! {
    /// A caller's key.
    pub struct KeyDocument {
        /// Its name in policies, metrics and logs.
        name: Name,
        /// The key itself, usually `${SOME_VARIABLE}`.
        key: Secret,
        /// A file that holds the key.
        key_file: FilePath,
        /// SHA-256 of the key in hexadecimal (`printf %s KEY | sha256sum`), so that the key itself stands nowhere.
        key_sha256: Text,
        /// Whose it is. Default: `default`.
        team: Name,
        /// The person or service that has it.
        user: Name,
        /// What it belongs to. Default: its team's.
        organisation: Name,
        /// The first day (UTC) or moment at which it no longer lets anybody in. Default: never.
        expires: Moment,
        /// Money that its requests may cost: one budget, or a list of several.
        budget: OneOrSeveral<AllowanceDocument>,
        /// Requests a minute.
        rpm: Count,
        /// Prompt and answer tokens a minute.
        tpm: Count,
        /// Requests at once.
        concurrency: Count,
        /// Models that it may ask for. Default: all.
        models: Vec<At<Pattern>>,
        /// Tags that each of its requests carries.
        tags: Pairs<TagValue>,
    }
}
