//! Durations as people write them: `"60s"`, `"1.5s"`, `"200ms"`, `"1h 30m"`.
//!
//! One grammar for the attribute's options, which the compiler evaluates, and for values that are only known when the
//! test runs. Hence a `const fn`, and problems without text of their own.

use std::time::Duration;
use thiserror::Error;

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a duration: {problem}; write a number and a unit, such as `60s`, `1.5s`, `200ms` or `1h 30m`")]
pub struct DurationError {
    text: String,
    problem: DurationProblem,
}

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum DurationProblem {
    #[error("it is empty")]
    Empty,
    #[error("a number is missing")]
    NoNumber,
    #[error("a unit is missing")]
    NoUnit,
    #[error("the units are `ns`, `us`, `ms`, `s`, `m`, `h` and `d`")]
    UnknownUnit,
    #[error("it is finer than a nanosecond")]
    TooFine,
    #[error("it is longer than 500 years")]
    TooLong,
}

/// Something that names a length of time: a [`Duration`], or a text such as `"1.5s"`.
///
/// ```
/// use std::time::Duration;
/// use windtunnel::IntoDuration;
///
/// assert_eq!("1.5s".into_duration()?, Duration::from_millis(1500));
/// assert_eq!("1h 30m".into_duration()?, Duration::from_secs(5400));
/// assert!("60".into_duration().unwrap_err().to_string().starts_with("`60` is not a duration: a unit is missing"));
/// # Ok::<(), windtunnel::Error>(())
/// ```
pub trait IntoDuration {
    /// The length of time.
    ///
    /// # Errors
    /// The text is no duration; the error says what is wrong with it.
    fn into_duration(self) -> Result<Duration, DurationError>;
}

impl IntoDuration for Duration {
    fn into_duration(self) -> Result<Duration, DurationError> {
        Ok(self)
    }
}

impl IntoDuration for &str {
    fn into_duration(self) -> Result<Duration, DurationError> {
        parse(self).map_err(|problem| DurationError { text: self.to_owned(), problem })
    }
}

impl IntoDuration for String {
    fn into_duration(self) -> Result<Duration, DurationError> {
        self.as_str().into_duration()
    }
}

/// The length of time, or a panic at the caller's: for builders, where a malformed literal is a mistake in the test.
#[track_caller]
pub(crate) fn expect(duration: impl IntoDuration) -> Duration {
    match duration.into_duration() {
        Ok(duration) => duration,
        Err(error) => panic!("{error}"),
    }
}

const NANOSECONDS_MAX: u128 = 500 * 365 * 86_400 * 1_000_000_000;

/// Parses a sequence of numbers with units.
pub(crate) const fn parse(text: &str) -> Result<Duration, DurationProblem> {
    let bytes = text.as_bytes();
    let mut at = skip_spaces(bytes, 0);
    if at == bytes.len() {
        return Err(DurationProblem::Empty);
    }
    let mut total: u128 = 0;
    while at < bytes.len() {
        match part(bytes, at) {
            Ok((nanoseconds, next)) => {
                total += nanoseconds;
                if total > NANOSECONDS_MAX {
                    return Err(DurationProblem::TooLong);
                }
                at = skip_spaces(bytes, next);
            }
            Err(problem) => return Err(problem),
        }
    }
    // Both fit: 500 years are less than 2^64 nanoseconds.
    Ok(Duration::from_nanos(total as u64))
}

/// One number with its unit: its nanoseconds, and where it ends.
const fn part(bytes: &[u8], start: usize) -> Result<(u128, usize), DurationProblem> {
    let mut at = start;
    let mut number: u128 = 0;
    let mut digits = 0;
    let mut scale: u128 = 1;
    let mut fraction = false;
    while at < bytes.len() && (bytes[at].is_ascii_digit() || (bytes[at] == b'.' && !fraction)) {
        if bytes[at] == b'.' {
            fraction = true;
        } else {
            number = number * 10 + (bytes[at] - b'0') as u128;
            digits += 1;
            if fraction {
                scale *= 10;
            }
        }
        if digits > 20 {
            return Err(DurationProblem::TooLong);
        }
        at += 1;
    }
    if digits == 0 {
        return Err(DurationProblem::NoNumber);
    }
    at = skip_spaces(bytes, at);
    let end = word_end(bytes, at);
    if end == at {
        return Err(DurationProblem::NoUnit);
    }
    let Some(unit) = unit_nanoseconds(bytes, at, end) else {
        return Err(DurationProblem::UnknownUnit);
    };
    if !(number * unit).is_multiple_of(scale) {
        return Err(DurationProblem::TooFine);
    }
    Ok((number * unit / scale, end))
}

const fn unit_nanoseconds(bytes: &[u8], start: usize, end: usize) -> Option<u128> {
    let length = end - start;
    let first = bytes[start];
    let second = if length > 1 { bytes[start + 1] } else { 0 };
    match (length, first, second) {
        (2, b'n', b's') => Some(1),
        (2, b'u', b's') => Some(1_000),
        // µ in UTF-8.
        (3, 0xc2, 0xb5) if bytes[start + 2] == b's' => Some(1_000),
        (2, b'm', b's') => Some(1_000_000),
        (1, b's', _) => Some(1_000_000_000),
        (1, b'm', _) => Some(60 * 1_000_000_000),
        (3, b'm', b'i') if bytes[start + 2] == b'n' => Some(60 * 1_000_000_000),
        (1, b'h', _) => Some(3_600 * 1_000_000_000),
        (1, b'd', _) => Some(86_400 * 1_000_000_000),
        _ => None,
    }
}

const fn skip_spaces(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] == b' ' {
        at += 1;
    }
    at
}

const fn word_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b' ' && !bytes[at].is_ascii_digit() && bytes[at] != b'.' {
        at += 1;
    }
    at
}

/// For the attribute's options: evaluated by the compiler, which reports the panic at the literal.
#[track_caller]
pub const fn duration(text: &str) -> Duration {
    match parse(text) {
        Ok(duration) if duration.is_zero() => panic!("a timeout of zero would always be over"),
        Ok(duration) => duration,
        Err(DurationProblem::Empty | DurationProblem::NoNumber) => {
            panic!("not a duration: a number is missing; write for example \"60s\", \"1.5s\", \"200ms\" or \"1h 30m\"")
        }
        Err(DurationProblem::NoUnit) => {
            panic!("not a duration: a unit is missing; write for example \"60s\", \"1.5s\", \"200ms\" or \"1h 30m\"")
        }
        Err(DurationProblem::UnknownUnit) => {
            panic!("not a duration: the units are ns, us, ms, s, m, h and d; write for example \"60s\" or \"200ms\"")
        }
        Err(DurationProblem::TooFine) => panic!("not a duration: it is finer than a nanosecond"),
        Err(DurationProblem::TooLong) => panic!("not a duration: it is longer than 500 years"),
    }
}

/// A length of time for people: three significant digits, in the unit that fits.
pub(crate) fn for_people(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7_200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} hours", s / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_added_up() {
        let milliseconds = |text: &str| parse(text).map(|duration| duration.as_millis());
        assert_eq!(milliseconds("60s"), Ok(60_000));
        assert_eq!(milliseconds("1.5s"), Ok(1_500));
        assert_eq!(milliseconds("1h 30m"), Ok(5_400_000));
        assert_eq!(milliseconds("2min"), Ok(120_000));
        assert_eq!(milliseconds("1d1ms"), Ok(86_400_001));
        assert_eq!(parse("1µs"), Ok(Duration::from_micros(1)));
        assert_eq!(parse("0.5us"), Ok(Duration::from_nanos(500)));
    }

    /// Plans have a reader of their own, which stops at the next word of a fault.
    #[test]
    fn a_length_means_the_same_in_a_plan() {
        for text in ["5ns", "1.5s", "200ms", "1h 30m", "2d", "0.25us", "90m", "1s 1ms", "500000d", "1.5", "s", "1 week"]
        {
            let plan: Result<windtunnel_faults::Plan, _> = format!("0s pause kv0 for {text}").parse();
            let planned = plan.ok().and_then(|plan| plan.faults[0].lasts);
            assert_eq!(planned, parse(text).ok(), "{text}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        assert_eq!(parse(" "), Err(DurationProblem::Empty));
        assert_eq!(parse("s"), Err(DurationProblem::NoNumber));
        assert_eq!(parse("-1s"), Err(DurationProblem::NoNumber));
        assert_eq!(parse("60"), Err(DurationProblem::NoUnit));
        assert_eq!(parse("1 fortnight"), Err(DurationProblem::UnknownUnit));
        assert_eq!(parse("0.5ns"), Err(DurationProblem::TooFine));
        assert_eq!(parse("600000d"), Err(DurationProblem::TooLong));
        assert_eq!(parse("99999999999999999999999999s"), Err(DurationProblem::TooLong));
    }

    #[test]
    fn people_get_the_unit_that_fits() {
        let text = |text| for_people(parse(text).expect("a literal of this test"));
        assert_eq!(text("17us"), "17 µs");
        assert_eq!(text("340ms"), "340 ms");
        assert_eq!(text("3.14s"), "3.1 s");
        assert_eq!(text("10m"), "10.0 min");
        assert_eq!(text("3h 6m"), "3.1 hours");
    }
}
