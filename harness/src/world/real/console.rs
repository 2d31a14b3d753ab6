//! What hosts write: pipes, read by threads.

use super::World;
use crate::blackbox::{BlackBox, Kind, RecordRef};
use crate::system::readable;
use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use windtunnel_sim::world::Position;

/// What a pipe holds unless somebody changes that (pipe(7)).
const PIPE_BYTES: usize = 64 << 10;

/// How long what the test itself writes stays in its pipe. What kills the test kills the thread that reads it, with
/// what that has read and not yet recorded; what is in the pipe then, [`record_last_words`] finds.
const OWN_WORDS: Duration = Duration::from_millis(2);
/// How long is waited for output at a time.
const IDLE: Duration = Duration::from_secs(3600);

/// Pipes that somebody may still write to.
pub(super) static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Pipes for the output of the test itself and its errors. A case that dies has no time to read what it wrote last, so
/// they are made by whoever outlives it.
pub(crate) struct TestPipes(pub(super) [(Kind, PipeReader, PipeWriter); 2]);

impl TestPipes {
    pub(crate) fn make() -> io::Result<Self> {
        let pipe = |kind| io::pipe().map(|(pipe, written)| (kind, pipe, written));
        Ok(Self([pipe(Kind::Output)?, pipe(Kind::ErrorOutput)?]))
    }

    pub(crate) fn readers(&self) -> io::Result<[(Kind, PipeReader); 2]> {
        let [(output, out, _), (errors, err, _)] = &self.0;
        Ok([(*output, out.try_clone()?), (*errors, err.try_clone()?)])
    }
}

/// Records what is left in the test's pipes when its process has ended.
pub(crate) fn record_last_words(blackbox: &BlackBox, readers: [(Kind, PipeReader); 2]) {
    for (kind, mut pipe) in readers {
        let mut bytes = vec![0; PIPE_BYTES];
        // Nobody writes any more, and this process would wait for itself.
        if let Ok(true) = readable(&pipe, Instant::now())
            && let Ok(count) = pipe.read(&mut bytes)
        {
            let at = blackbox.progress().at();
            blackbox.tape().append(RecordRef { at, kind, host: "test", bytes: &bytes[..count] });
        }
    }
}

impl World {
    /// Takes what comes through a pipe for a host's output, until nobody can write into it any more.
    pub(super) fn listen(&'static self, host: String, kind: Kind, pipe: PipeReader) -> io::Result<JoinHandle<()>> {
        self.take(host, kind, pipe, Duration::ZERO)
    }

    /// The same for what the test itself writes.
    pub(super) fn listen_to_test(&'static self, kind: Kind, pipe: PipeReader) -> io::Result<JoinHandle<()>> {
        self.take("test".to_owned(), kind, pipe, OWN_WORDS)
    }

    /// Leaves what arrives in the pipe for so long before it is taken.
    fn take(
        &'static self,
        host: String,
        kind: Kind,
        mut pipe: PipeReader,
        after: Duration,
    ) -> io::Result<JoinHandle<()>> {
        OPEN.fetch_add(1, Ordering::AcqRel);
        let reader = thread::Builder::new().name("console".to_owned()).spawn(move || {
            let mut bytes = vec![0; PIPE_BYTES];
            loop {
                // What is wrong with it is found when it is read.
                let _: io::Result<bool> = readable(&pipe, Instant::now() + IDLE);
                let now_ns = self.position().now_ns;
                thread::sleep(after);
                match pipe.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(count) => self.record_at(Position { now_ns, ..self.event() }, kind, &host, &bytes[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            OPEN.fetch_sub(1, Ordering::AcqRel);
        });
        if reader.is_err() {
            OPEN.fetch_sub(1, Ordering::AcqRel);
        }
        reader
    }
}
