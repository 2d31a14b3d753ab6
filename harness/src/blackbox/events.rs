//! The event stream of one run, kept so that the next run can be compared with it as it goes.

use super::At;
use crate::system::Region;
use std::fmt::{self, Write};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use windtunnel_sim::world::EventLine;

/// The recorded stream: lines of text.
pub(crate) struct Recording<'b> {
    bytes: &'b AtomicU64,
    region: Region<'b>,
}

impl<'b> Recording<'b> {
    pub(super) fn new(bytes: &'b AtomicU64, region: Region<'b>) -> Self {
        Self { bytes, region }
    }

    /// Keeps an event; the first that does not fit ends the recording.
    pub(crate) fn keep(&self, event: &EventLine<'_>) {
        let start = self.bytes.load(Ordering::Relaxed) as usize;
        let mut line = Appended { region: self.region, end: start };
        if write_line(&mut line, event).is_ok() {
            self.bytes.store(line.end as u64, Ordering::Release);
        }
    }

    /// Writes out what was kept.
    pub(crate) fn copy_to(&self, into: &mut impl io::Write) -> io::Result<()> {
        let kept_bytes = self.bytes.load(Ordering::Acquire) as usize;
        let mut chunk = vec![0; 1 << 20];
        for start in (0..kept_bytes).step_by(chunk.len()) {
            let part = &mut chunk[..(kept_bytes - start).min(1 << 20)];
            self.region.read(start, part);
            into.write_all(part)?;
        }
        Ok(())
    }

    /// The line that begins here.
    fn line(&self, start: usize) -> String {
        let end = (self.bytes.load(Ordering::Acquire) as usize).min(start + 4096);
        let mut bytes = vec![0; end.saturating_sub(start)];
        self.region.read(start, &mut bytes);
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        String::from_utf8_lossy(line).into_owned()
    }
}

/// Follows a recording while the same case runs again.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    next: usize,
    over: bool,
}

impl Comparison {
    /// Compares an event with the recording's next: the recorded line and this one, when they are the first to differ.
    pub(crate) fn see(&mut self, recording: &Recording<'_>, event: &EventLine<'_>) -> Option<(At, String, String)> {
        let recorded_bytes = recording.bytes.load(Ordering::Acquire) as usize;
        if self.over || self.next >= recorded_bytes {
            return None;
        }
        let mut line = Compared { region: recording.region, next: self.next, end: recorded_bytes, equal: true };
        // Writing into a comparison cannot fail.
        let _: fmt::Result = write_line(&mut line, event);
        if line.equal {
            self.next = line.next;
            return None;
        }
        self.over = true;
        let mut seen = String::new();
        let _: fmt::Result = write_line(&mut seen, event);
        Some((event.at.into(), recording.line(self.next), seen.trim_end().to_owned()))
    }
}

fn write_line(into: &mut impl Write, event: &EventLine<'_>) -> fmt::Result {
    let EventLine { at, host, tid, what, detail } = event;
    writeln!(into, "event {} at {} ns on {host}/{tid}: {what} {detail}", at.event, at.now_ns)
}

struct Appended<'b> {
    region: Region<'b>,
    end: usize,
}

impl Write for Appended<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.end + text.len() > self.region.len() {
            return Err(fmt::Error);
        }
        self.region.write(self.end, text.as_bytes());
        self.end += text.len();
        Ok(())
    }
}

struct Compared<'b> {
    region: Region<'b>,
    next: usize,
    end: usize,
    equal: bool,
}

impl Write for Compared<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut buffer = [0; 256];
        for part in text.as_bytes().chunks(buffer.len()) {
            let recorded = &mut buffer[..part.len()];
            self.equal = self.equal && self.next + part.len() <= self.end;
            if !self.equal {
                return Ok(());
            }
            self.region.read(self.next, recorded);
            self.equal = recorded == part;
            self.next += part.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_sim::world::Position;

    fn event(number: u64, detail: &str) -> EventLine<'_> {
        EventLine { at: Position { event: number, now_ns: 7 }, host: "kv0", tid: 2, what: "read", detail }
    }

    #[test]
    fn the_first_event_that_differs_is_named_once() {
        let bytes = AtomicU64::new(0);
        let recording = Recording::new(&bytes, Region::leaked(10_000));
        ["3 = 10", "3 = 11", "3 = 12"]
            .iter()
            .zip(1..)
            .for_each(|(detail, number)| recording.keep(&event(number, detail)));
        let mut comparison = Comparison::default();
        assert_eq!(comparison.see(&recording, &event(1, "3 = 10")), None);
        let (at, recorded, seen) = comparison.see(&recording, &event(2, "3 = 99")).expect("they differ");
        assert_eq!(at.event, 2);
        assert_eq!(recorded, "event 2 at 7 ns on kv0/2: read 3 = 11");
        assert_eq!(seen, "event 2 at 7 ns on kv0/2: read 3 = 99");
        assert_eq!(comparison.see(&recording, &event(3, "3 = 98")), None);
    }

    #[test]
    fn equal_streams_do_not_differ() {
        let bytes = AtomicU64::new(0);
        let recording = Recording::new(&bytes, Region::leaked(10_000));
        let long = "x".repeat(1000);
        recording.keep(&event(1, &long));
        let mut comparison = Comparison::default();
        assert_eq!(comparison.see(&recording, &event(1, &long)), None);
        assert_eq!(comparison.see(&recording, &event(2, "more than was recorded")), None);
    }
}
