//! How a case ended, in its own words: one JSON text per line.

use super::At;
use crate::system::Region;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use windtunnel_sim::world::Exit;

/// Something to tell about the end of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Finding<'a> {
    /// What the test body came to.
    #[serde(borrow)]
    Verdict(Verdict<'a>),
    /// Where a thread stood.
    Stack { host: Cow<'a, str>, thread: Cow<'a, str>, tid: u32, waits_for: Cow<'a, str>, frames: Cow<'a, [u64]> },
    /// The process is about to die.
    Fatal { at: At, text: Cow<'a, str> },
    /// A value that was drawn for a parameter of the test.
    Argument {
        name: Cow<'a, str>,
        /// Its `Debug` form in one line, and in several; cut when they are very long.
        line: Cow<'a, str>,
        text: Cow<'a, str>,
        /// How many elements it has, if it is a list.
        elements: Option<u64>,
    },
    /// What came of drawing the arguments.
    Drawing(Drawing),
    /// A storm began.
    StormBegan(StormBegan),
    /// What came of the storm's faults.
    StormEnded(StormEnded),
    /// A fault of a plan that this machine cannot do, and why.
    LeftOut(Cow<'a, str>),
    /// The world ended.
    Ending(Ending<'a>),
    /// The first event that differs from the recorded run.
    Differs { at: At, recorded: Cow<'a, str>, seen: Cow<'a, str> },
}

/// What the test body, or a client, came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict<'a> {
    /// It returned.
    Passed,
    /// It returned an error: its `Debug` form.
    Error(Cow<'a, str>),
    /// It panicked.
    Panicked {
        at: At,
        host: Cow<'a, str>,
        message: Cow<'a, str>,
        #[serde(borrow)]
        location: Option<Location<'a>>,
        /// As the kernel gives them: offsets with bit 63 set.
        frames: Cow<'a, [u64]>,
    },
    /// The steady state broke, and the storm was ended for it.
    Unsteady(Cow<'a, str>),
    /// The storm is over, but a host is not ready again.
    NotRecovered(Cow<'a, str>),
    /// The case could not begin.
    Impossible(Cow<'a, str>),
}

/// What came of drawing a test's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Drawing {
    /// All are there; their hash. The case went on.
    Drawn { values: u64 },
    /// They are those of which it is known what becomes of them. The case ended.
    Known { values: u64 },
    /// A step that was ordered is impossible. The case ended.
    Exhausted,
}

/// The beginning of a storm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StormBegan {
    pub(crate) at_ns: u64,
    /// The number of the last event before it.
    pub(crate) event: u64,
    /// Name and group of each host, and whether it runs a part of the test.
    pub(crate) hosts: Vec<(String, String, bool)>,
}

/// The end of a storm, or of a world in its storm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StormEnded {
    pub(crate) at_ns: u64,
    /// The number of its last event.
    pub(crate) event: u64,
    /// What became of each fault of the plan, in its order.
    pub(crate) faults: Vec<FaultAccount>,
}

/// What became of a fault of a plan. Times count from the storm's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct FaultAccount {
    pub(crate) began_ns: Option<u64>,
    /// Segments and datagrams that it dropped or delayed, or hosts that it struck while they ran.
    pub(crate) bit: u64,
    /// It may have bitten on more, which nobody counts.
    #[serde(default)]
    pub(crate) unseen: bool,
}

impl FaultAccount {
    /// Whether it bit on something, as far as anybody can tell.
    pub(crate) fn may_have_bitten(&self) -> bool {
        self.bit > 0 || self.unseen && self.began_ns.is_some()
    }
}

/// A place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Location<'a> {
    pub(crate) file: Cow<'a, str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl From<&std::panic::Location<'_>> for Location<'static> {
    fn from(location: &std::panic::Location<'_>) -> Self {
        Self { file: location.file().to_owned().into(), line: location.line(), column: location.column() }
    }
}

impl std::fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The end of a world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ending<'a> {
    /// High and low half: JSON's numbers are not made for 128 bits. A real run has none: nobody can say that another
    /// was equal.
    pub(crate) digest: Option<(u64, u64)>,
    pub(crate) at: At,
    pub(crate) threads: u64,
    #[serde(borrow)]
    pub(crate) outcome: EndedAs<'a>,
}

/// `windtunnel_sim::world::Outcome`, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EndedAs<'a> {
    Finished,
    VirtualTimeout,
    Deadlock,
    Livelock,
    Refused { host: Cow<'a, str>, call: Cow<'a, str>, remedy: Cow<'a, str> },
    Exited { host: Cow<'a, str>, code: i32 },
    Killed { host: Cow<'a, str>, signal: i32 },
}

impl EndedAs<'_> {
    /// A host has ended that must not.
    pub(crate) fn of_host(host: String, exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Exited { host: host.into(), code },
            Exit::Signal(signal) => Self::Killed { host: host.into(), signal },
        }
    }
}

/// The findings of a case.
pub(crate) struct Findings<'b> {
    bytes: &'b AtomicU64,
    region: Region<'b>,
}

impl<'b> Findings<'b> {
    pub(super) fn new(bytes: &'b AtomicU64, region: Region<'b>) -> Self {
        Self { bytes, region }
    }

    /// Writes a finding. One that does not fit is left out: the first ones matter most.
    pub(crate) fn push(&self, finding: &Finding<'_>) {
        let _only = super::only_writer();
        let start = self.bytes.load(Ordering::Relaxed) as usize;
        let mut line = Line { region: self.region, end: start };
        let written = serde_json::to_writer(&mut line, finding).is_ok() && line.write_all(b"\n").is_ok();
        if written {
            self.bytes.store(line.end as u64, Ordering::Release);
        }
    }

    /// Says why there can be no case.
    pub(crate) fn impossible<'a>(&self, reason: impl Into<Cow<'a, str>>) {
        self.push(&Finding::Verdict(Verdict::Impossible(reason.into())));
    }

    /// Everything found.
    pub(crate) fn read(&self) -> Vec<Finding<'static>> {
        let mut bytes = vec![0; self.bytes.load(Ordering::Acquire) as usize];
        self.region.read(0, &mut bytes);
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.filter_map(|line| serde_json::from_slice::<Finding<'_>>(line).ok().map(Finding::into_owned)).collect()
    }
}

struct Line<'b> {
    region: Region<'b>,
    end: usize,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.end + bytes.len() > self.region.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.region.write(self.end, bytes);
        self.end += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

impl Finding<'_> {
    fn into_owned(self) -> Finding<'static> {
        match self {
            Self::Verdict(verdict) => Finding::Verdict(verdict.into_owned()),
            Self::Stack { host, thread, tid, waits_for, frames } => Finding::Stack {
                host: owned(host),
                thread: owned(thread),
                tid,
                waits_for: owned(waits_for),
                frames: Cow::Owned(frames.into_owned()),
            },
            Self::Argument { name, line, text, elements } => {
                Finding::Argument { name: owned(name), line: owned(line), text: owned(text), elements }
            }
            Self::Drawing(drawing) => Finding::Drawing(drawing),
            Self::LeftOut(fault) => Finding::LeftOut(owned(fault)),
            Self::StormBegan(began) => Finding::StormBegan(began),
            Self::StormEnded(ended) => Finding::StormEnded(ended),
            Self::Fatal { at, text } => Finding::Fatal { at, text: owned(text) },
            Self::Ending(Ending { digest, at, threads, outcome }) => {
                Finding::Ending(Ending { digest, at, threads, outcome: outcome.into_owned() })
            }
            Self::Differs { at, recorded, seen } => {
                Finding::Differs { at, recorded: owned(recorded), seen: owned(seen) }
            }
        }
    }
}

impl Verdict<'_> {
    fn into_owned(self) -> Verdict<'static> {
        match self {
            Self::Passed => Verdict::Passed,
            Self::Error(text) => Verdict::Error(owned(text)),
            Self::Unsteady(text) => Verdict::Unsteady(owned(text)),
            Self::NotRecovered(text) => Verdict::NotRecovered(owned(text)),
            Self::Impossible(text) => Verdict::Impossible(owned(text)),
            Self::Panicked { at, host, message, location, frames } => Verdict::Panicked {
                at,
                host: owned(host),
                message: owned(message),
                location: location.map(|Location { file, line, column }| Location { file: owned(file), line, column }),
                frames: Cow::Owned(frames.into_owned()),
            },
        }
    }
}

impl EndedAs<'_> {
    fn into_owned(self) -> EndedAs<'static> {
        match self {
            Self::Finished => EndedAs::Finished,
            Self::VirtualTimeout => EndedAs::VirtualTimeout,
            Self::Deadlock => EndedAs::Deadlock,
            Self::Livelock => EndedAs::Livelock,
            Self::Refused { host, call, remedy } => {
                EndedAs::Refused { host: owned(host), call: owned(call), remedy: owned(remedy) }
            }
            Self::Exited { host, code } => EndedAs::Exited { host: owned(host), code },
            Self::Killed { host, signal } => EndedAs::Killed { host: owned(host), signal },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panicked(message: &str) -> Finding<'_> {
        Finding::Verdict(Verdict::Panicked {
            at: At { event: 3, now_ns: 4 },
            host: "test".into(),
            message: message.into(),
            location: Some(Location { file: "src/\"odd\".rs".into(), line: 1, column: 2 }),
            frames: vec![1 << 63 | 42, 7].into(),
        })
    }

    #[test]
    fn findings_are_read_as_they_were_written() {
        let bytes = AtomicU64::new(0);
        let findings = Findings::new(&bytes, Region::leaked(10_000));
        let ending = Ending {
            digest: Some((u64::MAX, 1)),
            at: At::default(),
            threads: 9,
            outcome: EndedAs::Exited { host: "kv0".into(), code: 101 },
        };
        let all = [panicked("two\nlines \"quoted\" ü"), Finding::Ending(ending)];
        all.iter().for_each(|finding| findings.push(finding));
        assert_eq!(findings.read(), all);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let bytes = AtomicU64::new(0);
        let findings = Findings::new(&bytes, Region::leaked(400));
        findings.push(&panicked("short"));
        findings.push(&panicked(&"long".repeat(100)));
        assert_eq!(findings.read(), [panicked("short")]);
    }
}
