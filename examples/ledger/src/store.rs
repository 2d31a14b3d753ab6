//! The store: what the log says, in memory.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use crate::args::Args;
use crate::directory::{Contents, Directory};
use crate::log::Log;
use crate::record::Record;
use crate::snapshot;

/// Keys and values, and the files that they are in.
///
/// Who looks sees only what is on the disk: a put takes effect after it was synced.
#[derive(Debug)]
pub(crate) struct Store {
    entries: BTreeMap<String, String>,
    directory: Directory,
    log: Log,
    args: Args,
}

impl Store {
    /// Opens the store, and recovers what is in it.
    pub(crate) fn open(args: &Args) -> Result<Self> {
        let directory = Directory::open(&args.directory)
            .with_context(|| format!("failed to open the directory {}", args.directory.display()))?;
        let contents = directory.contents()?;
        for unfinished in &contents.unfinished {
            fs::remove_file(unfinished)?;
        }
        let (first, mut entries) = match contents.snapshots.last() {
            Some(number) => (*number, snapshot::read(&directory, *number)?),
            None => (1, BTreeMap::new()),
        };
        remove_before(&directory, &contents, first)?;
        let segments: Vec<u64> = contents.segments.into_iter().filter(|number| *number >= first).collect();
        let from_snapshot = entries.len();
        let log = Log::recover(&directory, first, &segments, args, |record| {
            entries.insert(record.key, record.value);
        })?;
        println!(
            "{} entries, {from_snapshot} of them from a snapshot; segments {first}-{}",
            entries.len(),
            log.number()
        );
        Ok(Self { entries, directory, log, args: args.clone() })
    }

    /// Stores a value; `Ok` when it is on the disk.
    ///
    /// After an error nobody knows what is on the disk, and a second sync would not tell: it may succeed without what
    /// the first one failed to write (<https://wiki.postgresql.org/wiki/Fsync_Errors>). Whoever gets one has to start
    /// again.
    pub(crate) fn put(&mut self, key: String, value: String) -> Result<()> {
        let record = Record { key, value };
        self.log.append(&record.encode()?, &self.args)?;
        self.entries.insert(record.key, record.value);
        if self.log.is_full(&self.args) {
            self.log.next_segment(&self.directory, &self.args)?;
            self.compact()?;
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&String> {
        self.entries.get(key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    /// Puts a snapshot in the place of closed segments, when there are many.
    fn compact(&mut self) -> Result<()> {
        let open = self.log.number();
        let contents = self.directory.contents()?;
        let closed = contents.segments.iter().filter(|number| **number < open).count();
        if (closed as u64) < self.args.segments_max {
            return Ok(());
        }
        snapshot::write(&self.directory, open, &self.entries, &self.args).context("failed to write a snapshot")?;
        remove_before(&self.directory, &contents, open)
    }
}

/// Removes what a snapshot stands for. A crash may bring it back, until the directory is synced for another reason;
/// then it is removed again.
fn remove_before(directory: &Directory, contents: &Contents, number: u64) -> Result<()> {
    let snapshots = contents.snapshots.iter().filter(|old| **old < number).map(|old| directory.snapshot(*old));
    let segments = contents.segments.iter().filter(|old| **old < number).map(|old| directory.segment(*old));
    for path in segments.chain(snapshots) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::fs::OpenOptions;
    use std::path::Path;

    fn args(directory: &Path) -> Args {
        let directory = directory.to_str().expect("valid text");
        Args::parse_from(["ledger", "--directory", directory, "--segment-bytes", "200", "--segments-max", "3"])
    }

    fn put(store: &mut Store, numbers: std::ops::Range<u32>) {
        for number in numbers {
            store.put(format!("key{}", number % 7), format!("value {number}")).expect("written");
        }
    }

    fn newest_segment(store: &Store) -> std::path::PathBuf {
        store.directory.segment(store.log.number())
    }

    #[test]
    fn everything_is_there_again_after_each_of_many_starts() {
        let scratch = tempfile::tempdir().expect("the directory for temporary files is writable");
        let mut expected = BTreeMap::new();
        for start in 0..20 {
            let mut store = Store::open(&args(scratch.path())).expect("opened");
            assert_eq!(store.entries, expected, "start {start}");
            put(&mut store, start * 10..start * 10 + 10);
            expected = store.entries;
        }
        let contents = Directory::open(scratch.path()).expect("there").contents().expect("read");
        assert_eq!(contents.snapshots.len(), 1);
        assert!(contents.segments.len() <= 4, "{contents:?}");
    }

    #[test]
    fn a_torn_record_at_the_end_is_cut_off_and_written_over() {
        let scratch = tempfile::tempdir().expect("the directory for temporary files is writable");
        let mut store = Store::open(&args(scratch.path())).expect("opened");
        put(&mut store, 0..3);
        let (path, expected) = (newest_segment(&store), store.entries);
        let file = OpenOptions::new().write(true).open(&path).expect("there");
        file.set_len(file.metadata().expect("there").len() - 1).expect("cut");

        let mut store = Store::open(&args(scratch.path())).expect("opened");
        assert_eq!(store.entries.len(), expected.len() - 1);
        put(&mut store, 2..3);
        let store = Store::open(&args(scratch.path())).expect("opened");
        assert_eq!(store.entries, expected);
    }

    #[test]
    fn damage_that_no_crash_can_do_is_refused() {
        let scratch = tempfile::tempdir().expect("the directory for temporary files is writable");
        let mut store = Store::open(&args(scratch.path())).expect("opened");
        put(&mut store, 0..20);
        let oldest = store.directory.contents().expect("read").segments[0];
        assert!(oldest < store.log.number());
        let path = store.directory.segment(oldest);
        let mut content = fs::read(&path).expect("there");
        content[20] ^= 1;
        fs::write(&path, &content).expect("written");
        let refusal = Store::open(&args(scratch.path())).expect_err("damaged").to_string();
        assert!(refusal.contains(&format!("segment {oldest} is damaged")), "{refusal}");

        fs::remove_file(&path).expect("there");
        let refusal = Store::open(&args(scratch.path())).expect_err("a segment is missing").to_string();
        assert!(refusal.contains(&format!("but not {oldest}")), "{refusal}");
    }
}
