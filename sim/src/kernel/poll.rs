//! poll(2) and select(2).

use super::dispatch::Kernel;
use super::thread::ThreadId;
use super::{Step, Stop};
use libc::{POLLERR, POLLHUP, POLLNVAL, pollfd};

impl Kernel {
    /// poll(2). `POLL*` and `EPOLL*` have the same values (include/uapi/asm-generic/poll.h).
    pub(crate) fn poll(&mut self, me: ThreadId, fds: &mut [pollfd], timeout: Option<u64>) -> Step {
        let at = timeout.map(|ns| self.after(me, ns));
        self.deadline(me, at);
        let mut count = 0;
        for entry in fds.iter_mut() {
            entry.revents = 0;
            if entry.fd < 0 {
                continue;
            }
            entry.revents = match self.file(me, entry.fd) {
                Err(_) => POLLNVAL,
                Ok(file) => self.polled(file) as i16 & (entry.events | POLLERR | POLLHUP),
            };
            count += i64::from(entry.revents != 0);
        }
        if count == 0 && self.has_deliverable_signal(me) {
            return Err(Stop::Block); // even when there is no time to wait: a handler comes first (fs/select.c, do_poll)
        }
        if count > 0 || self.expired(me) {
            for entry in fds.iter() {
                self.log.returned(&entry.revents.to_le_bytes());
            }
            return Ok(count);
        }
        for entry in fds.iter().filter(|entry| entry.fd >= 0) {
            if let Ok(file) = self.file(me, entry.fd) {
                self.wait_for_file(me, file, entry.events as u16 as u32);
            }
        }
        Err(Stop::Block)
    }
}
