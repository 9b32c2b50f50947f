//! How fast a route is expected to be, from what was seen of it.

use std::time::Duration;

use super::facts::Observation;

/// First token of a route never seen, before its errors: quick enough that it is tried before any that is known to
/// take longer, slow enough that it does not displace one that is known to be quick.
pub const TTFT_UNSEEN: Duration = Duration::from_millis(500);

/// The same for the time per answer token: 80 tokens a second.
pub const TOKEN_TIME_UNSEEN: Duration = Duration::from_micros(12_500);

/// Errors beyond this share count no further; the breaker is there for them.
const ERROR_RATE_MAX: f64 = 0.9;

/// Time to first token with its errors in it: an attempt that fails is followed by another.
pub fn first_token(seen: &Observation) -> Duration {
    with_errors(seen.ttft.unwrap_or(TTFT_UNSEEN), seen)
}

/// Time per answer token, errors in it.
pub fn per_token(seen: &Observation) -> Duration {
    let time = seen
        .tokens_per_second
        .filter(|rate| rate.is_finite() && *rate > 0.0)
        .and_then(|rate| Duration::try_from_secs_f64(1.0 / f64::from(rate)).ok());
    with_errors(time.unwrap_or(TOKEN_TIME_UNSEEN), seen)
}

fn with_errors(time: Duration, seen: &Observation) -> Duration {
    let errors = f64::from(seen.error_rate);
    let errors = if errors.is_finite() { errors.clamp(0.0, ERROR_RATE_MAX) } else { 0.0 };
    if errors == 0.0 {
        return time;
    }
    Duration::try_from_secs_f64(time.as_secs_f64() / (1.0 - errors)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_make_a_route_slower() {
        let seen =
            Observation { ttft: Some(Duration::from_millis(300)), error_rate: 0.5, ..Observation::default() };
        assert_eq!(first_token(&seen), Duration::from_millis(600));
    }

    #[test]
    fn odd_observations_do_no_harm() {
        for odd in [f32::NAN, f32::INFINITY, -1.0, 0.0] {
            let seen =
                Observation { tokens_per_second: Some(odd), error_rate: odd, ..Observation::default() };
            assert_eq!((first_token(&seen), per_token(&seen)), (TTFT_UNSEEN, TOKEN_TIME_UNSEEN), "{odd}");
        }
        let endless = Observation { ttft: Some(Duration::MAX), error_rate: 0.9, ..Observation::default() };
        assert_eq!(first_token(&endless), Duration::MAX);
    }
}
