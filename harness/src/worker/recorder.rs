//! What the simulated kernel lets out goes into the flight recorder: by plain writes, without system calls.

use crate::blackbox::{BlackBox, Comparison, Finding, Kind, RecordRef, RecordingMode};
use crate::system;
use std::borrow::Cow;
use windtunnel_sim::world::{Console, EventLine, Position, Sink, ThreadStack};

/// The sink of a case.
pub(super) struct Recorder {
    pub(super) blackbox: &'static BlackBox,
    pub(super) recording: RecordingMode,
    pub(super) comparison: Comparison,
    /// Nobody reads along: print what hosts write at once.
    pub(super) in_debugger: bool,
}

impl Sink for Recorder {
    fn console(&mut self, output: Console<'_>) {
        let kind = if output.stream == 1 { Kind::Output } else { Kind::ErrorOutput };
        self.blackbox.tape().append(RecordRef { at: output.at.into(), kind, host: output.host, bytes: output.bytes });
        if self.in_debugger {
            // What does not arrive on a terminal is no loss: it is on the tape.
            let _: bool = system::write_whole(libc::STDERR_FILENO, output.bytes);
        }
    }

    fn note(&mut self, at: Position, host: &str, text: &str) {
        self.blackbox.tape().append(RecordRef { at: at.into(), kind: Kind::Note, host, bytes: text.as_bytes() });
    }

    fn event(&mut self, event: &EventLine<'_>) {
        match self.recording {
            RecordingMode::Off => {}
            RecordingMode::Keep => self.blackbox.recording().keep(event),
            RecordingMode::Compare => {
                if let Some((at, recorded, seen)) = self.comparison.see(&self.blackbox.recording(), event) {
                    let finding = Finding::Differs { at, recorded: recorded.into(), seen: seen.into() };
                    self.blackbox.findings().push(&finding);
                }
            }
        }
    }

    fn progress(&mut self, at: Position, host: &str, thread: &str) {
        self.blackbox.progress().reached(at.into(), host, thread);
    }

    fn stack(&mut self, stack: &ThreadStack<'_>) {
        self.blackbox.findings().push(&Finding::Stack {
            host: stack.host.into(),
            thread: stack.thread.into(),
            tid: stack.tid,
            waits_for: stack.waits_for.into(),
            frames: Cow::Borrowed(stack.frames),
        });
    }

    fn fatal(&mut self, at: Position, text: &str) {
        self.blackbox.findings().push(&Finding::Fatal { at: at.into(), text: text.into() });
    }
}
