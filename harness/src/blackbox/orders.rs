//! What decides a case, handed to it as plain memory.
//!
//! Not serialised: parsing would allocate amounts that depend on the values, and the layout of the heap is part of a
//! case.

use crate::arguments::PATHS_BYTES_MAX;
use windtunnel_sim::world::{HeapRecordUse, Hush, Quiet};

/// What a case shall do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Orders {
    pub(crate) seed: u64,
    pub(crate) calm: bool,
    pub(crate) start_unix_ns: u64,
    pub(crate) virtual_timeout_ns: u64,
    pub(crate) recording: RecordingMode,
    /// What to do with the record of what programs' heaps gave.
    pub(crate) heap_record: Option<HeapRecordUse>,
    /// The faults of the storm: a plan in its text form.
    pub(crate) plan: Option<String>,
    /// The plan was drawn for the rehearsal's hosts: a fault of a host that is not in this case never begins.
    pub(crate) plan_is_drawn: bool,
    /// How the test's arguments became simpler than its seed draws them: paths in their text form.
    pub(crate) arguments: Option<String>,
    /// The hash of arguments of which it is known what becomes of them: the case then ends before it runs.
    pub(crate) known_arguments: Option<u64>,
    /// Print what hosts write to the process's own output at once: there is no supervisor.
    pub(crate) in_debugger: bool,
    /// Change the value of this event, for tests of the comparison.
    pub(crate) perturb: Option<u64>,
    /// Which randomness is switched off.
    pub(crate) quiet: Quiet,
    /// Let the faults of the plan do nothing, for tests of tests.
    pub(crate) becalmed: bool,
    /// Notice system calls that programs make without libc.
    pub(crate) guard: bool,
    /// Let no fsync keep anything, for tests of tests.
    pub(crate) forgetful: bool,
    /// Copy what is on the hosts' disks to this directory in the end.
    pub(crate) disks: Option<String>,
    /// `RUST_LOG` for hosts and test.
    pub(crate) rust_log: Option<String>,
    /// `RUST_BACKTRACE` for hosts and test.
    pub(crate) rust_backtrace: Option<String>,
}

/// Whether the event stream is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RecordingMode {
    /// Only its digest.
    #[default]
    Off,
    /// Kept.
    Keep,
    /// Compared with the one kept by the run before.
    Compare,
}

const NUMBERS: usize = 8;
/// The longest list of streams of one kind that are not quiet: sixty links between hosts with the longest names,
/// hundreds with usual ones. A longer one would be cut, so whoever orders it has to look.
pub(crate) const HUSH_BYTES: usize = 8 << 10;
const DISKS_BYTES: usize = 4096;
const RUST_LOG_BYTES: usize = 1024;
const RUST_BACKTRACE_BYTES: usize = 16;
/// The longest plan: a thousand faults and more. A longer one would be cut, so whoever orders it has to look.
pub(crate) const PLAN_BYTES: usize = 128 << 10;
/// Numbers, then texts, each behind its length.
pub(super) const ORDERS_BYTES: usize = 8 * (NUMBERS + 8)
    + 3 * HUSH_BYTES
    + DISKS_BYTES
    + RUST_LOG_BYTES
    + RUST_BACKTRACE_BYTES
    + PLAN_BYTES
    + PATHS_BYTES_MAX;

/// Stands for no number, and for no text.
const NONE: u64 = u64::MAX;
const CALM: u64 = 1;
const IN_DEBUGGER: u64 = 2;
const BECALMED: u64 = 4;
const QUIET_SCHEDULING: u64 = 8;
const PLAN_IS_DRAWN: u64 = 16;
const FORGETFUL: u64 = 32;
const GUARD: u64 = 64;

/// Stands for all streams.
const ALL: &str = "*";

fn hush_text(hush: &Hush) -> Option<String> {
    match hush {
        Hush::Nothing => None,
        Hush::Everything => Some(ALL.to_owned()),
        Hush::AllBut(heard) => Some(heard.iter().map(String::as_str).collect::<Vec<_>>().join(",")),
    }
}

fn hush(text: Option<&str>) -> Hush {
    match text {
        None => Hush::Nothing,
        Some(ALL) => Hush::Everything,
        Some(heard) => Hush::AllBut(heard.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()),
    }
}

impl Orders {
    pub(super) fn to_bytes(&self) -> [u8; ORDERS_BYTES] {
        let flag = |set: bool, flag: u64| if set { flag } else { 0 };
        let recording = match self.recording {
            RecordingMode::Off => 0,
            RecordingMode::Keep => 1,
            RecordingMode::Compare => 2,
        };
        let heap_record = match self.heap_record {
            None => 0,
            Some(HeapRecordUse::Keep) => 1,
            Some(HeapRecordUse::Follow) => 2,
        };
        let numbers: [u64; NUMBERS] = [
            self.seed,
            self.start_unix_ns,
            self.virtual_timeout_ns,
            self.perturb.unwrap_or(NONE),
            self.known_arguments.unwrap_or(NONE),
            recording,
            heap_record,
            flag(self.calm, CALM)
                | flag(self.in_debugger, IN_DEBUGGER)
                | flag(self.becalmed, BECALMED)
                | flag(self.quiet.scheduling, QUIET_SCHEDULING)
                | flag(self.plan_is_drawn, PLAN_IS_DRAWN)
                | flag(self.forgetful, FORGETFUL)
                | flag(self.guard, GUARD),
        ];
        let mut bytes = Bytes { bytes: [0; ORDERS_BYTES], at: 0 };
        numbers.into_iter().for_each(|number| bytes.put_number(number));
        bytes.put_text(hush_text(&self.quiet.links).as_deref(), HUSH_BYTES);
        bytes.put_text(hush_text(&self.quiet.entropy).as_deref(), HUSH_BYTES);
        bytes.put_text(hush_text(&self.quiet.calls).as_deref(), HUSH_BYTES);
        bytes.put_text(self.disks.as_deref(), DISKS_BYTES);
        bytes.put_text(self.rust_log.as_deref(), RUST_LOG_BYTES);
        bytes.put_text(self.rust_backtrace.as_deref(), RUST_BACKTRACE_BYTES);
        bytes.put_text(self.plan.as_deref(), PLAN_BYTES);
        bytes.put_text(self.arguments.as_deref(), PATHS_BYTES_MAX);
        bytes.bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; ORDERS_BYTES]) -> Self {
        let mut bytes = Bytes { bytes: *bytes, at: 0 };
        let [seed, start_unix_ns, virtual_timeout_ns, perturb, known, recording, heap_record, flags] =
            std::array::from_fn(|_| bytes.take_number());
        let [links, entropy, calls] = std::array::from_fn(|_| hush(bytes.take_text(HUSH_BYTES).as_deref()));
        Self {
            seed,
            calm: flags & CALM != 0,
            start_unix_ns,
            virtual_timeout_ns,
            recording: match recording {
                1 => RecordingMode::Keep,
                2 => RecordingMode::Compare,
                _ => RecordingMode::Off,
            },
            heap_record: match heap_record {
                1 => Some(HeapRecordUse::Keep),
                2 => Some(HeapRecordUse::Follow),
                _ => None,
            },
            in_debugger: flags & IN_DEBUGGER != 0,
            becalmed: flags & BECALMED != 0,
            quiet: Quiet { scheduling: flags & QUIET_SCHEDULING != 0, links, entropy, calls },
            plan_is_drawn: flags & PLAN_IS_DRAWN != 0,
            perturb: (perturb != NONE).then_some(perturb),
            forgetful: flags & FORGETFUL != 0,
            guard: flags & GUARD != 0,
            disks: bytes.take_text(DISKS_BYTES),
            rust_log: bytes.take_text(RUST_LOG_BYTES),
            rust_backtrace: bytes.take_text(RUST_BACKTRACE_BYTES),
            plan: bytes.take_text(PLAN_BYTES),
            arguments: bytes.take_text(PATHS_BYTES_MAX),
            known_arguments: (known != NONE).then_some(known),
        }
    }
}

struct Bytes {
    bytes: [u8; ORDERS_BYTES],
    at: usize,
}

impl Bytes {
    fn put_number(&mut self, number: u64) {
        self.bytes[self.at..self.at + 8].copy_from_slice(&number.to_le_bytes());
        self.at += 8;
    }

    fn take_number(&mut self) -> u64 {
        let number = u64::from_le_bytes(std::array::from_fn(|i| self.bytes[self.at + i]));
        self.at += 8;
        number
    }

    fn put_text(&mut self, text: Option<&str>, bytes_max: usize) {
        let fitting = text.map_or("", |text| super::fitting(text, bytes_max));
        self.put_number(if text.is_some() { fitting.len() as u64 } else { NONE });
        self.bytes[self.at..self.at + fitting.len()].copy_from_slice(fitting.as_bytes());
        self.at += bytes_max;
    }

    /// The text in a buffer of the same size whatever its length, so that it does not shift what is allocated later.
    fn take_text(&mut self, bytes_max: usize) -> Option<String> {
        let mut text = String::with_capacity(bytes_max);
        let length = self.take_number();
        let place = self.at;
        self.at += bytes_max;
        let length = usize::try_from(length).ok().filter(|length| *length <= bytes_max)?;
        text.push_str(std::str::from_utf8(&self.bytes[place..place + length]).ok()?);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given() {
        let orders = Orders {
            seed: 7,
            calm: true,
            start_unix_ns: 1,
            virtual_timeout_ns: 2,
            recording: RecordingMode::Compare,
            heap_record: Some(HeapRecordUse::Follow),
            in_debugger: true,
            becalmed: true,
            quiet: Quiet {
                scheduling: true,
                links: Hush::AllBut(["kv0->kv1".to_owned(), "kv1->kv0".to_owned()].into()),
                entropy: Hush::AllBut(["kv0".to_owned()].into()),
                calls: Hush::Everything,
            },
            perturb: Some(0),
            forgetful: true,
            guard: true,
            disks: Some("/tmp/disks".to_owned()),
            rust_log: Some("kv=trace,info".to_owned()),
            rust_backtrace: Some("full".to_owned()),
            plan: Some("1s crash kv1 restart after 2s".to_owned()),
            plan_is_drawn: true,
            arguments: Some("3s1c,,2s".to_owned()),
            known_arguments: Some(12),
        };
        assert_eq!(Orders::from_bytes(&orders.to_bytes()), orders);
        assert_eq!(Orders::from_bytes(&Orders::default().to_bytes()), Orders::default());
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        let text = "ä".repeat(600);
        let orders = Orders { rust_log: Some(text), ..Orders::default() };
        assert_eq!(Orders::from_bytes(&orders.to_bytes()).rust_log, Some("ä".repeat(512)));
    }
}
