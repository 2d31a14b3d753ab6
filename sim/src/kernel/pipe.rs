//! pipe(7).

use super::dispatch::Kernel;
use super::file::{FileId, Kind};
use super::thread::ThreadId;
use super::{Step, Stop};
use crate::abi::user::{In, Out};
use libc::{EAGAIN, EBADF, EINVAL, EPIPE, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT};
use std::collections::VecDeque;

/// pipe(7): the default capacity, and the size up to which writes are atomic.
const CAPACITY_BYTES: usize = 65_536;
const PIPE_BUF: usize = 4096;

/// One end of a pipe.
pub(crate) struct End {
    writes: bool,
    other: FileId,
    /// The bytes; kept at the reading end.
    bytes: VecDeque<u8>,
    /// Whether the other end is closed.
    alone: bool,
}

/// The reading end of the pipe that an end with this name belongs to.
pub(crate) fn reader(end: &End, id: FileId) -> FileId {
    if end.writes { end.other } else { id }
}

impl Kernel {
    /// pipe2(2): answers both numbers.
    pub(crate) fn pipe(&mut self, me: ThreadId, flags: i32) -> Result<(i32, i32), Stop> {
        if flags & !(libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_DIRECT) != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        let owner = self.threads[me].process;
        let (status, close) = (flags & libc::O_NONBLOCK, flags & libc::O_CLOEXEC != 0);
        // The ends refer to each other: the first is made with a stand-in.
        let reader = self.new_file(owner, Kind::Null, status | libc::O_RDONLY);
        let end = |writes, other| Kind::Pipe(End { writes, other, bytes: VecDeque::new(), alone: false });
        let writer = self.new_file(owner, end(true, reader), status | libc::O_WRONLY);
        self.files[reader].kind = end(false, writer);
        let read_fd = self.new_descriptor(me, reader, close);
        let write_fd = self.new_descriptor(me, writer, close);
        match (read_fd, write_fd) {
            (Ok(r), Ok(w)) => Ok((r, w)),
            (Ok(r), Err(stop)) => {
                self.close(me, r)?;
                Err(stop)
            }
            (Err(stop), _) => Err(stop),
        }
    }

    fn pipe_end(&mut self, id: FileId) -> Result<&mut End, Stop> {
        match &mut self.files[id].kind {
            Kind::Pipe(end) => Ok(end),
            _ => Err(Stop::Errno(EBADF)),
        }
    }

    /// poll(2) of pipes: a reader without writers hangs up, a writer without readers is in error.
    pub(crate) fn pipe_readiness(&self, end: &End) -> u32 {
        let bits = if end.writes {
            let room = match self.files.get(end.other).map(|file| &file.kind) {
                Some(Kind::Pipe(reader)) => CAPACITY_BYTES - reader.bytes.len() >= PIPE_BUF,
                _ => true,
            };
            (if room { EPOLLOUT } else { 0 }) | (if end.alone { EPOLLERR } else { 0 })
        } else {
            (if end.bytes.is_empty() { 0 } else { EPOLLIN }) | (if end.alone { EPOLLHUP } else { 0 })
        };
        bits as u32
    }

    /// Reads what is there; end of file when all writers are gone.
    pub(crate) fn pipe_read(&mut self, me: ThreadId, id: FileId, out: &mut Out<'_>) -> Step {
        let nonblocking = self.files[id].nonblocking();
        let end = self.pipe_end(id)?;
        if end.writes {
            return Err(Stop::Errno(EBADF));
        }
        let room = out.len();
        if room == 0 {
            return Ok(0);
        }
        if end.bytes.is_empty() {
            return match (end.alone, nonblocking) {
                (true, _) => Ok(0),
                (false, true) => Err(Stop::Errno(EAGAIN)),
                (false, false) => Err(self.wait_for_file(me, id, EPOLLIN as u32)),
            };
        }
        let count = room.min(end.bytes.len());
        let taken: Vec<u8> = end.bytes.drain(..count).collect();
        let writer = end.other;
        out.write_at(0, &taken);
        self.log.returned(&taken);
        if self.files.get(writer).is_some() {
            self.notify(writer, EPOLLOUT as u32);
        }
        Ok(count as i64)
    }

    /// Writes all (blocking), or what fits (non-blocking, and then up to `PIPE_BUF` bytes in one piece or not at all).
    pub(crate) fn pipe_write(&mut self, me: ThreadId, id: FileId, input: &In<'_>) -> Step {
        let nonblocking = self.files[id].nonblocking();
        let end = self.pipe_end(id)?;
        if !end.writes {
            return Err(Stop::Errno(EBADF));
        }
        let (reader, alone) = (end.other, end.alone);
        if input.len() == 0 {
            return Ok(0); // fs/pipe.c: a null write succeeds, readers or not
        }
        if alone {
            self.raise_sigpipe(me);
            return Err(Stop::Errno(EPIPE));
        }
        let total = input.len();
        let done = self.threads[me].progress.done as usize;
        let left = total - done;
        let buffer = self.pipe_end(reader)?;
        let room = CAPACITY_BYTES - buffer.bytes.len();
        let count = if total <= PIPE_BUF && left > room { 0 } else { left.min(room) };
        input.pieces(done, count, |piece| buffer.bytes.extend(piece));
        if count > 0 {
            self.notify(reader, EPOLLIN as u32);
        }
        self.threads[me].progress.done += count as u64;
        if count == left {
            Ok(total as i64)
        } else if !nonblocking {
            Err(self.wait_for_file(me, id, EPOLLOUT as u32))
        } else if done + count > 0 {
            Ok((done + count) as i64)
        } else {
            Err(Stop::Errno(EAGAIN))
        }
    }

    /// Bytes waiting, for `FIONREAD`, which both ends answer.
    pub(crate) fn pipe_available(&self, end: &End) -> usize {
        match self.files.get(end.other).map(|file| &file.kind) {
            Some(Kind::Pipe(reader)) if end.writes => reader.bytes.len(),
            _ => end.bytes.len(),
        }
    }

    /// An end is closed for good.
    pub(crate) fn close_pipe(&mut self, id: FileId) {
        let Ok(end) = self.pipe_end(id) else { return };
        let other = end.other;
        if let Some(Kind::Pipe(peer)) = self.files.get_mut(other).map(|file| &mut file.kind) {
            peer.alone = true;
            self.notify(other, (EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLERR) as u32);
        }
    }

    /// Writing where nobody reads raises `SIGPIPE` (write(2)); std's default ignores it.
    pub(crate) fn raise_sigpipe(&mut self, me: ThreadId) {
        let _ = self.kill_thread(me, libc::SIGPIPE);
    }
}
