//! A comparison as people read it on a terminal.

use crate::replay::compare::Comparison;

pub(super) fn of(_comparison: &Comparison, _notes: &[String], _oracle: bool, _baselines: bool) -> String {
    String::new()
}
