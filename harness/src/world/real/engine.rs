//! A thread that stays outside of hosts.
//!
//! The test body and clients are on hosts: they see no control groups, and files of their own. What they ask of the
//! world that takes the machine's files is done here.

use std::sync::mpsc::{Sender, channel};
use std::thread;
use windtunnel_inject::Error;

type Work = Box<dyn FnOnce() + Send>;

/// The thread.
pub(super) struct Engine(Sender<Work>);

impl Engine {
    /// Starts it: on no host, as the caller still is.
    pub(super) fn start() -> Result<Self, Error> {
        let (sender, orders) = channel::<Work>();
        let work = move || orders.into_iter().for_each(|work| work());
        thread::Builder::new()
            .name("engine".to_owned())
            .spawn(work)
            .map_err(|error| Error::os("start the world's engine", error))?;
        Ok(Self(sender))
    }

    /// Does this there, and answers what comes of it. A panic there is one here.
    pub(super) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let work = move || {
            // Who waits may have been ended meanwhile.
            let _ = done.send(work());
        };
        let sent = self.0.send(Box::new(work));
        match sent.ok().and_then(|()| result.recv().ok()) {
            Some(result) => result,
            None => panic!("the world's engine has ended"),
        }
    }
}
