//! The windows of which the store's clock picks one: this replica's clock may be off by a turn. Pure.

use jiff::Timestamp;

use crate::budget::{Calendar, Period, Window};

/// In order, the turns of `calendar` around second `at`: for a calendar's the one before, the present one and the next; for a
/// rolling one all parts that still count, one more, and the next.
pub(super) fn turns(calendar: &Calendar, at: i64) -> Vec<Window> {
    let window = |second| Timestamp::from_second(second).map(|second| calendar.window(second));
    let Ok(present) = window(at) else { return Vec::new() };
    let mut turns = Vec::new();
    let mut earliest = present;
    let before = |turn: Window| window(turn.start - 1).unwrap_or(turn);
    match calendar.period {
        Period::Rolling(_) => {
            while calendar.counts_until(earliest) > at {
                turns.push(earliest);
                earliest = before(earliest);
            }
            turns.push(earliest);
        }
        _ => turns.extend([present, before(present)]),
    }
    turns.reverse();
    turns.extend(window(present.end));
    turns
}

/// In order, the turns up to second `at` that have a moment in common with `window` in which both count, and `window` itself.
pub(super) fn beside(calendar: &Calendar, window: Window, at: i64) -> Vec<Window> {
    let turn = |second| Timestamp::from_second(second).map(|second| calendar.window(second));
    let mut turns = vec![window];
    if !matches!(calendar.period, Period::Rolling(_)) {
        return turns;
    }
    let mut earliest = window;
    while let Ok(before) = turn(earliest.start - 1)
        && calendar.counts_until(before) > window.start
    {
        turns.push(before);
        earliest = before;
    }
    turns.reverse();
    let mut last = window;
    while last.end <= at
        && last.end < calendar.counts_until(window)
        && let Ok(next) = turn(last.end)
    {
        turns.push(next);
        last = next;
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn r39_turns_around_a_second_have_no_gap_and_the_present_one_among_them() {
        for period in [
            Period::Hour,
            Period::Day,
            Period::Week,
            Period::Month,
            Period::Rolling(Duration::from_mins(1)),
            Period::Rolling(Duration::from_hours(24)),
            Period::Rolling(Duration::from_secs(100)),
        ] {
            let calendar = Calendar::utc(period);
            for at in [1_764_000_000, 1_764_547_199, 1_764_547_200, 1_772_323_199] {
                let turns = turns(&calendar, at);
                assert!(turns.windows(2).all(|pair| pair[0].end == pair[1].start), "{period} {turns:?}");
                assert_eq!(turns.iter().filter(|turn| turn.holds(at)).count(), 1, "{period}");
                // All that counts is there, whichever second of the next few the store's clock shows.
                let first = turns[0];
                assert!(matches!(period, Period::Rolling(_)) == (turns.len() > 3), "{period}");
                assert!(calendar.counts_until(first) <= at, "{period}");
            }
        }
    }

    #[test]
    fn what_counts_beside_a_part_goes_back_and_forth_by_a_span() {
        let calendar = Calendar::utc(Period::Rolling(Duration::from_mins(10)));
        let mine = Window { start: 6_000, end: 6_010 };
        let all = beside(&calendar, mine, 9_000);
        assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!((all[0].start, all[all.len() - 1].start), (5_400, 6_600));
        assert_eq!(beside(&calendar, mine, 6_015).last().unwrap().start, 6_010);
        let day = Calendar::utc(Period::Day);
        let mine = Window { start: 0, end: 86_400 };
        assert_eq!(beside(&day, mine, 100_000), [mine]);
    }
}
