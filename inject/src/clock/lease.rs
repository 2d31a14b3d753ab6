//! What keeps wrong clocks wrong: a thread that renews their lease.

use super::fault::Shown;
use crate::error::{Error, Result};
use crate::lock::lock;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The thread.
pub(super) struct Renewing {
    over: Sender<()>,
    thread: JoinHandle<()>,
}

impl Renewing {
    /// Has this be done to clocks and who shows them, at once and again after as long as it answers.
    pub(super) fn of<F: Send + 'static>(
        shown: &Arc<Mutex<Shown<F>>>,
        mut renew: impl FnMut(&mut Shown<F>) -> Duration + Send + 'static,
    ) -> Result<Self> {
        let (over, is_over) = channel();
        let shown = shown.clone();
        let work = move || {
            let mut wait = Duration::ZERO;
            while let Err(RecvTimeoutError::Timeout) = is_over.recv_timeout(wait) {
                wait = renew(&mut lock(&shown));
            }
        };
        let thread = thread::Builder::new().name("clock-lease".into()).spawn(work);
        Ok(Self { over, thread: thread.map_err(|error| Error::os("keep a lease", error))? })
    }

    /// Ends it, and waits for that.
    pub(super) fn end(self) {
        drop(self.over);
        // It does not panic; and if it did, there is nobody to tell.
        let _panicked = self.thread.join();
    }
}
