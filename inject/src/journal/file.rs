//! One journal: a line of JSON for each thing that happened, oldest first.
//!
//! A line that does not end was being written when its writer died or the disk was full. What it announced was not done
//! then, since a change comes after its line is synced.

use super::undo::{Outcome, Undo};
use crate::process::identity::Identity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// What may stand in a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(crate) enum Line {
    /// The first one: whose journal this is.
    Opened { boot_id: String, holder: Identity },
    /// This is about to be done, and how to undo it. The same number again: it is now undone otherwise.
    Change { id: u64, undo: Undo },
    /// This is undone.
    Done { id: u64, outcome: Outcome },
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Contents {
    pub boot_id: String,
    pub holder: Identity,
    /// What is not undone yet, by number.
    pub outstanding: BTreeMap<u64, Undo>,
}

impl Line {
    /// Appends it, with one write(2). What was written of it is taken back when not all fits.
    pub(crate) fn append(&self, file: &mut File) -> io::Result<()> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        let before = file.metadata()?.len();
        let written = match file.write(text.as_bytes()) {
            Ok(count) if count == text.len() => return Ok(()),
            Ok(_) => io::Error::from(io::ErrorKind::StorageFull),
            Err(error) => error,
        };
        file.set_len(before)?;
        Err(written)
    }
}

/// Takes a line away that does not end. For whoever has the journal of a dead process and appends to it: what came
/// after such a line would be read as a part of it. (A write(2) ends at a page when its writer is killed:
/// `generic_perform_write`, mm/filemap.c.)
pub(crate) fn mend(file: &mut File) -> io::Result<()> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut text)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole < text.len() { file.set_len(whole as u64) } else { Ok(()) }
}

impl Contents {
    /// Reads a journal from its beginning. `None` if it does not even say whose it is: nothing was done then.
    pub(crate) fn read(file: &mut File) -> io::Result<Option<Self>> {
        let mut text = String::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_string(&mut text)?;
        Self::parse(&text)
    }

    pub(crate) fn parse(text: &str) -> io::Result<Option<Self>> {
        let mut contents: Option<Self> = None;
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            match (serde_json::from_str(line)?, &mut contents) {
                (Line::Opened { boot_id, holder }, contents) => {
                    *contents = Some(Self { boot_id, holder, outstanding: BTreeMap::new() });
                }
                (Line::Change { id, undo }, Some(contents)) => drop(contents.outstanding.insert(id, undo)),
                (Line::Done { id, outcome }, Some(contents)) if outcome.is_final() => {
                    contents.outstanding.remove(&id);
                }
                (Line::Done { .. }, Some(_)) => {}
                (Line::Change { .. } | Line::Done { .. }, None) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn text(lines: &[Line]) -> String {
        lines.iter().map(|line| serde_json::to_string(line).expect("JSON") + "\n").collect()
    }

    fn opened() -> Line {
        let holder = Identity { pid: 7, start_ticks: 9, pid_namespace: 1, time_namespace: 2 };
        Line::Opened { boot_id: "b".to_owned(), holder }
    }

    fn change(id: u64) -> Line {
        Line::Change { id, undo: Undo::RemoveFile { path: PathBuf::from("/x"), device: 1, inode: id } }
    }

    #[test]
    fn what_is_done_is_no_longer_outstanding_and_what_failed_is() {
        let failed = Outcome::Failed { reason: "no".to_owned() };
        let done = |id, outcome| Line::Done { id, outcome };
        let lines = [opened(), change(1), change(2), change(3), done(1, Outcome::Recovered), done(2, failed)];
        let contents = Contents::parse(&text(&lines)).expect("a journal").expect("with a holder");
        assert_eq!(contents.outstanding.keys().copied().collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_line_cut_short_was_never_acted_upon() {
        let whole = text(&[opened(), change(1)]);
        for end in whole.find('\n').expect("a line") + 1..whole.len() {
            let contents = Contents::parse(&whole[..end]).expect("a journal").expect("with a holder");
            assert!(contents.outstanding.is_empty(), "cut at {end}");
        }
        assert_eq!(Contents::parse(&whole[..20]).expect("a journal"), None);
    }

    #[test]
    fn a_full_disk_leaves_the_journal_as_it_was() {
        // /dev/full answers ENOSPC to each write(2) (full(4)).
        let mut full = File::options().append(true).open("/dev/full").expect("/dev/full");
        let error = change(1).append(&mut full).expect_err("no space");
        assert!(matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::InvalidInput), "{error}");
    }
}
