//! What hosts wrote and what happened to them, in order. When the tape is full its oldest records are dropped, and
//! counted.

use super::At;
use crate::system::Region;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Written to standard output.
    Output,
    /// Written to standard error.
    ErrorOutput,
    /// Said by the kernel about a host: started, crashed, cut off.
    Note,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Output => 1,
            Self::ErrorOutput => 2,
            Self::Note => 3,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Output,
            2 => Self::ErrorOutput,
            _ => Self::Note,
        }
    }
}

/// A record to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordRef<'a> {
    pub(crate) at: At,
    pub(crate) kind: Kind,
    pub(crate) host: &'a str,
    pub(crate) bytes: &'a [u8],
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) at: At,
    pub(crate) kind: Kind,
    pub(crate) host: String,
    pub(crate) bytes: Vec<u8>,
}

/// How much has been written and dropped since the case began. Offsets never wrap: 2^64 bytes are never written.
pub(super) const TAPE_WORDS: usize = 3;

/// The tape.
#[derive(Clone, Copy)]
pub(crate) struct Tape<'b> {
    start: &'b AtomicU64,
    end: &'b AtomicU64,
    dropped: &'b AtomicU64,
    region: Region<'b>,
}

/// What stands before a record: event, time, length of the text, length of the host's name, kind.
const HEAD_BYTES: usize = 8 + 8 + 4 + 1 + 1;

struct Head {
    at: At,
    text: usize,
    host: usize,
    kind: Kind,
}

impl Head {
    fn to_bytes(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&self.at.event.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.at.now_ns.to_le_bytes());
        // Lossless: a text is at most a quarter of the tape, a host's name at most 255 bytes.
        bytes[16..20].copy_from_slice(&(self.text as u32).to_le_bytes());
        bytes[20] = self.host as u8;
        bytes[21] = self.kind.code();
        bytes
    }

    fn from_bytes(bytes: &[u8; HEAD_BYTES]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let text = u32::from_le_bytes(std::array::from_fn(|i| bytes[16 + i]));
        let at = At { event: word(0), now_ns: word(8) };
        Self { at, text: text as usize, host: usize::from(bytes[20]), kind: Kind::from_code(bytes[21]) }
    }

    fn total(&self) -> u64 {
        (HEAD_BYTES + self.host + self.text) as u64
    }
}

impl<'b> Tape<'b> {
    pub(super) fn new(marks: &'b [AtomicU64; TAPE_WORDS], region: Region<'b>) -> Self {
        let [start, end, dropped] = marks;
        Self { start, end, dropped, region }
    }

    /// Forgets everything.
    pub(super) fn reset(&self) {
        [self.start, self.end, self.dropped].into_iter().for_each(|mark| mark.store(0, Ordering::Release));
    }

    /// Bytes of the region in use.
    pub(super) fn used(&self) -> u64 {
        self.end.load(Ordering::Acquire).min(self.region.len() as u64)
    }

    /// Bytes of output that did not fit.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Acquire)
    }

    /// Writes a record, dropping the oldest when there is no room. Of a text longer than a quarter of the tape only the
    /// end is kept.
    pub(crate) fn append(&self, record: RecordRef<'_>) {
        let _only = super::only_writer();
        let host = super::fitting(record.host, usize::from(u8::MAX));
        let cut = record.bytes.len().saturating_sub(self.region.len() / 4);
        let text = &record.bytes[cut..];
        let head = Head { at: record.at, text: text.len(), host: host.len(), kind: record.kind };
        let mut start = self.start.load(Ordering::Relaxed);
        let end = self.end.load(Ordering::Relaxed);
        let mut dropped = cut as u64;
        while end + head.total() - start > self.region.len() as u64 {
            let oldest = self.head(start);
            start += oldest.total();
            dropped += oldest.text as u64;
        }
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        // A reader that sees any byte written below must also see that what stood there is gone (see
        // `TapeReader::next`).
        self.start.store(start, Ordering::Relaxed);
        fence(Ordering::Release);
        self.write(end, &head.to_bytes());
        self.write(end + HEAD_BYTES as u64, host.as_bytes());
        self.write(end + (HEAD_BYTES + host.len()) as u64, text);
        self.end.store(end + head.total(), Ordering::Release);
    }

    fn head(&self, offset: u64) -> Head {
        let mut bytes = [0; HEAD_BYTES];
        self.read(offset, &mut bytes);
        Head::from_bytes(&bytes)
    }

    fn write(&self, offset: u64, from: &[u8]) {
        let at = (offset % self.region.len() as u64) as usize;
        let (first, rest) = from.split_at(from.len().min(self.region.len() - at));
        self.region.write(at, first);
        self.region.write(0, rest);
    }

    fn read(&self, offset: u64, into: &mut [u8]) {
        let at = (offset % self.region.len() as u64) as usize;
        let first = into.len().min(self.region.len() - at);
        let (first, rest) = into.split_at_mut(first);
        self.region.read(at, first);
        self.region.read(0, rest);
    }
}

/// Reads a tape from its beginning, also while it is being written.
#[derive(Debug, Default)]
pub(crate) struct TapeReader {
    next: u64,
}

impl TapeReader {
    /// The next record that is still there.
    pub(crate) fn next(&mut self, tape: &Tape<'_>) -> Option<Record> {
        loop {
            self.next = self.next.max(tape.start.load(Ordering::Acquire));
            if self.next >= tape.end.load(Ordering::Acquire) {
                return None;
            }
            let head = tape.head(self.next);
            // A record that is being overwritten may claim any length.
            if head.total() <= tape.region.len() as u64 {
                let mut host = vec![0; head.host];
                let mut bytes = vec![0; head.text];
                tape.read(self.next + HEAD_BYTES as u64, &mut host);
                tape.read(self.next + (HEAD_BYTES + head.host) as u64, &mut bytes);
                fence(Ordering::Acquire);
                if tape.start.load(Ordering::Relaxed) <= self.next {
                    self.next += head.total();
                    let host = String::from_utf8_lossy(&host).into_owned();
                    return Some(Record { at: head.at, kind: head.kind, host, bytes });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> [AtomicU64; TAPE_WORDS] {
        [const { AtomicU64::new(0) }; TAPE_WORDS]
    }

    fn append(tape: &Tape<'_>, event: u64, text: &str) {
        let at = At { event, now_ns: event * 10 };
        tape.append(RecordRef { at, kind: Kind::Output, host: "kv0", bytes: text.as_bytes() });
    }

    fn texts(reader: &mut TapeReader, tape: &Tape<'_>) -> Vec<(u64, String)> {
        let mut texts = Vec::new();
        while let Some(record) = reader.next(tape) {
            assert_eq!((record.host.as_str(), record.kind), ("kv0", Kind::Output));
            texts.push((record.at.event, String::from_utf8(record.bytes).expect("only text is written here")));
        }
        texts
    }

    #[test]
    fn records_come_back_in_order() {
        let marks = marks();
        let tape = Tape::new(&marks, Region::leaked(1000));
        let mut reader = TapeReader::default();
        append(&tape, 1, "one");
        assert_eq!(texts(&mut reader, &tape), [(1, "one".to_owned())]);
        append(&tape, 2, "");
        append(&tape, 3, "three");
        assert_eq!(texts(&mut reader, &tape), [(2, String::new()), (3, "three".to_owned())]);
        assert_eq!(tape.dropped(), 0);
    }

    #[test]
    fn a_full_tape_keeps_the_newest_and_counts_the_rest() {
        let marks = marks();
        let tape = Tape::new(&marks, Region::leaked(333));
        for event in 0..1000 {
            append(&tape, event, &format!("line {event}"));
        }
        let kept = texts(&mut TapeReader::default(), &tape);
        let first = kept[0].0;
        assert!((990..1000).contains(&first), "{first}");
        let expected: Vec<_> = (first..1000).map(|event| (event, format!("line {event}"))).collect();
        assert_eq!(kept, expected);
        assert_eq!(tape.dropped(), (0..first).map(|event| format!("line {event}").len() as u64).sum::<u64>());
    }

    #[test]
    fn of_a_huge_text_the_end_is_kept() {
        let marks = marks();
        let tape = Tape::new(&marks, Region::leaked(400));
        let text: String = (0..300).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
        append(&tape, 1, &text);
        assert_eq!(texts(&mut TapeReader::default(), &tape), [(1, text[200..].to_owned())]);
        assert_eq!(tape.dropped(), 200);
    }

    #[test]
    fn a_reader_that_is_overtaken_goes_on_with_what_is_left() {
        let marks = marks();
        let tape = Tape::new(&marks, Region::leaked(2000));
        std::thread::scope(|scope| {
            scope.spawn(|| (0..50_000).for_each(|event| append(&tape, event, &format!("line {event}"))));
            let mut reader = TapeReader::default();
            let mut last = None;
            while last != Some(49_999) {
                while let Some(record) = reader.next(&tape) {
                    assert_eq!(record.bytes, format!("line {}", record.at.event).into_bytes());
                    assert!(last < Some(record.at.event));
                    last = Some(record.at.event);
                }
            }
        });
    }
}
