//! Bytes of many hosts become lines with times.

use crate::blackbox::{At, Kind, Record};
use std::collections::BTreeMap;

/// A line of a host's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// When its first byte was written.
    pub(crate) at: At,
    pub(crate) host: String,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// Puts lines together that were written in pieces.
#[derive(Debug, Default)]
pub(crate) struct LineAssembler {
    // Keyed by the stream's name so that the order does not depend on a hash.
    unfinished: BTreeMap<(String, bool), (At, Vec<u8>)>,
}

/// A line longer than this is cut: a program may write without ever ending a line.
const LINE_BYTES_MAX: usize = 16 << 10;

impl LineAssembler {
    /// Takes what was written, gives the lines that are whole now.
    pub(crate) fn feed(&mut self, record: &Record) -> Vec<Line> {
        let line = |at, bytes: &[u8]| Line {
            at,
            host: record.host.clone(),
            kind: record.kind,
            text: String::from_utf8_lossy(bytes).trim_end_matches('\r').to_owned(),
        };
        if record.kind == Kind::Note {
            return vec![line(record.at, &record.bytes)];
        }
        let key = (record.host.clone(), record.kind == Kind::ErrorOutput);
        let (mut at, mut bytes) = self.unfinished.remove(&key).unwrap_or((record.at, Vec::new()));
        let mut lines = Vec::new();
        for piece in record.bytes.split_inclusive(|byte| *byte == b'\n') {
            bytes.extend_from_slice(piece);
            if bytes.last() == Some(&b'\n') || bytes.len() > LINE_BYTES_MAX {
                lines.push(line(at, bytes.strip_suffix(b"\n").unwrap_or(&bytes)));
                at = record.at;
                bytes.clear();
            }
        }
        if !bytes.is_empty() {
            self.unfinished.insert(key, (at, bytes));
        }
        lines
    }

    /// The lines that were never ended.
    pub(crate) fn finish(self) -> Vec<Line> {
        let mut lines: Vec<Line> = self
            .unfinished
            .into_iter()
            .map(|((host, error), (at, bytes))| Line {
                at,
                host,
                kind: if error { Kind::ErrorOutput } else { Kind::Output },
                text: String::from_utf8_lossy(&bytes).into_owned(),
            })
            .collect();
        lines.sort_by_key(|line| line.at.event);
        lines
    }
}

/// Everything that hosts wrote and that happened to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// In the order of their times.
    pub(crate) lines: Vec<Line>,
    /// Bytes at the beginning that were not kept.
    pub(crate) dropped_bytes: u64,
}

impl Log {
    pub(crate) fn new(records: &[Record], dropped_bytes: u64) -> Self {
        let mut assembler = LineAssembler::default();
        let mut lines: Vec<Line> = records.iter().flat_map(|record| assembler.feed(record)).collect();
        lines.extend(assembler.finish());
        // A real host's output comes through pipes, each with a reader of its own. What is equally old stays in order.
        lines.sort_by_key(|line| (line.at.now_ns, line.at.event));
        Self { lines, dropped_bytes }
    }

    /// The hosts, in the order in which they first appear.
    pub(crate) fn hosts(&self) -> Vec<&str> {
        let mut hosts: Vec<&str> = Vec::new();
        for line in &self.lines {
            if !line.host.is_empty() && !hosts.contains(&line.host.as_str()) {
                hosts.push(&line.host);
            }
        }
        hosts
    }

    /// A host's lines.
    pub(crate) fn of<'a>(&'a self, host: &'a str) -> impl DoubleEndedIterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.host == host)
    }

    /// The hosts whose program had started, and not ended, when the log did: by what was noted of them.
    pub(crate) fn up(&self) -> Vec<&str> {
        let is_end = |text: &str| {
            let ends = ["killed", "crashed", "exited with code", "was killed by signal"];
            ends.iter().any(|end| text.starts_with(end))
        };
        let is_up = |host: &&str| {
            let mut notes = self.of(host).filter(|line| line.kind == Kind::Note);
            notes.rfind(|line| line.text == "started" || is_end(&line.text)).is_some_and(|line| !is_end(&line.text))
        };
        self.hosts().into_iter().filter(is_up).collect()
    }

    /// What the last panic on a host said, as std's hook prints it: place and message.
    pub(crate) fn last_panic(&self, host: &str) -> Option<(String, String)> {
        let lines: Vec<&str> =
            self.of(host).filter(|line| line.kind != Kind::Note).map(|line| line.text.as_str()).collect();
        let header = lines.iter().rposition(|line| {
            line.starts_with("thread '") && line.contains("' panicked at ")
                || line.starts_with("thread '") && line.contains(") panicked at ")
        })?;
        let (_, place) = lines[header].split_once("panicked at ")?;
        let is_end =
            |line: &&&str| line.starts_with("note: run with `RUST_BACKTRACE") || line.starts_with("stack backtrace:");
        let message: Vec<&str> = lines[header + 1..].iter().take_while(|line| !is_end(line)).take(5).copied().collect();
        Some((place.trim_end_matches(':').to_owned(), message.join("\n").trim().to_owned()))
    }
}

/// A line as it is shown while a case runs.
pub(crate) fn live(line: &Line) -> String {
    let mark = if line.kind == Kind::Note { '*' } else { '|' };
    format!("{:>12} {:>8} {mark} {}", super::seconds(line.at.now_ns), line.host, line.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(event: u64, host: &str, kind: Kind, text: &str) -> Record {
        Record {
            at: At { event, now_ns: event * 1_000_000 },
            kind,
            host: host.to_owned(),
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn texts(log: &Log) -> Vec<(u64, &str)> {
        log.lines.iter().map(|line| (line.at.event, line.text.as_str())).collect()
    }

    #[test]
    fn lines_written_in_pieces_are_put_together_per_host_and_stream() {
        let records = [
            record(1, "a", Kind::Output, "hel"),
            record(2, "b", Kind::Output, "other\n"),
            record(3, "a", Kind::ErrorOutput, "error\n"),
            record(4, "a", Kind::Output, "lo\r\nnext\nunfinished"),
            record(5, "a", Kind::Note, "crashed"),
        ];
        let log = Log::new(&records, 0);
        assert_eq!(
            texts(&log),
            [(1, "hello"), (2, "other"), (3, "error"), (4, "next"), (4, "unfinished"), (5, "crashed")]
        );
        assert_eq!(log.hosts(), ["a", "b"]);
    }

    #[test]
    fn who_has_started_and_not_ended_is_up() {
        let note = |event, host, text| record(event, host, Kind::Note, text);
        let records = [
            note(1, "a", "started"),
            note(2, "b", "started"),
            note(3, "c", "started"),
            note(4, "test", "phase inject"),
            note(5, "b", "exited with code 3"),
            note(6, "c", "killed"),
            note(7, "c", "started"),
            note(8, "c", "asked to stop"),
        ];
        assert_eq!(Log::new(&records, 0).up(), ["a", "c"]);
    }

    #[test]
    fn a_panic_is_found_in_what_a_host_wrote() {
        let printed =
            "\nthread 'main' (17) panicked at src/lib.rs:3:5:\nno quorum:\n1 of 3\nnote: run with `RUST_BACKTRACE=1`\n";
        let log = Log::new(&[record(1, "kv0", Kind::ErrorOutput, printed)], 0);
        assert_eq!(log.last_panic("kv0"), Some(("src/lib.rs:3:5".to_owned(), "no quorum:\n1 of 3".to_owned())));
        assert_eq!(log.last_panic("kv1"), None);
    }

    #[test]
    fn what_is_shown_live_has_time_and_host() {
        let line = Line {
            at: At { event: 9, now_ns: 1_204_000_000 },
            host: "kv0".into(),
            kind: Kind::Output,
            text: "up".into(),
        };
        assert_eq!(live(&line), "     1.204 s      kv0 | up");
    }
}
