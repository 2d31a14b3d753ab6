//! Shares, sizes, rates, offsets and drifts: exact integers with the unit in their text, so that plans can be compared,
//! hashed and written back without rounding.

use crate::duration::{Shown, decimal};
use crate::error::ParseError;
use crate::text::{Cursor, Read, text_form};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// A share or probability from `0%` to `100%`, in steps of a ten-thousandth of a percent.
///
/// ```
/// use windtunnel_faults::Percent;
///
/// assert_eq!("30%".parse::<Percent>()?, Percent::new(30));
/// assert_eq!("0.05%".parse::<Percent>()?.fraction(), 0.0005);
/// assert!("130%".parse::<Percent>().unwrap_err().to_string().contains("at most `100%`"));
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u32);

impl Percent {
    /// Nothing at all.
    pub const ZERO: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(Self::ALL_PPM);
    const ALL_PPM: u32 = 1_000_000;

    /// Whole percents.
    ///
    /// # Panics
    /// When there are more than 100; in a `const`, the compiler says so.
    #[must_use]
    pub const fn new(percent: u32) -> Self {
        assert!(percent <= 100, "a share is at most 100 percent");
        Self(percent * (Self::ALL_PPM / 100))
    }

    /// Millionths, which are ten-thousandths of a percent; `None` when there are more than a million.
    ///
    /// ```
    /// use windtunnel_faults::Percent;
    ///
    /// assert_eq!(Percent::from_ppm(500).map(|share| share.to_string()).as_deref(), Some("0.05%"));
    /// assert_eq!(Percent::from_ppm(1_000_001), None);
    /// ```
    #[must_use]
    pub const fn from_ppm(ppm: u32) -> Option<Self> {
        if ppm <= Self::ALL_PPM { Some(Self(ppm)) } else { None }
    }

    /// Millionths.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// From 0.0 to 1.0.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ALL_PPM)
    }
}

impl Display for Percent {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", decimal(self.0.into(), (Self::ALL_PPM / 100).into()))
    }
}

impl Read for Percent {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let expected = "a share from `0%` to at most `100%`, such as `30%` or `0.05%`";
        cursor.parse(expected, |word| {
            let (whole, fraction) = split_decimal(word.strip_suffix('%')?)?;
            let fraction = format!("{fraction:0<4}");
            let ten_thousandths = (fraction.len() == 4).then(|| fraction.parse::<u32>().ok())??;
            Self::from_ppm(whole.checked_mul(10_000)?.checked_add(ten_thousandths)?)
        })
    }
}

/// The digits before and after the point; neither may be missing, but the point and what follows may.
fn split_decimal(text: &str) -> Option<(u32, &str)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole) && digits(fraction)).then(|| Some((whole.parse().ok()?, fraction)))?
}

text_form!(Percent, "Percent", "A share from 0% to 100%, with at most four decimals.", ["30%", "0.05%"]);

/// A number of bytes, written with a binary or decimal unit: `64KiB`, `1MB`, `0B`.
///
/// ```
/// use windtunnel_faults::Size;
///
/// assert_eq!("64KiB".parse::<Size>()?, Size::bytes(65_536));
/// assert_eq!(Size::bytes(3_000).to_string(), "3kB");
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(u64);

/// The largest first, the binary ones before the decimal ones: the first that divides a size shows it.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl Size {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// How many bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    fn from_text(text: &str) -> Option<Self> {
        let unit_begin = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(unit_begin);
        let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
        Some(Self(number.parse::<u64>().ok()?.checked_mul(*bytes)?))
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let fits = |(_, bytes): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*bytes);
        let (name, bytes) = SIZE_UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / bytes)
    }
}

impl Read for Size {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let expected = "a whole number of `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB` or `GB`, such as `64KiB`";
        cursor.parse(expected, Self::from_text)
    }
}

text_form!(Size, "Size", "Bytes: a whole number of B, KiB, MiB, GiB, kB, MB or GB.", ["64KiB", "1MB"]);

/// Bytes per second: `1MiB/s`.
///
/// ```
/// use windtunnel_faults::{Rate, Size};
///
/// assert_eq!("1MiB/s".parse::<Rate>()?, Rate(Size::bytes(1 << 20)));
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(
    /// What passes in a second.
    pub Size,
);

impl Display for Rate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl Read for Rate {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        cursor.parse("a size per second, such as `1MiB/s` or `64KiB/s`", |word| {
            Size::from_text(word.strip_suffix("/s")?).map(Self)
        })
    }
}

text_form!(Rate, "Rate", "Bytes per second: a size and /s.", ["1MiB/s", "64KiB/s"]);

/// How far a clock is ahead (`+5s`) or behind (`-200ms`).
///
/// ```
/// use std::time::Duration;
/// use windtunnel_faults::Offset;
///
/// assert_eq!("-200ms".parse::<Offset>()?, Offset::Behind(Duration::from_millis(200)));
/// assert_eq!("+5s".parse::<Offset>()?.nanoseconds(), 5_000_000_000);
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offset {
    /// It shows a later time than it should.
    Ahead(Duration),
    /// It shows an earlier time than it should.
    Behind(Duration),
}

impl Offset {
    /// Its size, whatever its direction.
    #[must_use]
    pub const fn magnitude(self) -> Duration {
        match self {
            Self::Ahead(duration) | Self::Behind(duration) => duration,
        }
    }

    /// Positive when ahead.
    #[must_use]
    pub const fn nanoseconds(self) -> i128 {
        match self {
            // 2^64 seconds are less than 2^94 nanoseconds.
            Self::Ahead(duration) => duration.as_nanos() as i128,
            Self::Behind(duration) => -(duration.as_nanos() as i128),
        }
    }

    pub(crate) const fn with_magnitude(self, magnitude: Duration) -> Self {
        match self {
            Self::Ahead(_) => Self::Ahead(magnitude),
            Self::Behind(_) => Self::Behind(magnitude),
        }
    }
}

impl Display for Offset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead(duration) => write!(f, "+{}", Shown(*duration)),
            Self::Behind(duration) => write!(f, "-{}", Shown(*duration)),
        }
    }
}

impl Read for Offset {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let ahead = cursor.eat("+");
        if !ahead && !cursor.eat("-") {
            return Err(cursor.expected("`+` or `-` and a length of time, such as `+5s` or `-200ms`"));
        }
        let duration = cursor.duration()?;
        Ok(if ahead { Self::Ahead(duration) } else { Self::Behind(duration) })
    }
}

text_form!(Offset, "Offset", "How far a clock is ahead (+) or behind (-).", ["+5s", "-200ms"]);

/// How much too fast (`+200ppm`) or too slow (`-50ppm`) a clock runs, in millionths.
///
/// 1 ppm is 86.4 ms a day. Crystals are within about 100 ppm; Linux corrects at most 500 ppm (`MAXFREQ` in
/// `include/linux/timex.h`).
///
/// ```
/// use windtunnel_faults::Drift;
///
/// assert_eq!("-50ppm".parse::<Drift>()?, Drift::ppm(-50));
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Drift(i32);

impl Drift {
    /// So many millionths; positive when the clock is too fast.
    #[must_use]
    pub const fn ppm(ppm: i32) -> Self {
        Self(ppm)
    }

    /// In millionths.
    #[must_use]
    pub const fn as_ppm(self) -> i32 {
        self.0
    }
}

impl Display for Drift {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:+}ppm", self.0)
    }
}

impl Read for Drift {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        cursor.parse("`+` or `-` and a whole number of `ppm`, such as `+200ppm`", |word| {
            word.starts_with(['+', '-']).then(|| word.strip_suffix("ppm")?.parse().ok().map(Self))?
        })
    }
}

text_form!(Drift, "Drift", "How much too fast (+) or too slow (-) a clock runs.", ["+200ppm", "-50ppm"]);
