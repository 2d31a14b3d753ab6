//! The memory of the flight recorder: where it lies, and what lies where in it.

use super::RecordingMode;
use super::events::Recording;
use super::findings::Findings;
use super::orders::{ORDERS_BYTES, Orders};
use super::progress::{PROGRESS_WORDS, Progress};
use super::tape::{TAPE_WORDS, Tape};
use crate::system::{Mapping, Region};
use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use windtunnel_sim::world::HeapRecordUse;

/// Where the worker maps it: 16 TiB, far below the executable (`0x5555…`) and the libraries (`0x7fff…`) of a process
/// without address randomisation.
const WORKER_ADDRESS: usize = 0x1000_0000_0000;

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

// One part after the other. Sparse: a page costs memory once it is written.
const PROGRESS: usize = 0;
const TAPE_MARKS: usize = PAGE;
const LENGTHS: usize = 2 * PAGE;
const ORDERS: usize = 3 * PAGE;
const TAPE: usize = 64 * PAGE;
const TAPE_BYTES: usize = 64 * MIB;
const FINDINGS: usize = TAPE + TAPE_BYTES;
const FINDINGS_BYTES: usize = 16 * MIB;
const RECORDING: usize = FINDINGS + FINDINGS_BYTES;
/// About six million events.
const RECORDING_BYTES: usize = 512 * MIB;
const HEAP_RECORD: usize = RECORDING + RECORDING_BYTES;
/// About forty million allocations.
const HEAP_RECORD_BYTES: usize = 1024 * MIB;
const BOX_BYTES: usize = HEAP_RECORD + HEAP_RECORD_BYTES;

const _: () = assert!(PROGRESS_WORDS * 8 <= PAGE && TAPE_WORDS * 8 <= PAGE && ORDERS + ORDERS_BYTES <= TAPE);

/// A flight recorder.
#[derive(Debug)]
pub(crate) struct BlackBox {
    mapping: Mapping,
}

impl BlackBox {
    /// Makes a new one, for the supervisor; the file is for the worker.
    pub(crate) fn create() -> io::Result<(Self, File)> {
        let (mapping, file) = Mapping::create(BOX_BYTES)?;
        Ok((Self { mapping }, file))
    }

    /// Maps the supervisor's, for the worker.
    pub(crate) fn open(fd: RawFd) -> io::Result<Self> {
        Ok(Self { mapping: Mapping::open(fd, WORKER_ADDRESS, BOX_BYTES)? })
    }

    fn part(&self, offset: usize, bytes: usize) -> Region<'_> {
        self.mapping.region().part(offset, bytes)
    }

    /// Bytes written to findings and recording.
    fn lengths(&self) -> &[AtomicU64; 2] {
        self.part(LENGTHS, PAGE).words()
    }

    /// What the case shall do.
    pub(crate) fn orders(&self) -> Orders {
        let mut bytes = [0; ORDERS_BYTES];
        self.part(ORDERS, ORDERS_BYTES).read(0, &mut bytes);
        Orders::from_bytes(&bytes)
    }

    /// Forgets the last case and gives orders for the next. The recording is kept when the next case is to be compared
    /// with it. No case may be running.
    pub(crate) fn prepare(&self, orders: &Orders) {
        let [findings, recording] = self.lengths();
        self.give_back(TAPE, self.tape().used(), TAPE_BYTES);
        self.give_back(FINDINGS, findings.swap(0, Ordering::AcqRel), FINDINGS_BYTES);
        if orders.recording != RecordingMode::Compare {
            self.give_back(RECORDING, recording.swap(0, Ordering::AcqRel), RECORDING_BYTES);
        }
        if orders.heap_record == Some(HeapRecordUse::Keep) {
            let used_words = windtunnel_sim::world::heap_record_words(self.heap_record());
            self.part(HEAP_RECORD, HEAP_RECORD_BYTES).clear(used_words * 8);
        }
        self.tape().reset();
        self.progress().reset();
        self.part(ORDERS, ORDERS_BYTES).write(0, &orders.to_bytes());
    }

    /// Gives memory back that a case with much to say has used.
    fn give_back(&self, offset: usize, used: u64, bytes: usize) {
        // Fits: it was written into a region of `usize` bytes.
        let used = used as usize;
        if used > MIB {
            // What is refused costs memory, no more: nobody reads past what has been written.
            let _: bool = self.part(offset, bytes).discard(used);
        }
    }

    pub(crate) fn progress(&self) -> Progress<'_> {
        Progress::new(self.part(PROGRESS, PAGE).words())
    }

    pub(crate) fn tape(&self) -> Tape<'_> {
        Tape::new(self.part(TAPE_MARKS, PAGE).words(), self.part(TAPE, TAPE_BYTES))
    }

    pub(crate) fn findings(&self) -> Findings<'_> {
        Findings::new(&self.lengths()[0], self.part(FINDINGS, FINDINGS_BYTES))
    }

    /// What programs' heaps gave in a run, for the next.
    pub(crate) fn heap_record(&self) -> &[AtomicU64] {
        self.part(HEAP_RECORD, HEAP_RECORD_BYTES).words::<{ HEAP_RECORD_BYTES / 8 }>()
    }

    pub(crate) fn recording(&self) -> Recording<'_> {
        Recording::new(&self.lengths()[1], self.part(RECORDING, RECORDING_BYTES))
    }
}
