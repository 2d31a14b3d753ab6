//! Clocks that show another time, or run at another speed.

use super::{Class, Complaint, strikes_hosts};
use crate::error::ParseError;
use crate::quantity::{Drift, Offset};
use crate::selector::Selector;
use crate::severity::Severity;
use crate::text::{Cursor, Read};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// Clocks show another time: `kv1 +5s`, `kv1 -200ms slewed`. The realtime clock only: no one can set the monotonic one
/// (`clock_settime(2)`). Slewing would let that one run 500 ppm too fast or too slow as well (`clock_gettime(2)`); the
/// simulated world leaves it right.
///
/// ```
/// use std::time::Duration;
/// use windtunnel_faults::{ClockSkew, Offset, Onset, Selector};
///
/// let offset = Offset::Behind(Duration::from_millis(200));
/// let skew = ClockSkew { hosts: Selector::name("kv1"), offset, onset: Onset::Slew };
/// assert_eq!(skew.to_string(), "kv1 -200ms slewed");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockSkew {
    /// Whose clocks.
    pub hosts: Selector,
    /// How far they are off.
    pub offset: Offset,
    /// How they come to be off, and right again. By a step unless given.
    #[serde(default, skip_serializing_if = "Onset::is_default")]
    pub onset: Onset,
}

/// How a clock is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Onset {
    /// At once, as by `clock_settime(2)`: it jumps, possibly back.
    #[default]
    Step,
    /// Gradually, at 500 ppm as `adjtime(3)` does: it never jumps and never goes back. Written `slewed`.
    Slew,
}

impl Onset {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Display for ClockSkew {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.hosts, self.offset)?;
        f.write_str(match self.onset {
            Onset::Step => "",
            Onset::Slew => " slewed",
        })
    }
}

impl Read for ClockSkew {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let (hosts, offset) = (Selector::read(cursor)?, Offset::read(cursor)?);
        let onset = if cursor.accept("slewed") { Onset::Slew } else { Onset::Step };
        Ok(Self { hosts, offset, onset })
    }
}

impl Class for ClockSkew {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        if self.offset.magnitude() < Duration::from_secs(1) { Severity::Low } else { Severity::Medium }
    }

    fn complaint(&self) -> Option<Complaint> {
        let complaint = || Complaint::new("offset", self.offset, "the clock would be right", "write more than `0s`");
        self.offset.magnitude().is_zero().then(complaint)
    }
}

/// Clocks run too fast or too slow: `kv1 +200ppm`, `kv1 -5000ppm then step`. Realtime and monotonic alike, as a bad
/// crystal does; the error adds up while the fault lasts.
///
/// ```
/// use windtunnel_faults::{ClockDrift, Correction, Drift, Selector};
///
/// let drift = ClockDrift { hosts: Selector::name("kv1"), rate: Drift::ppm(200), correction: Correction::Step };
/// assert_eq!(drift.to_string(), "kv1 +200ppm then step");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockDrift {
    /// Whose clocks.
    pub hosts: Selector,
    /// How much too fast or too slow.
    pub rate: Drift,
    /// What NTP does about the error at the end. It slews unless given.
    #[serde(default, skip_serializing_if = "Correction::is_default")]
    pub correction: Correction,
}

/// How NTP takes an error away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Correction {
    /// Gradually, at 500 ppm (ntpd below 128 ms, chrony always but at its start).
    #[default]
    Slew,
    /// At once (ntpd above 128 ms); the realtime clock jumps.
    Step,
}

impl Correction {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Display for ClockDrift {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.hosts, self.rate)?;
        f.write_str(match self.correction {
            Correction::Slew => "",
            Correction::Step => " then step",
        })
    }
}

impl Read for ClockDrift {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let (hosts, rate) = (Selector::read(cursor)?, Drift::read(cursor)?);
        let correction = if cursor.accept("then") {
            cursor.choose("a correction", &[("slew", Correction::Slew), ("step", Correction::Step)])?
        } else {
            Correction::Slew
        };
        Ok(Self { hosts, rate, correction })
    }
}

/// A clock at half or at one and a half times its speed: what the injector in the real world can do, and far beyond
/// what crystals do.
const DRIFT_PPM_MAX: u32 = 500_000;

impl Class for ClockDrift {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        if self.rate.as_ppm().unsigned_abs() <= 500 { Severity::Low } else { Severity::Medium }
    }

    fn complaint(&self) -> Option<Complaint> {
        let complaint = |problem, remedy| Some(Complaint::new("rate", self.rate, problem, remedy));
        match self.rate.as_ppm().unsigned_abs() {
            0 => complaint("the clock would be right", "write more than `0ppm`"),
            1..=DRIFT_PPM_MAX => None,
            _ => complaint("no clock is that wrong", "write at most `+500000ppm` or `-500000ppm`"),
        }
    }
}
