//! Lengths of time as people write them: `1.5s`, `200ms`, `1h 30m`.
//!
//! One grammar for plans, for settings and for options of attributes, which the compiler evaluates: hence a `const fn`,
//! and problems without text of their own. Written back in the one spelling that has no space in it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;
use thiserror::Error;

/// What keeps a text from being a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DurationProblem {
    /// It does not begin with one, or there are two points in it.
    #[error("a number is missing")]
    NoNumber,
    /// Behind the number.
    #[error("a unit is missing")]
    NoUnit,
    /// Of another unit.
    #[error("the units are `ns`, `us`, `ms`, `s`, `m`, `h` and `d`")]
    UnknownUnit,
    /// `0.5ns`.
    #[error("it is finer than a nanosecond")]
    TooFine,
    /// Above [`LONGEST`].
    #[error("it is longer than 500 years")]
    TooLong,
}

/// How much of a text is to be a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it, but for spaces at its ends.
    Whole,
    /// Its beginning. What is no number with a unit ends it, if there was one before.
    Beginning,
}

/// What a length of time looks like, for messages.
pub(crate) const LOOKS_LIKE: &str = "a length of time such as `1.5s`, `200ms` or `1h 30m`";

/// Below 2^64 ns, so that sums of two still fit a [`Duration`].
const NANOSECONDS_MAX: u128 = 500 * 365 * 86_400 * 1_000_000_000;

/// The longest that can be written: 500 years.
pub const LONGEST: Duration = Duration::from_secs(500 * 365 * 86_400);

/// More digits are no length of time; so many fit into 128 bits together with the largest unit.
const DIGITS_MAX: u32 = 20;

/// Reads a sequence of numbers with units: the length, and how many bytes of the text it takes.
///
/// ```
/// use std::time::Duration;
/// use windtunnel_faults::duration::{DurationProblem, Extent, scan};
///
/// assert_eq!(scan("1h 30m", Extent::Whole), Ok((Duration::from_secs(5400), 6)));
/// assert_eq!(scan("1.5s crash kv1", Extent::Beginning), Ok((Duration::from_millis(1500), 4)));
/// assert_eq!(scan("60", Extent::Whole), Err(DurationProblem::NoUnit));
/// ```
///
/// # Errors
/// The first thing that keeps the text, or its beginning, from being one.
pub const fn scan(text: &str, extent: Extent) -> Result<(Duration, usize), DurationProblem> {
    let bytes = text.as_bytes();
    let mut total: u128 = 0;
    let mut end = 0;
    loop {
        let start = skip_spaces(bytes, end);
        if end > 0 && start == bytes.len() {
            break;
        }
        match scan_part(bytes, start, extent) {
            Ok((nanoseconds, next)) => {
                total += nanoseconds;
                end = next;
            }
            // Another number may follow, with a unit that is none of time.
            Err(_) if end > 0 && matches!(extent, Extent::Beginning) => break,
            Err(problem) => return Err(problem),
        }
        if total > NANOSECONDS_MAX {
            return Err(DurationProblem::TooLong);
        }
    }
    // 500 years are less than 2^64 nanoseconds.
    Ok((Duration::from_nanos(total as u64), end))
}

/// One number with its unit: its nanoseconds, and where it ends.
const fn scan_part(bytes: &[u8], start: usize, extent: Extent) -> Result<(u128, usize), DurationProblem> {
    let mut at = start;
    let (mut number, mut scale): (u128, u128) = (0, 1);
    let (mut digits, mut points) = (0, 0);
    while at < bytes.len() && (bytes[at].is_ascii_digit() || bytes[at] == b'.') {
        if bytes[at] == b'.' {
            points += 1;
        } else {
            digits += 1;
            if digits > DIGITS_MAX {
                return Err(DurationProblem::TooLong);
            }
            number = number * 10 + (bytes[at] - b'0') as u128;
            if points > 0 {
                scale *= 10;
            }
        }
        at += 1;
    }
    if digits == 0 || points > 1 {
        return Err(DurationProblem::NoNumber);
    }
    let word = skip_spaces(bytes, at);
    let end = word_end(bytes, word);
    if end == word {
        return Err(DurationProblem::NoUnit);
    }
    let Some(unit) = nanoseconds_of_unit(bytes, word, end) else {
        return Err(match extent {
            // A word after a space is the next word: `1.5 crash kv1`.
            Extent::Beginning if word > at => DurationProblem::NoUnit,
            Extent::Beginning | Extent::Whole => DurationProblem::UnknownUnit,
        });
    };
    if !(number * unit).is_multiple_of(scale) {
        return Err(DurationProblem::TooFine);
    }
    Ok((number * unit / scale, end))
}

const fn nanoseconds_of_unit(bytes: &[u8], start: usize, end: usize) -> Option<u128> {
    let (length, first) = (end - start, bytes[start]);
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

/// Letters, of any alphabet.
const fn word_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && (bytes[at].is_ascii_alphabetic() || !bytes[at].is_ascii()) {
        at += 1;
    }
    at
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
    match scan(trimmed, Extent::Beginning) {
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

/// For `#[serde(with)]`: lengths of time as their texts.
pub(crate) mod texts {
    use super::{Deserialize, Deserializer, Duration, Serializer, Text};

    pub(crate) fn serialize<S: Serializer>(durations: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(durations.iter().copied().map(Text))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        Ok(Vec::<Text>::deserialize(deserializer)?.into_iter().map(|text| text.0).collect())
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
    fn numbers_with_units_are_added_up() {
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
        let problem = |text: &str| scan(text, Extent::Beginning).map(|_| ());
        assert_eq!(problem(""), Err(DurationProblem::NoNumber));
        assert_eq!(problem("-1s"), Err(DurationProblem::NoNumber));
        assert_eq!(problem("1.2.3s"), Err(DurationProblem::NoNumber));
        assert_eq!(problem("60"), Err(DurationProblem::NoUnit));
        assert_eq!(problem("1.5 crash"), Err(DurationProblem::NoUnit));
        assert_eq!(problem("1fortnight"), Err(DurationProblem::UnknownUnit));
        assert_eq!(problem("0.5ns"), Err(DurationProblem::TooFine));
        assert_eq!(problem("600000d"), Err(DurationProblem::TooLong));
        assert_eq!(problem("99999999999999999999999999s"), Err(DurationProblem::TooLong));
        let whole = |text: &str| scan(text, Extent::Whole).map(|_| ());
        assert_eq!(whole("1 fortnight"), Err(DurationProblem::UnknownUnit));
        assert_eq!(whole("5s soon"), Err(DurationProblem::NoNumber));
        assert_eq!(whole(" 5s "), Ok(()));
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
