//! pipe(7), after fs/pipe.c: a ring of pages, which decides how much fits and what is written in one piece.

use super::dispatch::Kernel;
use super::file::{FileId, Kind};
use super::thread::ThreadId;
use super::{Step, Stop};
use crate::abi::user::{In, Out};
use libc::{EAGAIN, EBADF, EBUSY, EINVAL, EPERM, EPIPE, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT};
use std::collections::VecDeque;

/// Bytes of a page, which is also pipe(7)'s `PIPE_BUF`: what is written in one piece fits into one page.
const PAGE_BYTES: usize = 4096;
/// pipe(7), "Pipe capacity": 16 pages.
const SLOTS: usize = 16;
/// `/proc/sys/fs/pipe-max-size`, which bounds users without `CAP_SYS_RESOURCE`.
const SIZE_MAX: usize = 1 << 20;

/// One end of a pipe.
pub(crate) struct End {
    writes: bool,
    other: FileId,
    /// What is in the pipe: kept at the reading end, or at the writing one when the reader is gone.
    ring: Ring,
    /// Whether the other end is closed.
    alone: bool,
}

/// A page in use.
struct Page {
    /// Where its bytes end in it: the room before them is not used again.
    end: usize,
    len: usize,
    /// Written with `O_DIRECT`: read as one, the rest thrown away (pipe(2)).
    packet: bool,
}

/// The contents of a pipe.
struct Ring {
    bytes: VecDeque<u8>,
    pages: VecDeque<Page>,
    slots: usize,
}

impl Default for Ring {
    fn default() -> Ring {
        Ring { bytes: VecDeque::new(), pages: VecDeque::new(), slots: SLOTS }
    }
}

impl Ring {
    fn is_full(&self) -> bool {
        self.pages.len() >= self.slots
    }

    /// Adds what does not fill a page to the last one, if it fits there (fs/pipe.c, `pipe_write`): so many bytes.
    fn merge(&mut self, input: &In<'_>) -> usize {
        let chars = input.len() % PAGE_BYTES;
        match self.pages.back_mut() {
            Some(page) if chars > 0 && !page.packet && page.end + chars <= PAGE_BYTES => {
                page.end += chars;
                page.len += chars;
                input.pieces(0, chars, |piece| self.bytes.extend(piece));
                chars
            }
            _ => 0,
        }
    }

    /// Fills free pages from an offset of the input on; answers how many bytes that took.
    fn fill(&mut self, input: &In<'_>, from: usize, packet: bool) -> usize {
        let mut at = from;
        while at < input.len() && !self.is_full() {
            let count = (input.len() - at).min(PAGE_BYTES);
            self.pages.push_back(Page { end: count, len: count, packet });
            input.pieces(at, count, |piece| self.bytes.extend(piece));
            at += count;
        }
        at - from
    }

    /// Takes at most `room` bytes out, and no more than one packet.
    fn take(&mut self, room: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while taken.len() < room
            && let Some(page) = self.pages.front_mut()
        {
            let count = page.len.min(room - taken.len());
            let (packet, len) = (page.packet, page.len);
            taken.extend(self.bytes.drain(..count));
            page.len -= count;
            if packet {
                self.bytes.drain(..len - count);
            }
            if packet || count == len {
                self.pages.pop_front();
            }
            if packet {
                break;
            }
        }
        taken
    }
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
        let (status, close) = (flags & (libc::O_NONBLOCK | libc::O_DIRECT), flags & libc::O_CLOEXEC != 0);
        // The ends refer to each other: the first is made with a stand-in.
        let reader = self.new_file(owner, Kind::Null, status & libc::O_NONBLOCK | libc::O_RDONLY);
        let end = |writes, other| Kind::Pipe(End { writes, other, ring: Ring::default(), alone: false });
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

    /// What is in the pipe of an end.
    fn ring<'a>(&'a self, end: &'a End) -> &'a Ring {
        match self.files.get(end.other).map(|file| &file.kind) {
            Some(Kind::Pipe(reader)) if end.writes => &reader.ring,
            _ => &end.ring,
        }
    }

    /// poll(2) of pipes: a reader without writers hangs up, a writer without readers is in error.
    pub(crate) fn pipe_readiness(&self, end: &End) -> u32 {
        let ring = self.ring(end);
        let bits = if end.writes {
            (if ring.is_full() { 0 } else { EPOLLOUT }) | (if end.alone { EPOLLERR } else { 0 })
        } else {
            (if ring.pages.is_empty() { 0 } else { EPOLLIN }) | (if end.alone { EPOLLHUP } else { 0 })
        };
        bits as u32
    }

    /// Reads what is there; end of file when all writers are gone.
    pub(crate) fn pipe_read(&mut self, me: ThreadId, id: FileId, out: &mut Out<'_>) -> Step {
        let nonblocking = self.files[id].nonblocking();
        let end = self.pipe_end(id)?;
        let room = out.len();
        if room == 0 {
            return Ok(0);
        }
        if end.ring.pages.is_empty() {
            return match (end.alone, nonblocking) {
                (true, _) => Ok(0),
                (false, true) => Err(Stop::Errno(EAGAIN)),
                (false, false) => Err(self.wait_for_file(me, id, EPOLLIN as u32)),
            };
        }
        let was_full = end.ring.is_full();
        let taken = end.ring.take(room);
        let freed = was_full && !end.ring.is_full();
        let writer = end.other;
        out.write_at(0, &taken);
        self.log.returned(&taken);
        if freed && self.files.get(writer).is_some() {
            self.notify(writer, EPOLLOUT as u32);
        }
        Ok(taken.len() as i64)
    }

    /// Writes all (blocking), or what fits (non-blocking): what fits into a page in one piece or not at all.
    pub(crate) fn pipe_write(&mut self, me: ThreadId, id: FileId, input: &In<'_>) -> Step {
        let flags = self.files[id].flags;
        let end = self.pipe_end(id)?;
        let (reader, alone) = (end.other, end.alone);
        let total = input.len();
        if total == 0 {
            return Ok(0); // a null write succeeds, readers or not
        }
        let progress = self.threads[me].progress;
        let mut done = progress.done as usize;
        if alone {
            self.raise_sigpipe(me);
            return if done > 0 { Ok(done as i64) } else { Err(Stop::Errno(EPIPE)) };
        }
        let packets = flags & libc::O_DIRECT != 0;
        let before = done;
        let ring = &mut self.pipe_end(reader)?.ring;
        if !progress.begun && !packets {
            done += ring.merge(input);
        }
        done += ring.fill(input, done, packets);
        if done > before {
            self.notify(reader, EPOLLIN as u32);
        }
        if done == total {
            return Ok(total as i64);
        }
        if flags & libc::O_NONBLOCK != 0 {
            return if done > 0 { Ok(done as i64) } else { Err(Stop::Errno(EAGAIN)) };
        }
        self.deadline(me, None);
        let progress = &mut self.threads[me].progress;
        (progress.done, progress.partial) = (done as u64, done as u64);
        Err(self.wait_for_file(me, id, EPOLLOUT as u32))
    }

    /// Bytes waiting, for `FIONREAD`, which both ends answer.
    pub(crate) fn pipe_available(&self, end: &End) -> usize {
        self.ring(end).bytes.len()
    }

    /// `F_GETPIPE_SZ`.
    pub(crate) fn pipe_size(&self, id: FileId) -> Step {
        match &self.files[id].kind {
            Kind::Pipe(end) => Ok((self.ring(end).slots * PAGE_BYTES) as i64),
            _ => Err(Stop::Errno(EBADF)),
        }
    }

    /// `F_SETPIPE_SZ`: rounded up to a power of two of pages (fcntl(2)).
    pub(crate) fn set_pipe_size(&mut self, id: FileId, bytes: i32) -> Step {
        let before = self.pipe_size(id)? as usize;
        let size = usize::try_from(bytes).map_err(|_| EINVAL)?.max(PAGE_BYTES).next_power_of_two();
        if size > before && size > SIZE_MAX {
            return Err(Stop::Errno(EPERM));
        }
        let end = self.pipe_end(id)?;
        let (writes, other) = (end.writes, end.other);
        let (reader, writer) = if writes && !end.alone { (other, id) } else { (id, other) };
        let ring = &mut self.pipe_end(reader)?.ring;
        if ring.pages.len() > size / PAGE_BYTES {
            return Err(Stop::Errno(EBUSY));
        }
        ring.slots = size / PAGE_BYTES;
        if self.files.get(writer).is_some() {
            self.notify(writer, EPOLLOUT as u32);
        }
        Ok(size as i64)
    }

    /// An end is closed for good.
    pub(crate) fn close_pipe(&mut self, id: FileId) {
        let Ok(end) = self.pipe_end(id) else { return };
        let (other, ring) = (end.other, std::mem::take(&mut end.ring));
        if let Some(Kind::Pipe(peer)) = self.files.get_mut(other).map(|file| &mut file.kind) {
            peer.alone = true;
            if peer.writes {
                peer.ring = ring;
            }
            self.notify(other, (EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLERR) as u32);
        }
    }

    /// Writing where nobody reads raises `SIGPIPE` (write(2)); std's default ignores it.
    pub(crate) fn raise_sigpipe(&mut self, me: ThreadId) {
        let _ = self.kill_thread(me, libc::SIGPIPE);
    }
}
