//! Each class of faults, done as a real world does it, read back, and healed.

use super::means::{By, Means};
use super::scratch::{ADDRESSES, Groups, Scratch, Wire, attempt_in_world};
use super::trial::Verdict;
use super::{Class, Tried};
use crate::boundary;
use crate::cgroup::{Group, Limit, Limited, Rates};
use crate::clock::{ClockFault, ClockPage, ForeignClocks};
use crate::disk::{BitRot, DiskKind};
use crate::dns::{Answer, Asker, Responder};
use crate::error::{Error, Result};
use crate::injection::Injection;
use crate::keeper::Inodes;
use crate::process::{CpuBurn, MemoryPressure, MemoryWatch, Paused, TaskLeak};
use crate::shape::{Endpoint, Links, Shaper, Spread, Trouble};
use crate::switch::{Cut, Partition, Ways};
use crate::sys::{End, Forked, end_now, fork, wait};
use crate::target::{Process, Target};
use std::os::fd::AsFd as _;
use std::time::Duration;
use windtunnel_faults::Kind;

/// The host of a trial.
const HOST: &str = "host";
/// What faults leave of anything, where it does not matter how much.
const LEFT: u64 = 100 << 20;
/// More than a program that sleeps has.
const MANY: u64 = 1000;
/// A fault that is a share.
const SHARE_PPM: u32 = 500_000;
const SHARE: f64 = 0.5;
/// A slow disk's bytes per second, and a rotting one's bits.
const RATE: u64 = 1 << 20;
const ROTTEN: u32 = 8;
/// A clock that is off, or drifts, and longer than it does.
const SKEW_NS: i64 = 1_000_000_000;
const DRIFT_PPM: i64 = 200;
const LEASE: Duration = Duration::from_secs(5);
/// How long a program may take to die.
const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// Does a fault of this class, and undoes it.
pub(super) fn attempt(kind: Kind) -> Tried<Class> {
    let means = Means::of(kind);
    let verdict = attempt_in_world(groups(kind), |scratch| Ok(means.text(carry_out(kind, scratch)?).to_owned()));
    let is = |by: &By| matches!(&verdict, Verdict::Works { how } if how == means.text(*by));
    let by = [By::Mechanism, By::Fallback].into_iter().find(is);
    Tried { what: Class { kind, by }, verdict }
}

/// What is done to a host as a whole.
fn groups(kind: Kind) -> Groups {
    let needs_group = matches!(kind, Kind::IoThrottle | Kind::CpuBurn | Kind::MemoryPressure | Kind::TaskLeak);
    if needs_group { Groups::Wanted } else { Groups::Spared }
}

fn carry_out(kind: Kind, scratch: &Scratch) -> Result<By> {
    match kind {
        Kind::Partition => partition(),
        Kind::Latency => {
            let latency = Duration::from_millis(10);
            shape(Trouble::Slow { latency, or: Vec::new(), jitter: Duration::ZERO, spread: Spread::Uniform })
        }
        Kind::Loss => shape(Trouble::Lossy { probability: SHARE, correlation: 0.0 }),
        Kind::Duplication => shape(Trouble::Doubling { probability: SHARE }),
        Kind::Reordering => shape(Trouble::Overtaking { probability: SHARE, by: Duration::from_millis(10) }),
        Kind::Corruption => shape(Trouble::Flipping { probability: SHARE }),
        Kind::Bandwidth => shape(Trouble::Narrow { bytes_per_second: 1 << 20, queue_bytes: None }),
        Kind::DnsHijack => hijack(),
        Kind::ClockSkew => {
            prove(&mut ClockPage::make()?.skew(SKEW_NS, false)?)?;
            clock_of_a_command(scratch, |clocks| clocks.skew(SKEW_NS, false))
        }
        Kind::ClockDrift => {
            prove(&mut ClockPage::make()?.drift(DRIFT_PPM, true)?)?;
            clock_of_a_command(scratch, |clocks| clocks.drift(DRIFT_PPM, true))
        }
        Kind::DiskFull => {
            let (kind, _) = scratch.keeper.make_disk(HOST, Inodes::ToBeTaken)?;
            prove(&mut *scratch.keeper.fill_disk(HOST, LEFT)?).map(|_| of_disk(kind))
        }
        Kind::InodeExhaustion => {
            let (kind, _) = scratch.keeper.make_disk(HOST, Inodes::ToBeTaken)?;
            prove(&mut *scratch.keeper.take_inodes(HOST, MANY)?).map(|_| of_disk(kind))
        }
        Kind::IoThrottle => throttle(scratch),
        Kind::DiskErrors => prove(&mut boundary::Page::make()?.fail_io(SHARE, SHARE, 0)?).map(|_| By::Mechanism),
        Kind::BitRot => rot(scratch),
        Kind::CpuBurn => burn(scratch),
        Kind::MemoryPressure => starve(scratch),
        Kind::TaskLeak => leak(scratch),
        Kind::Crash => crash(scratch),
        Kind::Pause => prove(&mut Paused::apply(&scratch.journal, &scratch.program(None)?)?).map(|_| By::Mechanism),
    }
}

/// Reads a fault back and heals it; answers by what it was done.
fn prove(injection: &mut dyn Injection) -> Result<&'static str> {
    injection.read_back()?;
    let how = injection.mechanism();
    injection.heal()?;
    Ok(how)
}

/// Which of these an injection says that it is.
fn by(how: &str, mechanism: &str, fallback: &str) -> Result<By> {
    match how {
        _ if how == mechanism => Ok(By::Mechanism),
        _ if how == fallback => Ok(By::Fallback),
        _ => Err(Error::unlike("say by what it was done", format!("{mechanism} or {fallback}"), how)),
    }
}

fn of_disk(kind: DiskKind) -> By {
    match kind {
        DiskKind::Ext4 => By::Mechanism,
        DiskKind::Memory => By::Fallback,
    }
}

fn partition() -> Result<By> {
    cut(&Wire::lay()?)
}

/// Has nothing pass a switch.
pub(super) fn cut(wire: &Wire) -> Result<By> {
    let [from, to] = ADDRESSES.map(Vec::from);
    let how = prove(&mut Partition::begin(wire.switch.ns(), &[Cut { from, to, ways: Ways::Both }])?)?;
    by(how, "nft owner table", "nft table")
}

fn shape(trouble: Trouble) -> Result<By> {
    divert(&Wire::lay()?, trouble)
}

/// Has what passes a switch diverted to a queue.
pub(super) fn divert(wire: &Wire, trouble: Trouble) -> Result<By> {
    let shaper = Shaper::start_in(wire.switch.ns(), 0)?;
    let [from, to] = ADDRESSES.map(|addresses| vec![Endpoint::from(addresses)]);
    let how = prove(&mut shaper.begin(&Links { from, to, both_ways: true }, trouble)?)?;
    by(how, "NFQUEUE by nft's queue", "NFQUEUE by xt's target")
}

fn hijack() -> Result<By> {
    let wire = Wire::lay()?;
    let names = Responder::start(wire.switch.ns())?;
    let asker = Asker { ns: wire.hosts[0].as_fd(), addresses: &ADDRESSES[0] };
    prove(&mut names.hijack(&asker, "name", Answer::NoSuchName)?).map(|_| By::Mechanism)
}

/// Whether programs that know nothing of windtunnel can be struck as well as the test's own functions.
fn clock_of_a_command(scratch: &Scratch, fault: impl FnOnce(&ForeignClocks) -> Result<ClockFault>) -> Result<By> {
    let program = Target::Process(scratch.program(None)?);
    let strike = || {
        let clocks = ForeignClocks::new(&scratch.journal, LEASE)?;
        clocks.follow(&program)?;
        prove(&mut fault(&clocks)?)
    };
    // Why not is told of the vDSO, which is a foundation.
    Ok(if strike().is_ok() { By::Mechanism } else { By::Fallback })
}

fn throttle(scratch: &Scratch) -> Result<By> {
    let (_, device) = scratch.keeper.make_disk(HOST, Inodes::ToBeTaken)?;
    let by_group = |group: &Group, device| {
        let rates = Rates { read_bytes_per_s: Some(RATE), write_bytes_per_s: Some(RATE), ..Rates::default() };
        prove(&mut Limited::apply(group, &Limit::Io { device, rates })?)
    };
    match (device, scratch.group()) {
        (Some(device), Some(group)) if by_group(&group, device).is_ok() => Ok(By::Mechanism),
        _ => prove(&mut boundary::Page::make()?.slow(RATE, Duration::ZERO)?).map(|_| By::Fallback),
    }
}

fn rot(scratch: &Scratch) -> Result<By> {
    const WHAT: &str = "flip bits of what a host has written";
    match fork().map_err(|error| Error::os("start a host", error))? {
        Forked::Child => {
            let entered = scratch.disk.enter(&[]).is_ok();
            end_now(i32::from(!entered || std::fs::write("/var/lib/windtunnel-rot", "rotten").is_err()))
        }
        Forked::Parent(pid) => match wait(pid).map_err(|error| Error::os("wait for a host", error))? {
            End::Code(0) => {}
            end => return Err(Error::unlike(WHAT, "a host that writes a file", format!("{end:?}"))),
        },
    }
    let mut rot = BitRot::of(&scratch.disk, ROTTEN, 0)?;
    match rot.bit()? {
        bits if bits == u64::from(ROTTEN) => prove(&mut rot).map(|_| By::Mechanism),
        bits => Err(Error::unlike(WHAT, format!("{ROTTEN} bits"), format!("{bits}"))),
    }
}

/// Where the host has a group, what is done to that; else what is done to its program.
fn in_group<G: Injection, P: Injection>(
    scratch: &Scratch,
    to_group: impl FnOnce(&Group) -> Result<G>,
    to_program: impl FnOnce(&Process) -> Result<P>,
) -> Result<By> {
    match scratch.group() {
        Some(group) => {
            let _program = scratch.program(Some(&group))?;
            prove(&mut to_group(&group)?).map(|_| By::Mechanism)
        }
        None => prove(&mut to_program(&scratch.program(None)?)?).map(|_| By::Fallback),
    }
}

fn burn(scratch: &Scratch) -> Result<By> {
    in_group(
        scratch,
        |group| CpuBurn::by_freezing(group, SHARE_PPM),
        |program| CpuBurn::by_stopping(&scratch.journal, program, SHARE_PPM),
    )
}

fn starve(scratch: &Scratch) -> Result<By> {
    in_group(
        scratch,
        |group| MemoryPressure::in_group(group, LEFT),
        |program| MemoryWatch::apply(&scratch.journal, program, LEFT),
    )
}

/// Threads, and descriptors. Tasks of a runtime are memory.
fn leak(scratch: &Scratch) -> Result<By> {
    let by = in_group(
        scratch,
        |group| TaskLeak::tasks_in_group(group, MANY),
        |program| TaskLeak::threads_of_user(&scratch.journal, program, MANY),
    )?;
    prove(&mut TaskLeak::descriptors(&scratch.journal, &scratch.program(None)?, MANY)?).map(|_| by)
}

fn crash(scratch: &Scratch) -> Result<By> {
    let (kind, _) = scratch.keeper.make_disk(HOST, Inodes::ToBeTaken)?;
    let program = scratch.program(None)?;
    program.kill()?;
    if !program.ends_within(KILLED_WITHIN) {
        return Err(Error::unlike("kill a program", "its end", "that it goes on"));
    }
    if kind == DiskKind::Ext4 {
        scratch.keeper.lose_power(HOST)?;
    }
    Ok(of_disk(kind))
}
