//! `cases.jsonl`: what came of each case of a test's last run, one line of JSON each, for scripts.

use crate::blackbox::At;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A line, in the order in which its fields are written.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    /// As `CHAOS_SEED` takes it.
    seed: String,
    outcome: &'static str,
    /// Hexadecimal. A case whose process died has none.
    digest: Option<String>,
    events: u64,
    virtual_ns: u64,
    /// What it took in real time; the only field that is not equal in every run.
    real_us: u64,
    /// The first line of what went wrong.
    failure: Option<String>,
    /// The digest of the run that logged more, when that was another run.
    digest_when_logged: Option<String>,
}

impl Entry {
    pub(crate) fn new(seed: String, sentence: Option<&str>, digest: Option<u128>, at: At, took: Duration) -> Self {
        Self {
            seed,
            outcome: if sentence.is_none() { "passed" } else { "failed" },
            digest: digest.map(|digest| format!("{digest:032x}")),
            events: at.event,
            virtual_ns: at.now_ns,
            real_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            failure: sentence.and_then(|sentence| sentence.lines().next()).map(str::to_owned),
            digest_when_logged: None,
        }
    }

    /// Adds that the run that logged more was another.
    pub(crate) fn when_logged(self, digest: Option<String>) -> Self {
        Self { digest_when_logged: digest, ..self }
    }
}

/// The file, which is begun anew with each run. Cases that run at the same time stand in it as they end.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// None when it cannot be written, which is said once.
    file: Option<Mutex<File>>,
}

impl Ledger {
    /// Begins the file in a directory, which is made when it is not there.
    pub(crate) fn begin(directory: &Path) -> Self {
        let begun = std::fs::create_dir_all(directory).and_then(|()| File::create(directory.join("cases.jsonl")));
        let file = begun.map_err(|error| eprintln!("failed to write {}/cases.jsonl: {error}", directory.display()));
        Self { file: file.ok().map(Mutex::new) }
    }

    /// One that is not kept.
    pub(crate) fn nowhere() -> Self {
        Self { file: None }
    }

    /// Adds a line.
    pub(crate) fn add(&self, entry: &Entry) {
        let Some(file) = &self.file else { return };
        let line = || -> io::Result<Vec<u8>> { Ok([&serde_json::to_vec(entry)?[..], b"\n"].concat()) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // As a whole, so that a reader never sees half a line. A disk that is full by now spoils the file, not the
        // test.
        let _: io::Result<()> = line().and_then(|line| file.write_all(&line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_is_a_line() {
        let directory = tempfile::tempdir().expect("the system's directory for temporary files is writable");
        let ledger = Ledger::begin(directory.path());
        let at = At { event: 1204, now_ns: 5_961_000_000 };
        ledger.add(&Entry::new("calm:0x5f1d".to_owned(), None, Some(0xabc), at, Duration::from_millis(7)));
        ledger.add(&Entry::new("0x5f1d".to_owned(), Some("deadlock: \"all\"\n  wait"), None, at, Duration::ZERO));
        let lines = std::fs::read_to_string(directory.path().join("cases.jsonl")).expect("it was written");
        let [passed, failed] = lines.lines().collect::<Vec<_>>()[..] else { panic!("two cases, two lines: {lines}") };
        assert!(passed.starts_with(r#"{"seed":"calm:0x5f1d","outcome":"passed","digest":"0000"#), "{passed}");
        let numbers =
            r#"abc","events":1204,"virtual_ns":5961000000,"real_us":7000,"failure":null,"digest_when_logged":null}"#;
        assert!(passed.ends_with(numbers), "{passed}");
        assert!(failed.starts_with(r#"{"seed":"0x5f1d","outcome":"failed","digest":null,"#), "{failed}");
        let failure = r#""failure":"deadlock: \"all\"","digest_when_logged":null}"#;
        assert!(failed.ends_with(failure), "{failed}");
    }
}
