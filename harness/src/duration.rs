//! Durations as people write them: `"60s"`, `"1.5s"`, `"200ms"`, `"1h 30m"`. The grammar is that of plans.

use std::time::Duration;
use thiserror::Error;
use windtunnel_faults::duration::{DurationProblem, Extent, scan};

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a duration: {problem}; write a number and a unit, such as `60s`, `1.5s`, `200ms` or `1h 30m`")]
pub struct DurationError {
    text: String,
    problem: DurationProblem,
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

/// A whole text.
pub(crate) const fn parse(text: &str) -> Result<Duration, DurationProblem> {
    match scan(text, Extent::Whole) {
        Ok((duration, _)) => Ok(duration),
        Err(problem) => Err(problem),
    }
}

/// For the attribute's options: evaluated by the compiler, which reports the panic at the literal.
#[track_caller]
pub const fn duration(text: &str) -> Duration {
    match parse(text) {
        Ok(duration) if duration.is_zero() => panic!("a timeout of zero would always be over"),
        Ok(duration) => duration,
        Err(DurationProblem::NoNumber) => {
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
    fn a_text_that_is_no_duration_is_refused_with_what_is_wrong() {
        let refusal = |text: &str| text.into_duration().expect_err("it is none").to_string();
        assert!(
            refusal("").starts_with("`` is not a duration: a number is missing; write a number"),
            "{}",
            refusal("")
        );
        assert!(refusal("1 week").contains("the units are `ns`, `us`, `ms`, `s`, `m`, `h` and `d`"));
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
