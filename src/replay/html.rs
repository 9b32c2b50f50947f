//! A comparison as a page.

use super::compare::Comparison;

/// The page.
pub fn page(_comparison: &Comparison) -> String {
    String::new()
}
