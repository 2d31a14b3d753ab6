//! What hosts write: pipes, read by threads.

use super::World;
use crate::blackbox::Kind;
use std::io::{PipeReader, Read as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Pipes that somebody may still write to.
pub(super) static OPEN: AtomicUsize = AtomicUsize::new(0);

impl World {
    /// Takes what comes through a pipe for a host's output, until nobody can write into it any more.
    pub(super) fn listen(&'static self, host: String, kind: Kind, mut pipe: PipeReader) -> std::io::Result<()> {
        OPEN.fetch_add(1, Ordering::AcqRel);
        let reader = thread::Builder::new().name("console".to_owned()).spawn(move || {
            let mut bytes = vec![0; 64 << 10];
            loop {
                match pipe.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(count) => self.record(kind, &host, &bytes[..count]),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            OPEN.fetch_sub(1, Ordering::AcqRel);
        });
        if reader.is_err() {
            OPEN.fetch_sub(1, Ordering::AcqRel);
        }
        reader.map(drop)
    }
}
