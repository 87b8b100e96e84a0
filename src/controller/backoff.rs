//! How long to wait after failures.

use std::time::Duration;

/// After the first; doubled each time, up to the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// How long to wait after so many failures before this one.
pub fn pause(before: u32, random: u32) -> Duration {
    jitter(FIRST.saturating_mul(2_u32.saturating_pow(before)).min(LONGEST), random)
}

/// The pause with up to half taken off by `random`, so that namespaces which had their turn together do not come back together.
pub fn jitter(pause: Duration, random: u32) -> Duration {
    pause.mul_f64(1.0 - f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_never_all_the_same() {
        assert_eq!([0, 1, 2, 3].map(|before| pause(before, 0)), [1, 2, 4, 8].map(Duration::from_secs));
        assert_eq!(pause(11, 0), LONGEST);
        assert_eq!(pause(u32::MAX, 0), LONGEST);
        assert_eq!(pause(0, u32::MAX), FIRST / 2);
    }
}
