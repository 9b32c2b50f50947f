//! What a route's mind makes of evidence.

use super::*;

fn at(ms: u64) -> Mono {
    Mono(ms * 1_000_000)
}

#[test]
fn a_limit_is_no_failure() {
    let mut mind = RouteMind::default();
    for i in 0..5 {
        mind.began(at(i), AttemptId(i), Reading::of(100.0));
        mind.failed(at(i), AttemptId(i), Failing::Limited, Some(Duration::from_secs(7)), false);
    }
    let outlook = mind.outlook(at(10), false);
    assert_eq!((outlook.open_until, outlook.limited_until), (None, Some(at(7_004))));
    assert!(outlook.error < 0.01);
}

#[test]
fn an_operators_fault_disables_once_aloud_and_a_callers_leaves_no_trace() {
    let mut mind = RouteMind::default();
    let mut fail = |id, failing| mind.failed(at(0), AttemptId(id), failing, None, false);
    assert_eq!(fail(1, Failing::Disabled), Change::Disabled);
    assert_eq!(fail(2, Failing::Disabled), Change::None);
    let mut other = RouteMind::default();
    (0..10).for_each(|id| {
        other.failed(at(0), AttemptId(id), Failing::Not, None, false);
    });
    assert_eq!(other.outlook(at(0), false), RouteMind::default().outlook(at(0), false));
}

#[test]
fn the_worse_of_our_own_and_others_evidence_counts() {
    let mut mind = RouteMind::default();
    mind.began(at(0), AttemptId(1), Reading::of(1_000.0));
    let word = |rate, limited, open| Standing {
        rate,
        limited_until: Some(at(limited)),
        open: Some(open),
        ..Standing::default()
    };
    let spell = |since, until| Spell { since: at(since), until: at(until) };
    let say = |mind: &mut RouteMind, word| mind.others_say(Others::of(std::iter::once((at(100), word))));
    say(&mut mind, word(400.0, 9_000, spell(100, 2_000)));
    let outlook = mind.outlook(at(100), false);
    assert_eq!((outlook.limited_until, outlook.open_until), (Some(at(9_000)), Some(at(2_000))));
    assert!((outlook.rate - 500.0).abs() < 1e-3, "{}", outlook.rate);
    assert_eq!(mind.standing(at(100)), Standing { rate: 100.0, ..Standing::default() }, "no hearsay");
    mind.failed(at(200), AttemptId(1), Failing::Limited, Some(Duration::from_secs(20)), false);
    let outlook = mind.outlook(at(200), false);
    assert_eq!(outlook.limited_until, Some(at(20_200)));
    assert!((outlook.cap.unwrap() - 0.92 * 500.0).abs() < 1e-3, "what all asked for: {:?}", outlook.cap);
    mind.answered(at(300), AttemptId(2), false, true);
    assert_eq!(mind.outlook(at(300), false).open_until, None, "it has answered since");
    say(&mut mind, word(0.0, 0, spell(400, 2_400)));
    assert_eq!(mind.outlook(at(400), false).open_until, Some(at(2_400)), "opened again");
}

#[test]
fn an_answer_asked_for_before_a_fault_was_found_does_not_disprove_it() {
    let spell = |since, until| Some(Spell { since: at(since), until: at(until) });
    let word = Standing { open: spell(100, 5_000), disabled: spell(100, 6_000), ..Standing::default() };
    let mut mind = RouteMind::default();
    [50, 150].into_iter().zip(1..).for_each(|(ms, id)| mind.began(at(ms), AttemptId(id), Reading::of(9.0)));
    mind.others_say(Others::of(std::iter::once((at(100), word))));
    let closed = |mind: &mut RouteMind, ms| {
        let outlook = mind.outlook(at(ms), false);
        (outlook.open_until, outlook.disabled_until)
    };
    mind.answered(at(200), AttemptId(1), false, true);
    assert_eq!(
        closed(&mut mind, 200),
        (Some(at(5_000)), Some(at(6_000))),
        "asked before others' breaker opened"
    );
    mind.answered(at(300), AttemptId(2), false, true);
    assert_eq!(closed(&mut mind, 300), (None, None), "asked since");
    // The same for what this replica has found itself.
    let mut mind = RouteMind::default();
    (1..4).for_each(|id| mind.began(at(50 * id), AttemptId(id), Reading::of(9.0)));
    mind.failed(at(120), AttemptId(1), Failing::Disabled, None, false);
    mind.answered(at(200), AttemptId(2), false, true);
    assert!(mind.outlook(at(200), false).disabled_until.is_some(), "asked before our key was refused");
    mind.answered(at(300), AttemptId(3), false, true);
    assert_eq!(mind.outlook(at(300), false).disabled_until, None);
}

#[test]
fn a_trial_that_ends_without_a_verdict_does_not_shut_the_route() {
    let half_open = || {
        let mut mind = RouteMind::default();
        for id in 0..3 {
            mind.began(at(0), AttemptId(id), Reading::of(100.0));
            mind.failed(at(1), AttemptId(id), Failing::Failure, None, false);
        }
        mind.began(at(2_001), AttemptId(9), Reading::of(100.0));
        assert_eq!(mind.outlook(at(2_002), false).open_until, Some(at(32_001)));
        mind
    };
    let mut mind = half_open();
    mind.abandoned(at(2_100), AttemptId(9), false);
    assert_eq!(mind.outlook(at(2_101), false).open_until, Some(at(4_100)), "its caller left");
    for failing in [Failing::Not, Failing::Limited, Failing::Disabled] {
        let mut mind = half_open();
        mind.failed(at(2_100), AttemptId(9), failing, None, false);
        assert_eq!(mind.outlook(at(2_101), false).open_until, None, "{failing:?}");
    }
    let mut mind = half_open();
    mind.abandoned(at(20_000), AttemptId(9), false);
    let open_until = mind.outlook(at(20_001), false).open_until;
    assert_eq!(open_until, Some(at(24_000)), "so long a silence is a failure, whoever ended it");
}

#[test]
fn what_is_abandoned_waits_no_more() {
    let mut mind = RouteMind::default();
    mind.began(at(0), AttemptId(1), Reading::of(500.0));
    assert!(mind.outlook(at(0), true).queued_tokens > 499.0);
    mind.began(at(1), AttemptId(2), Reading::of(500.0));
    assert!(mind.outlook(at(2), true).queued_tokens > 900.0);
    mind.abandoned(at(2), AttemptId(2), true);
    assert!(mind.outlook(at(2), true).queued_tokens < 500.0);
}

#[test]
fn a_route_that_counts_double_is_known_for_it() {
    let mut mind = RouteMind::default();
    (0..100).for_each(|_| mind.counted(1_000, 1_000));
    assert_eq!(mind.outlook(at(0), false).counts, Counted(1.0));
    (0..100).for_each(|_| mind.counted(1_000, 2_000));
    let counts = mind.outlook(at(0), false).counts.0;
    assert!((1.9..=2.0).contains(&counts), "{counts}");
}
