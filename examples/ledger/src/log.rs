//! The log: numbered segments, of which the last is appended to.
//!
//! Everything in a closed segment was synced before the next one was begun, so only the last one can end in a record
//! that a crash has torn. That one was never acknowledged, and is cut off.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::args::{Args, LeftOut};
use crate::directory::Directory;
use crate::record::{Checksums, Record};

/// How much a log loses that is not synced before each answer.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The end of the log.
#[derive(Debug)]
pub(crate) struct Log {
    segment: File,
    number: u64,
    bytes: u64,
    synced_at: Instant,
}

impl Log {
    /// Reads the segments, the first of which is `first`, and gives each record to `apply`, in order.
    pub(crate) fn recover(
        directory: &Directory,
        first: u64,
        segments: &[u64],
        args: &Args,
        mut apply: impl FnMut(Record),
    ) -> Result<Self> {
        for (expected, number) in (first..).zip(segments) {
            let lost = "a write that was answered or seen is lost";
            ensure!(expected == *number, "{lost}: there is segment {number}, but not {expected}");
        }
        let last = segments.last().copied().unwrap_or(first);
        let segment = OpenOptions::new().append(true).create(true).open(directory.segment(last))?;
        let mut bytes = 0;
        for number in first..=last {
            let content = fs::read(directory.segment(number))?;
            let whole = replay(&content, args, &mut apply);
            match whole {
                Ok(length) => bytes = length,
                Err((whole, damage)) if number == last => {
                    println!("segment {number}: {} bytes cut off: {damage:#}", content.len() - whole);
                    segment.set_len(whole as u64)?;
                    bytes = whole;
                }
                Err((whole, damage)) => bail!(damage.context(format!("segment {number} is damaged at byte {whole}"))),
            }
        }
        // What a killed process left may be in memory only, the segment and its name alike: who is shown it must find
        // it again after a crash.
        let step = if segments.is_empty() { LeftOut::DirectorySync } else { LeftOut::SyncAtStart };
        if !args.leaves_out(step) {
            segment.sync_all()?;
            directory.sync()?;
        }
        Ok(Self { segment, number: last, bytes: bytes as u64, synced_at: Instant::now() })
    }

    /// The number of the segment that is appended to.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Appends a record. It is on the disk when this returns, unless that is left out.
    pub(crate) fn append(&mut self, record: &[u8], args: &Args) -> Result<()> {
        self.segment.write_all(record).context("failed to append to the log")?;
        self.bytes += record.len() as u64;
        if args.leaves_out(LeftOut::SyncBeforeAnswer) && self.synced_at.elapsed() < SYNC_INTERVAL {
            return Ok(());
        }
        self.sync()
    }

    fn sync(&mut self) -> Result<()> {
        self.segment.sync_data().context("failed to sync the log")?;
        self.synced_at = Instant::now();
        Ok(())
    }

    /// Whether the segment is as long as it gets.
    pub(crate) fn is_full(&self, args: &Args) -> bool {
        self.bytes >= args.segment_bytes
    }

    /// Closes the segment and begins the next one.
    pub(crate) fn next_segment(&mut self, directory: &Directory, args: &Args) -> Result<()> {
        self.sync()?;
        let next = self.number + 1;
        self.segment = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(directory.segment(next))
            .with_context(|| format!("failed to begin segment {next}"))?;
        if !args.leaves_out(LeftOut::DirectorySync) {
            directory.sync()?;
        }
        (self.number, self.bytes) = (next, 0);
        Ok(())
    }
}

/// Reads records up to the end, and answers where that is; or where the first one begins that is damaged.
fn replay(
    content: &[u8],
    args: &Args,
    apply: &mut impl FnMut(Record),
) -> std::result::Result<usize, (usize, anyhow::Error)> {
    let checksums = if args.leaves_out(LeftOut::Checksums) { Checksums::Ignored } else { Checksums::Compared };
    let mut at = 0;
    while at < content.len() {
        let (record, length) = Record::decode(&content[at..], checksums).map_err(|damage| (at, damage.into()))?;
        apply(record);
        at += length;
    }
    Ok(at)
}
