//! Lengths of time as people write them: `1.5s`, `200ms`, `1h 30m`.
//!
//! The grammar of the harness's options, so that a length is spelled the same everywhere; written back in the one
//! spelling that has no space in it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;
use thiserror::Error;

/// What keeps a text from being a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum DurationProblem {
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

/// What a length of time looks like, for messages.
pub(crate) const LOOKS_LIKE: &str = "a length of time such as `1.5s`, `200ms` or `1h 30m`";

/// The bound of the harness's grammar. Below 2^64 ns, so that sums of two still fit a [`Duration`].
const NANOSECONDS_MAX: u128 = 500 * 365 * 86_400 * 1_000_000_000;

/// The longest that can be written: 500 years.
pub(crate) const LONGEST: Duration = Duration::from_secs(500 * 365 * 86_400);

/// Reads a sequence of numbers with units from the beginning of a text: the length, and how many bytes it takes. Stops
/// before what is no number with a unit, if there was one before.
pub(crate) fn scan(text: &str) -> Result<(Duration, usize), DurationProblem> {
    let mut total = 0;
    let mut end = 0;
    loop {
        let rest = &text[end..];
        let part = rest.trim_start_matches(' ');
        match scan_part(part) {
            Ok((nanoseconds, length)) => {
                total += nanoseconds;
                if total > NANOSECONDS_MAX {
                    return Err(DurationProblem::TooLong);
                }
                end += rest.len() - part.len() + length;
            }
            // Another number may follow, with a unit that is none of time.
            Err(_) if end > 0 => break,
            Err(problem) => return Err(problem),
        }
    }
    Ok((from_nanoseconds(total), end))
}

/// Only for what is at most [`NANOSECONDS_MAX`].
fn from_nanoseconds(nanoseconds: u128) -> Duration {
    // 500 years are less than 2^64 nanoseconds.
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// One number with its unit: its nanoseconds, and how many bytes it takes.
fn scan_part(text: &str) -> Result<(u128, usize), DurationProblem> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > 21 {
        return Err(DurationProblem::TooLong);
    }
    if whole.len() + fraction.len() == 0 || fraction.contains('.') {
        return Err(DurationProblem::NoNumber);
    }
    let unit_text = rest.trim_start_matches(' ');
    let unit_end = unit_text.find(|c: char| !c.is_alphabetic()).unwrap_or(unit_text.len());
    let nanoseconds_per_unit = match &unit_text[..unit_end] {
        "" => return Err(DurationProblem::NoUnit),
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        "d" => 86_400 * 1_000_000_000,
        // A word after a space is the next word: `1.5 crash kv1`.
        _ if unit_text.len() < rest.len() => return Err(DurationProblem::NoUnit),
        _ => return Err(DurationProblem::UnknownUnit),
    };
    // At most 21 digits, which fit into 128 bits together with the largest unit.
    let digits = format!("{whole}{fraction}").parse::<u128>().map_err(|_| DurationProblem::TooLong)?;
    let scale = 10_u128.pow(fraction.len() as u32);
    if !(digits * nanoseconds_per_unit).is_multiple_of(scale) {
        return Err(DurationProblem::TooFine);
    }
    Ok((digits * nanoseconds_per_unit / scale, number_end + rest.len() - unit_text.len() + unit_end))
}

/// Shows a length exactly, in one number and one unit: `1.5s`, `200ms`, `17us`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown(pub(crate) Duration);

impl Display for Shown {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.as_nanos();
        let (unit, name) = match nanoseconds {
            0 => (1_000_000_000, "s"),
            1..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "us"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        write!(f, "{}{name}", decimal(nanoseconds, unit))
    }
}

/// `value / unit` as a decimal without trailing zeros. `unit` is a power of ten.
pub(crate) fn decimal(value: u128, unit: u128) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{rest:0digits$}").trim_end_matches('0'))
}

/// A whole text that is a length of time.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let refusal = |problem: &dyn Display| format!("`{text}` is not a length of time: {problem}; write {LOOKS_LIKE}");
    let trimmed = text.trim_matches(' ');
    match scan(trimmed) {
        Ok((duration, end)) if end == trimmed.len() => Ok(duration),
        Ok((_, end)) => Err(refusal(&format!("`{}` is no number with a unit", trimmed[end..].trim_start()))),
        Err(problem) => Err(refusal(&problem)),
    }
}

/// For `#[serde(with)]`: a length of time as its text.
pub(crate) mod text {
    use super::{Deserialize, Deserializer, Duration, Serializer, Shown, parse};
    use serde::de::Error;

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Shown(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map_err(D::Error::custom)
    }
}

/// A length of time as a regular expression: one or more numbers with units. The part stands twice, because patterns
/// of JSON Schema have no names.
const PATTERN: &str = concat!(
    r"^ *([0-9]+\.?[0-9]*|\.[0-9]+) *(ns|us|µs|ms|s|m|min|h|d)",
    r"( *([0-9]+\.?[0-9]*|\.[0-9]+) *(ns|us|µs|ms|s|m|min|h|d))* *$"
);

/// A length of time that may be left out, as its text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text(pub(crate) Duration);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer).map(Self)
    }
}

impl schemars::JsonSchema for Text {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A length of time: numbers with the units ns, us, ms, s, m, h and d.",
            "pattern": PATTERN,
            "examples": ["1.5s", "200ms", "1h 30m"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_added_up_as_the_harness_does() {
        let milliseconds = |text: &str| parse(text).map(|duration| duration.as_millis());
        assert_eq!(milliseconds("60s"), Ok(60_000));
        assert_eq!(milliseconds("1.5s"), Ok(1_500));
        assert_eq!(milliseconds("1h 30m"), Ok(5_400_000));
        assert_eq!(milliseconds("2min"), Ok(120_000));
        assert_eq!(milliseconds("1d1ms"), Ok(86_400_001));
        assert_eq!(milliseconds("1 s"), Ok(1_000));
        assert_eq!(parse("1µs"), Ok(Duration::from_micros(1)));
        assert_eq!(parse("0.5us"), Ok(Duration::from_nanos(500)));
    }

    #[test]
    fn each_mistake_is_named() {
        let problem = |text: &str| scan(text).map(|_| ());
        assert_eq!(problem(""), Err(DurationProblem::NoNumber));
        assert_eq!(problem("-1s"), Err(DurationProblem::NoNumber));
        assert_eq!(problem("1.2.3s"), Err(DurationProblem::NoNumber));
        assert_eq!(problem("60"), Err(DurationProblem::NoUnit));
        assert_eq!(problem("1.5 crash"), Err(DurationProblem::NoUnit));
        assert_eq!(problem("1fortnight"), Err(DurationProblem::UnknownUnit));
        assert_eq!(problem("0.5ns"), Err(DurationProblem::TooFine));
        assert_eq!(problem("600000d"), Err(DurationProblem::TooLong));
        assert_eq!(problem("99999999999999999999999999s"), Err(DurationProblem::TooLong));
        let soon = parse("5s soon").unwrap_err();
        assert!(
            soon.starts_with("`5s soon` is not a length of time: `soon` is no number with a unit; write"),
            "{soon}"
        );
    }

    #[test]
    fn a_length_is_shown_exactly_and_reads_back() {
        for text in ["0s", "1ns", "1.5us", "340ms", "1.5s", "3.877s", "90s", "86400s", "1.000000001s"] {
            assert_eq!(Shown(parse(text).expect("a literal of this test")).to_string(), text);
        }
    }
}
