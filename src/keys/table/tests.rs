//! Whether the time of a look-up tells how much of a text is right (R50): Welch's t-test over two kinds of wrong texts, as dudect
//! does it.
#![allow(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::print_stderr,
    reason = "a measurement of real time"
)]

use std::hint::black_box;
use std::time::Instant;

use super::*;
use crate::keys::{Ask, Bytes32, KeyText, Record};

const TRIES: usize = 1_000_000;
/// Letters at the end of an almost right text that are wrong: enough that no text comes twice, whose place in the map would be
/// measured instead.
const WRONG: usize = 8;

/// A random stream that is the same every time.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Mean and variance of the mean, of what is not above `most`: interruptions say nothing of a look-up.
fn moments(times: &[u64], most: u64) -> (f64, f64) {
    let kept: Vec<f64> = times.iter().filter(|time| **time <= most).map(|time| *time as f64).collect();
    let count = kept.len() as f64;
    let mean = kept.iter().sum::<f64>() / count;
    let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, variance / count)
}

/// The largest t, cropped at several shares of all times.
fn most_t(times: &[Vec<u64>; 2]) -> f64 {
    let mut all: Vec<u64> = times.iter().flatten().copied().collect();
    all.sort_unstable();
    let at = |percent: usize| all[all.len() * percent / 100];
    let t = |most: u64| {
        let [(a, of_a), (b, of_b)] = [moments(&times[0], most), moments(&times[1], most)];
        (a - b).abs() / (of_a + of_b).sqrt()
    };
    [50, 75, 90, 99].map(|percent| t(at(percent))).into_iter().fold(0.0, f64::max)
}

/// Times `look` with texts that are wrong in their last letters only, and with texts that are wrong altogether.
fn timed(whole: &[u8], look: impl Fn(&[u8]) -> bool) -> f64 {
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let mut times = [Vec::with_capacity(TRIES), Vec::with_capacity(TRIES)];
    // A new text each time, in the same place and by the same steps: else what is measured is where a few of them lie.
    let mut text = whole.to_vec();
    for _ in 0..TRIES {
        let kind = usize::from(random.next().is_multiple_of(2));
        let right = [whole.len() - WRONG, 0][kind];
        for (at, letter) in text.iter_mut().enumerate() {
            let other = b'a' + u8::try_from(random.next() % 26).unwrap();
            let wrong = if other == whole[at] { b'0' } else { other };
            *letter = [wrong, whole[at]][usize::from(at < right)];
        }
        let began = Instant::now();
        let found = look(black_box(&text));
        let took = began.elapsed();
        assert!(!black_box(found));
        times[kind].push(u64::try_from(took.as_nanos()).unwrap());
    }
    most_t(&times)
}

#[test]
#[ignore = "a measurement of a million tries: run it in a release build on a quiet machine"]
fn r50_the_time_of_a_look_up_does_not_tell_how_much_of_a_key_is_right() {
    let text = KeyText::of(&[1; 32]);
    let pepper = Pepper(Bytes32([5; 32]));
    let now = Timestamp::from_second(0).unwrap();
    let records: Vec<Record> = (1..=100)
        .map(|n| {
            let ask = Ask { name: Some(format!("k{n}")), ..Ask::default() };
            ask.record(&[n; 8], &KeyText::of(&[n; 32]), &pepper, now).unwrap()
        })
        .collect();
    let table = Table::new(&[], &Known::Read(Arc::new(Stored { version: 1, pepper, records })));
    let whole = text.expose().as_bytes();
    assert!(table.find(whole, now).is_some());
    let of_table = timed(whole, |tried| table.find(tried, now).is_some());
    // What ends at the first letter that differs is found out by the same means.
    let of_naive =
        timed(whole, |tried| tried.iter().zip(whole).all(|(one, other)| black_box(one) == black_box(other)));
    eprintln!("t = {of_table:.2}; of a comparison letter by letter {of_naive:.0}");
    assert!(of_naive > 4.5, "the means are too blunt: {of_naive:.2}");
    assert!(of_table < 4.5, "{of_table:.2}");
}
