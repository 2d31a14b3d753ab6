//! eventfd(2).

use super::dispatch::Kernel;
use super::file::{FileId, Kind};
use super::thread::ThreadId;
use super::{Step, Stop};
use libc::{EAGAIN, EINVAL, EPOLLIN, EPOLLOUT};

/// The largest counter; one more would overflow.
const COUNTER_MAX: u64 = u64::MAX - 1;

/// A counter that can be waited for.
pub(crate) struct Event {
    pub(crate) counter: u64,
    /// `EFD_SEMAPHORE`: reads take one.
    pub(crate) semaphore: bool,
}

impl Event {
    /// Readable when positive, writable unless full.
    pub(crate) fn readiness(&self) -> u32 {
        let read = if self.counter > 0 { EPOLLIN } else { 0 };
        let write = if self.counter < COUNTER_MAX { EPOLLOUT } else { 0 };
        (read | write) as u32
    }
}

impl Kernel {
    /// eventfd(2).
    pub(crate) fn eventfd(&mut self, me: ThreadId, counter: u32, flags: i32) -> Step {
        if flags & !(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE) != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        let semaphore = flags & libc::EFD_SEMAPHORE != 0;
        let event = Kind::Event(Event { counter: u64::from(counter), semaphore });
        let flags = flags & !libc::EFD_SEMAPHORE | libc::O_RDWR;
        Ok(i64::from(self.open_new(me, event, flags)?))
    }

    /// Takes the counter, or one of it; the value goes to `value`.
    pub(crate) fn eventfd_read(&mut self, me: ThreadId, id: FileId, room: usize, value: &mut u64) -> Step {
        if room < 8 {
            return Err(Stop::Errno(EINVAL));
        }
        let nonblocking = self.files[id].nonblocking();
        let Kind::Event(event) = &mut self.files[id].kind else { return Err(Stop::Errno(EINVAL)) };
        if event.counter == 0 {
            return Err(if nonblocking { Stop::Errno(EAGAIN) } else { self.wait_for_file(me, id, EPOLLIN as u32) });
        }
        *value = if event.semaphore { 1 } else { event.counter };
        event.counter -= *value;
        self.log.returned(&value.to_le_bytes());
        self.notify(id, EPOLLOUT as u32);
        Ok(8)
    }

    /// Adds to the counter.
    pub(crate) fn eventfd_write(&mut self, me: ThreadId, id: FileId, room: usize, value: u64) -> Step {
        if room < 8 || value == u64::MAX {
            return Err(Stop::Errno(EINVAL));
        }
        let nonblocking = self.files[id].nonblocking();
        let Kind::Event(event) = &mut self.files[id].kind else { return Err(Stop::Errno(EINVAL)) };
        if COUNTER_MAX - event.counter < value {
            return Err(if nonblocking { Stop::Errno(EAGAIN) } else { self.wait_for_file(me, id, EPOLLOUT as u32) });
        }
        event.counter += value;
        if event.counter > 0 {
            self.notify(id, EPOLLIN as u32);
        }
        Ok(8)
    }
}
