//! Calls that a signal may interrupt.

use std::io;

/// Calls until it is not interrupted.
///
/// std's datagram calls, unlike its `read_exact` and `write_all`, report an interruption by a
/// signal.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            ended => return ended,
        }
    }
}
