//! Snapshots: all entries in one file, in place of the segments that they were in.
//!
//! Records, then how many there are (u32) and a checksum of all that (u32). A snapshot is written under another name,
//! synced, renamed, and the directory synced: under its own name it is whole or not there. So a damaged one is no
//! crash's doing, and nothing to go on with: the segments that it stands for are gone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;

use anyhow::{Context, Result, ensure};

use crate::args::{Args, LeftOut};
use crate::directory::Directory;
use crate::record::{Checksums, Record};

/// Count and checksum.
const TRAILER_BYTES: usize = 8;

/// Writes a snapshot of what all segments before `number` have.
pub(crate) fn write(directory: &Directory, number: u64, entries: &BTreeMap<String, String>, args: &Args) -> Result<()> {
    let mut bytes = Vec::new();
    for (key, value) in entries {
        bytes.extend(Record { key: key.clone(), value: value.clone() }.encode()?);
    }
    bytes.extend(u32::try_from(entries.len())?.to_le_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());

    let unfinished = directory.unfinished_snapshot(number);
    let mut file = File::create(&unfinished)?;
    file.write_all(&bytes)?;
    if !args.leaves_out(LeftOut::SnapshotSync) {
        file.sync_all()?;
    }
    fs::rename(&unfinished, directory.snapshot(number))?;
    directory.sync()?;
    Ok(())
}

/// Reads it back.
pub(crate) fn read(directory: &Directory, number: u64) -> Result<BTreeMap<String, String>> {
    let path = directory.snapshot(number);
    let bytes = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
    decode(&bytes).with_context(|| format!("{} is damaged", path.display()))
}

fn decode(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let checked = bytes.len().checked_sub(TRAILER_BYTES).context("it is cut off")?;
    let (mut records, trailer) = bytes.split_at(checked);
    let (count, checksum) = trailer.split_first_chunk::<4>().context("it is cut off")?;
    ensure!(crc32fast::hash(&bytes[..checked + 4]).to_le_bytes() == checksum, "its checksum is another one");
    let mut entries = BTreeMap::new();
    while !records.is_empty() {
        let (record, length) = Record::decode(records, Checksums::Compared)?;
        entries.insert(record.key, record.value);
        records = &records[length..];
    }
    ensure!(entries.len() == u32::from_le_bytes(*count) as usize, "it has not as many records as it says");
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn a_snapshot_is_read_back_and_a_damaged_one_is_refused() {
        let scratch = tempfile::tempdir().expect("the directory for temporary files is writable");
        let directory = Directory::open(scratch.path()).expect("made");
        let entries: BTreeMap<_, _> = (0..100).map(|n| (format!("k{n}"), "v".repeat(n))).collect();
        write(&directory, 7, &entries, &Args::parse_from(["ledger"])).expect("written");
        assert_eq!(read(&directory, 7).expect("whole"), entries);

        let whole = fs::read(directory.snapshot(7)).expect("there");
        for damaged in [&whole[..0], &whole[..whole.len() - 1], &vec![0; whole.len()]] {
            assert!(decode(damaged).is_err());
        }
    }
}
