//! Disks that are full, out of inodes, slow, failing, or rotting.

use super::network::is_none;
use super::{Class, Complaint, strikes_hosts};
use crate::duration::Shown;
use crate::error::ParseError;
use crate::quantity::{Percent, Rate, Size};
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

/// Disks are slow: `kv1 1MiB/s delay 5ms`. Syncs and synchronous writes take longer, and so do other writes that are
/// more than a second ahead of the disk. Reads do not: they are answered by the page cache.
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
    /// How much each writes.
    pub rate: Rate,
    /// Added to each sync and each synchronous write. None unless given.
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

/// Reads and syncs of disks fail with `EIO`: `kv1 reads 10%`, `kv1 syncs 50%`, `kv1 reads 10% syncs 50%`. What a failed
/// fsync(2) has not written is lost, although it can still be read and the next fsync(2) succeeds, as on Linux.
///
/// ```
/// use windtunnel_faults::{DiskErrors, Percent, Selector};
///
/// let errors = DiskErrors { hosts: Selector::name("kv1"), reads: Percent::ZERO, syncs: Percent::new(50) };
/// assert_eq!(errors.to_string(), "kv1 syncs 50%");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskErrors {
    /// Whose disks.
    pub hosts: Selector,
    /// How likely each read fails. None unless given.
    #[serde(default, skip_serializing_if = "is_none")]
    pub reads: Percent,
    /// How likely each sync fails. None unless given.
    #[serde(default, skip_serializing_if = "is_none")]
    pub syncs: Percent,
}

impl Display for DiskErrors {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hosts)?;
        for (word, share) in [("reads", &self.reads), ("syncs", &self.syncs)] {
            if !is_none(share) {
                write!(f, " {word} {share}")?;
            }
        }
        Ok(())
    }
}

impl Read for DiskErrors {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let hosts = Selector::read(cursor)?;
        let reads = if cursor.accept("reads") { Percent::read(cursor)? } else { Percent::ZERO };
        let syncs = if cursor.accept("syncs") { Percent::read(cursor)? } else { Percent::ZERO };
        Ok(Self { hosts, reads, syncs })
    }
}

impl Class for DiskErrors {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn complaint(&self) -> Option<Complaint> {
        let remedy = "add `reads 10%`, `syncs 50%`, or both";
        let nothing = is_none(&self.reads) && is_none(&self.syncs);
        nothing.then(|| Complaint::new("syncs", self.syncs, "nothing would fail", remedy))
    }
}

/// Bits of what is on disks flip, once, and stay so: `kv1`, `kv1 bits 3`.
///
/// ```
/// use windtunnel_faults::{BitRot, Selector};
///
/// assert_eq!(BitRot { hosts: Selector::name("kv1"), bits: 3 }.to_string(), "kv1 bits 3");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BitRot {
    /// Whose disks.
    pub hosts: Selector,
    /// How many, anywhere in the files. One unless given.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub bits: u32,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_one(count: &u32) -> bool {
    *count == 1
}

impl Display for BitRot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hosts)?;
        if self.bits == 1 { Ok(()) } else { write!(f, " bits {}", self.bits) }
    }
}

impl Read for BitRot {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let hosts = Selector::read(cursor)?;
        let bits = if cursor.accept("bits") { cursor.parse("how many bits", |word| word.parse().ok())? } else { 1 };
        Ok(Self { hosts, bits })
    }
}

impl Class for BitRot {
    strikes_hosts!();

    fn severity(&self) -> Severity {
        Severity::High
    }

    fn complaint(&self) -> Option<Complaint> {
        (self.bits == 0).then(|| Complaint::new("bits", self.bits, "nothing would rot", "write more than `0`"))
    }
}
