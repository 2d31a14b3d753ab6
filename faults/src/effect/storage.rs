//! Disks that are full, out of inodes, or slow.

use super::{Class, Complaint, strikes_hosts};
use crate::duration::Shown;
use crate::error::ParseError;
use crate::quantity::{Rate, Size};
use crate::selector::Selector;
use crate::severity::Severity;
use crate::text::{Cursor, Read};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// Disks have no space left: writes fail with `ENOSPC`. `kv1`, `kv1 free 4KiB`.
///
/// ```
/// use windtunnel_faults::{DiskFull, Selector, Size};
///
/// let full = DiskFull { hosts: Selector::name("kv1"), free: Size::bytes(4096) };
/// assert_eq!(full.to_string(), "kv1 free 4KiB");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskFull {
    /// Whose disks.
    pub hosts: Selector,
    /// How much still fits. Nothing unless given.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub free: Size,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_nothing(size: &Size) -> bool {
    size.as_bytes() == 0
}

impl Display for DiskFull {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hosts)?;
        if is_nothing(&self.free) { Ok(()) } else { write!(f, " free {}", self.free) }
    }
}

impl Read for DiskFull {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let hosts = Selector::read(cursor)?;
        let free = if cursor.accept("free") { Size::read(cursor)? } else { Size::default() };
        Ok(Self { hosts, free })
    }
}

impl Class for DiskFull {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn complaint(&self) -> Option<Complaint> {
        None
    }
}

/// Disks are slow: `kv1 1MiB/s delay 5ms`.
///
/// ```
/// use windtunnel_faults::{Effect, Fault};
///
/// let fault = "2s io-throttle role:kv 1MiB/s delay 5ms for 10s".parse::<Fault>()?;
/// let Effect::IoThrottle(throttle) = fault.effect else { unreachable!() };
/// assert_eq!(throttle.delay.as_millis(), 5);
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IoThrottle {
    /// Whose disks.
    pub hosts: Selector,
    /// How much each reads and writes.
    pub rate: Rate,
    /// Added to each operation. None unless given.
    #[serde(default, with = "crate::duration::text", skip_serializing_if = "Duration::is_zero")]
    #[schemars(with = "crate::duration::Text")]
    pub delay: Duration,
}

impl Display for IoThrottle {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.hosts, self.rate)?;
        if self.delay.is_zero() { Ok(()) } else { write!(f, " delay {}", Shown(self.delay)) }
    }
}

impl Read for IoThrottle {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let (hosts, rate) = (Selector::read(cursor)?, Rate::read(cursor)?);
        let delay = if cursor.accept("delay") { cursor.duration()? } else { Duration::ZERO };
        Ok(Self { hosts, rate, delay })
    }
}

impl Class for IoThrottle {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        Severity::Medium
    }

    fn complaint(&self) -> Option<Complaint> {
        let remedy = "write more, or use `disk-full` for writes that fail";
        is_nothing(&self.rate.0).then(|| Complaint::new("rate", self.rate, "no operation would ever end", remedy))
    }
}

/// Disks have no inodes left: making a file fails with `ENOSPC`, writing to one that exists does not. `kv1`,
/// `kv1 free 3`.
///
/// ```
/// use windtunnel_faults::{InodeExhaustion, Selector};
///
/// assert_eq!(InodeExhaustion { hosts: Selector::name("kv1"), free: 3 }.to_string(), "kv1 free 3");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InodeExhaustion {
    /// Whose disks.
    pub hosts: Selector,
    /// How many files can still be made. None unless given.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub free: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Display for InodeExhaustion {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hosts)?;
        if self.free == 0 { Ok(()) } else { write!(f, " free {}", self.free) }
    }
}

impl Read for InodeExhaustion {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let hosts = Selector::read(cursor)?;
        let free = if cursor.accept("free") { cursor.parse("how many files", |word| word.parse().ok())? } else { 0 };
        Ok(Self { hosts, free })
    }
}

impl Class for InodeExhaustion {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn complaint(&self) -> Option<Complaint> {
        None
    }
}
