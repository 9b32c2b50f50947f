//! The oracle's curve: what it pays for which attainment.

use tollway::replay::protocol::curve::{Curve, Point};

fn curve(points: &[(f64, f64)]) -> Curve {
    let point =
        |&(attainment, usd): &(f64, f64)| Point { lateness_usd: 0.0, attainment, usd, worst_minute: 1.0 };
    Curve::new(points.iter().map(point).collect())
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-9
}

#[test]
fn the_hull_leaves_out_what_no_mixture_wants() {
    let seen = curve(&[(0.5, 3.0), (0.6, 1.0), (0.8, 2.9), (0.9, 2.0), (0.9, 2.5), (1.0, 6.0), (0.95, 4.5)]);
    assert_eq!(seen.hull, [(0.6, 1.0), (0.9, 2.0), (1.0, 6.0)]);
    assert!(close(seen.best(), 1.0));
}

#[test]
fn a_point_that_is_better_in_both_ends_the_hull() {
    assert_eq!(curve(&[(0.9, 1.0), (0.95, 3.0), (0.96, 2.0)]).hull, [(0.9, 1.0), (0.96, 2.0)]);
    assert_eq!(curve(&[(0.9, 2.0), (0.95, 1.0)]).hull, [(0.95, 1.0)]);
}

#[test]
fn regret_is_at_equal_attainment() {
    let seen = curve(&[(0.6, 1.0), (0.9, 2.0), (0.98, 6.0)]);
    assert_eq!(seen.usd_at(0.5), Some((1.0, false)));
    let (usd, beyond) = seen.usd_at(0.94).unwrap();
    assert!(close(usd, 4.0) && !beyond);
    assert_eq!(seen.usd_at(0.99), Some((6.0, true)));
    let regret = seen.regret(0.9, 2.2).unwrap();
    assert!(close(regret.share, 0.1) && !regret.beyond);
    assert!(seen.regret(0.99, 6.0).unwrap().beyond);
    assert_eq!(curve(&[]).regret(0.9, 1.0), None);
    assert!(close(seen.meets(0.9).unwrap().usd, 2.0));
    assert!(close(seen.meets(0.99).unwrap().usd, 6.0));
}
