//! Rounder and smaller numbers, best first.
//!
//! A number is simpler than another when it has fewer digits, or as many and is smaller; only simpler ones are tried,
//! so that shrinking ends.

use std::time::Duration;

/// How simple a number is: significant digits, then size.
pub(crate) fn simplicity(value: u128) -> (u32, u128) {
    let mut digits = value;
    while digits != 0 && digits.is_multiple_of(10) {
        digits /= 10;
    }
    (digits.checked_ilog10().map_or(0, |most| most + 1), value)
}

/// Those of some values that are simpler than another one, each once, in their order.
pub(crate) fn simpler(than: u128, values: impl IntoIterator<Item = u128>) -> Vec<u128> {
    let mut found = Vec::new();
    for value in values {
        if simplicity(value) < simplicity(than) && !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// What times are rounded to, the roundest first.
pub(crate) const ROUND_UNITS: [Duration; 7] = [
    Duration::from_secs(10),
    Duration::from_secs(1),
    Duration::from_millis(100),
    Duration::from_millis(10),
    Duration::from_millis(1),
    Duration::from_micros(100),
    Duration::from_micros(10),
];

/// To how many units a time is rounded: beyond three digits it is not rounder for any reader.
const UNITS_TRIED: usize = 3;

/// The time as a multiple of a unit, not later.
pub(crate) fn rounded_down(time: Duration, unit: Duration) -> Duration {
    from_nanos(time.as_nanos() / unit.as_nanos() * unit.as_nanos())
}

/// The time as a multiple of a unit, not earlier.
pub(crate) fn rounded_up(time: Duration, unit: Duration) -> Duration {
    from_nanos(time.as_nanos().div_ceil(unit.as_nanos()) * unit.as_nanos())
}

fn from_nanos(nanoseconds: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// A time rounded to units that are not longer than itself, the roundest first, down before up.
fn rounded(time: Duration) -> impl Iterator<Item = Duration> {
    let units = ROUND_UNITS.iter().filter(move |unit| **unit <= time).take(UNITS_TRIED);
    units.flat_map(move |unit| [rounded_down(time, *unit), rounded_up(time, *unit)])
}

fn simpler_times(than: Duration, values: impl Iterator<Item = Duration>) -> Vec<Duration> {
    simpler(than.as_nanos(), values.map(|value| value.as_nanos())).into_iter().map(from_nanos).collect()
}

/// Simpler times to begin at: at once, or rounded.
pub(crate) fn earlier(time: Duration) -> Vec<Duration> {
    simpler_times(time, std::iter::once(Duration::ZERO).chain(rounded(time)))
}

/// Simpler lengths of a fault: a few round ones that are shorter, or this one rounded. Never nothing.
pub(crate) fn shorter(length: Duration) -> Vec<Duration> {
    let ladder = [100, 1_000, 5_000, 10_000, 60_000].into_iter().map(Duration::from_millis);
    simpler_times(length, ladder.filter(|step| *step < length).chain(rounded(length)))
}

/// Simpler delays and offsets, as [`shorter`] for lengths: what a link or a disk adds is smaller than a fault's length.
pub(crate) fn smaller(delay: Duration) -> Vec<Duration> {
    let ladder = [1, 10, 100, 1_000, 60_000].into_iter().map(Duration::from_millis);
    simpler_times(delay, ladder.filter(|step| *step < delay).chain(rounded(delay)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(times: Vec<Duration>) -> String {
        times.into_iter().map(|time| crate::duration::Shown(time).to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rounder_is_simpler_whatever_its_size() {
        assert!(simplicity(5_000) < simplicity(1_200));
        assert!(simplicity(100) < simplicity(5_000));
        assert!(simplicity(0) < simplicity(1));
    }

    #[test]
    fn few_times_are_tried_and_round_ones_first() {
        assert_eq!(shown(earlier(Duration::from_millis(3_877))), "0s 3s 4s 3.8s 3.9s 3.87s 3.88s");
        assert_eq!(shown(earlier(Duration::from_micros(75_631))), "0s 70ms 80ms 75ms 76ms 75.6ms 75.7ms");
        assert_eq!(shown(earlier(Duration::from_secs(3))), "0s");
        assert_eq!(shown(earlier(Duration::ZERO)), "");
        assert_eq!(shown(shorter(Duration::from_millis(2_317))), "100ms 1s 2s 3s 2.3s 2.4s 2.31s 2.32s");
        assert_eq!(shown(shorter(Duration::from_secs(5))), "100ms 1s");
        assert_eq!(shown(shorter(Duration::from_millis(100))), "");
        assert_eq!(shown(smaller(Duration::from_micros(1_460))), "1ms 2ms 1.4ms 1.5ms");
        assert_eq!(shown(smaller(Duration::from_millis(60))), "1ms 10ms");
    }
}
