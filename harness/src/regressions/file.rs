//! `chaos-regressions/<target>/<test>.toml`: one committed file per test, so that there are no merge conflicts between
//! tests and none replays another's cases.
//!
//! People may write in it: comments, keys and tables that are not known here are kept. Entries are added at the end and
//! never sorted, so that a change of the file is a change of what it says.

use super::entry::{ENTRIES, Entry, near_miss};
use crate::definition::TestDefinition;
use crate::document::{FileError, Source, offset};
use crate::package;
use crate::settings::SaveSetting;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Table};

/// Below the package's directory.
const DIRECTORY: &str = "chaos-regressions";

/// The file of a test, which need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Regressions {
    path: PathBuf,
    /// The path as people see it.
    shown: String,
    /// The test's path with its crate, for the header.
    test: String,
}

/// Whether what was found may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saving {
    Write,
    Print,
}

impl Saving {
    /// On CI nobody commits what a test wrote, so that it is printed, to be copied.
    pub(crate) fn of(setting: SaveSetting, ci: bool) -> Self {
        match setting {
            SaveSetting::Always => Self::Write,
            SaveSetting::Auto if !ci => Self::Write,
            SaveSetting::Auto | SaveSetting::Never => Self::Print,
        }
    }
}

/// What came of an entry that was to be saved. Paths are as people see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Saved {
    /// It is in this file now.
    Written(String),
    /// This file has an entry of the same identity with no more faults, or the very same one.
    Known(String),
    /// It is in no file; this is to be shown, from one scissors line to the other.
    Printed(String),
}

impl Regressions {
    /// The file of this test, below the package's directory.
    pub(crate) fn of(definition: &TestDefinition) -> Self {
        Self::below(&package::directory(), &definition.binary(), definition.name(), definition.path)
    }

    pub(super) fn below(package: &Path, target: &str, name: &str, test: &str) -> Self {
        let path = package.join(DIRECTORY).join(target).join(format!("{}.toml", name.replace("::", ".")));
        Self { shown: package::shown(package, &path), path, test: test.to_owned() }
    }

    /// Where it is, for people.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Its entries; none when there is no file.
    pub(crate) fn read(&self) -> Result<Vec<Entry>, FileError> {
        match self.content()? {
            Some(text) => entries(&Source { file: &self.shown, text: &text }),
            None => Ok(Vec::new()),
        }
    }

    /// Adds an entry, or puts it in the place of one of the same identity: of one that has more faults, and of one of
    /// `dodged`, the entries that no longer fail.
    pub(crate) fn save(&self, entry: &Entry, dodged: &[Entry], saving: Saving) -> Result<Saved, FileError> {
        let content = self.content()?;
        let source = Source { file: &self.shown, text: content.as_deref().unwrap_or_default() };
        let Some(updated) = updated(&source, &self.test, entry, dodged)? else {
            return Ok(Saved::Known(self.shown.clone()));
        };
        if saving == Saving::Print {
            return Ok(Saved::Printed(self.scissors(entry, content.is_none(), "")));
        }
        match write_whole(&self.path, &updated) {
            Ok(()) => Ok(Saved::Written(self.shown.clone())),
            // A read-only tree, most of the time. Whatever it is, what was found must not be lost.
            Err(error) => {
                let reason = format!("({error}, so that it is printed instead)\n");
                Ok(Saved::Printed(self.scissors(entry, content.is_none(), &reason)))
            }
        }
    }

    fn content(&self) -> Result<Option<String>, FileError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(unreadable(&self.shown, &error)),
        }
    }

    fn scissors(&self, entry: &Entry, is_new: bool, reason: &str) -> String {
        let header = if is_new { header(&self.test) } else { String::new() };
        format!("{reason}---- 8< ---- {} ----\n{header}\n{}---- >8 ----\n", self.shown, entry.text())
    }
}

pub(super) fn unreadable(file: &str, error: &io::Error) -> FileError {
    FileError { file: file.to_owned(), line: None, message: format!("it cannot be read: {error}") }
}

/// What the file says to people.
fn header(test: &str) -> String {
    format!(
        "# Failing cases of {test}, found by windtunnel and replayed before it looks for new ones.\n\
         # Commit this file. Delete an entry when its bug is gone for good.\n"
    )
}

/// The entries of a file.
pub(super) fn entries(source: &Source<'_>) -> Result<Vec<Entry>, FileError> {
    let document = source.parse()?;
    near_miss(document.as_table(), &[ENTRIES], source)?;
    match document.as_table().get_key_value(ENTRIES) {
        None => Ok(Vec::new()),
        Some((_, Item::ArrayOfTables(tables))) => tables.iter().map(|table| Entry::read(table, source)).collect(),
        Some((key, item)) => {
            let message = format!("entries are written as tables, each below a line `[[{ENTRIES}]]`");
            Err(source.error(offset(Some(key), item), message))
        }
    }
}

/// The file's new text; nothing when it knows the failure.
pub(super) fn updated(
    source: &Source<'_>,
    test: &str,
    entry: &Entry,
    dodged: &[Entry],
) -> Result<Option<String>, FileError> {
    let old = entries(source)?;
    let same_identity = |old: &&Entry| old.identity.is_some() && old.identity == entry.identity;
    let is_worse = |old: &Entry| {
        old.plan.faults.len() > entry.plan.faults.len() || (dodged.contains(old) && !old.is_same_case(entry))
    };
    let mut same = (0..).zip(&old).filter(|(_, old)| same_identity(old) || old.is_same_case(entry)).peekable();
    if same.peek().is_none() {
        return Ok(Some(appended(source.text, test, entry)));
    }
    match same.find(|(_, old)| is_worse(old)) {
        None => Ok(None),
        Some((place, _)) => replaced(source, place, entry).map(Some),
    }
}

fn appended(text: &str, test: &str, entry: &Entry) -> String {
    let text = if text.trim().is_empty() { header(test) } else { text.to_owned() };
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{end}\n{}", entry.text())
}

/// The text with other values in an entry, and everything else as it was.
fn replaced(source: &Source<'_>, place: usize, entry: &Entry) -> Result<String, FileError> {
    let mut document: DocumentMut = source.parse()?.into_mut();
    let tables = document.get_mut(ENTRIES).and_then(Item::as_array_of_tables_mut);
    if let Some(table) = tables.and_then(|tables| tables.get_mut(place)) {
        put(table, entry);
    }
    Ok(document.to_string())
}

fn put(table: &mut Table, entry: &Entry) {
    if entry.digest.is_none() {
        table.remove("digest");
    }
    if entry.arguments.is_empty() {
        table.remove("arguments");
    }
    for (key, mut value) in entry.values() {
        match table.get_mut(key) {
            Some(item) => {
                // What stands around a value: spaces, and a comment at the line's end.
                if let Some(old) = item.as_value() {
                    *value.decor_mut() = old.decor().clone();
                }
                *item = Item::Value(value);
            }
            None => {
                table.insert(key, Item::Value(value));
            }
        }
    }
}

/// Writes a file so that whoever reads it sees the old text or the new one, whole.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Beside it: a rename is atomic within one file system only (rename(2)).
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // It may not even exist; the error that is told is the first one.
        let _: io::Result<()> = fs::remove_file(&temporary);
    })
}

impl Entry {
    fn is_same_case(&self, other: &Self) -> bool {
        (self.seed, self.calm, &self.plan, &self.arguments) == (other.seed, other.calm, &other.plan, &other.arguments)
    }
}
