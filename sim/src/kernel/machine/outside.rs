//! Open files that are not a host's own: reading, seeking, listing, mapping.

use super::disk_file::Listed;
use super::disk_file::{BLOCK_BYTES, MOVED_BYTES_MAX};
use super::walk::Found;
use super::{Node, Who};
use crate::abi::user::Out;
use crate::carrier::outside::{self, Mapping, RealFile};
use crate::kernel::file::{FileId, Kind};
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use libc::{EACCES, EBADF, EINVAL, EISDIR, ENODEV, ENOTDIR, ENXIO, ESPIPE, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An open file that is not a host's own.
pub(crate) struct Outside {
    /// As the host sees it.
    path: PathBuf,
    node: Node,
    content: Content,
    pub(super) position: u64,
    /// The program's own code: looking at it leaves no trace.
    own: bool,
}

enum Content {
    Regular(RealFile),
    Made(Vec<u8>),
    /// Its entries, once somebody has asked.
    Directory(Option<Vec<Listed>>),
    /// Opened with `O_PATH`.
    None,
}

/// What lseek(2) counts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whence {
    Start,
    Current,
    End,
    /// The next byte that is no hole: files here have none.
    Data,
    /// The next hole: the end.
    Hole,
}

impl Whence {
    /// By lseek(2)'s number.
    pub(crate) fn of(number: c_int) -> Option<Whence> {
        match number {
            libc::SEEK_SET => Some(Whence::Start),
            libc::SEEK_CUR => Some(Whence::Current),
            libc::SEEK_END => Some(Whence::End),
            libc::SEEK_DATA => Some(Whence::Data),
            libc::SEEK_HOLE => Some(Whence::Hole),
            _ => None,
        }
    }
}

impl Outside {
    /// Frees what the real kernel holds for it.
    pub(crate) fn close(&mut self) {
        self.content = Content::None;
    }

    /// Where it is, as the host sees it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Whether it is a file of `/proc` or `/sys`, which tells of the kernel and lies on no disk.
    pub(super) fn is_setting(&self) -> bool {
        matches!(self.node, Node::Made(..)) && (self.path.starts_with("/proc") || self.path.starts_with("/sys"))
    }

    /// Its size, and for a made-up file how much there is to read.
    fn bytes(&self) -> u64 {
        match &self.content {
            Content::Regular(file) => file.bytes(),
            Content::Made(bytes) => bytes.len() as u64,
            Content::Directory(_) | Content::None => 0,
        }
    }

    /// Bytes from the position to the end.
    pub(crate) fn left(&self) -> usize {
        self.bytes().saturating_sub(self.position) as usize
    }

    /// The type bits of `st_mode`.
    pub(crate) fn file_type(&self) -> u32 {
        self.node.file_type()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Stop> {
        match &self.content {
            Content::Regular(file) => file.read_at(buffer, offset).map_err(Stop::Errno),
            Content::Made(bytes) => {
                let from = bytes.len().min(offset as usize);
                let count = buffer.len().min(bytes.len() - from);
                buffer[..count].copy_from_slice(&bytes[from..from + count]);
                Ok(count)
            }
            Content::Directory(_) => Err(Stop::Errno(EISDIR)),
            Content::None => Err(Stop::Errno(EBADF)),
        }
    }
}

impl Kernel {
    /// Opens what a path has led to, for reading.
    pub(super) fn open_found(&mut self, who: Who, found: Found, node: Node, flags: c_int) -> Result<Kind, Stop> {
        let content = if flags & libc::O_PATH != 0 {
            Content::None
        } else {
            match &node {
                Node::Directory | Node::MadeDirectory => Content::Directory(None),
                Node::Regular { .. } => {
                    Content::Regular(RealFile::open(&self.own.real(who, self, &found.path)).map_err(Stop::Errno)?)
                }
                Node::Made(make, who) => Content::Made(self.make(*make, *who)),
                Node::Special(_) => return Err(Stop::Errno(ENXIO)),
                Node::Link(_) | Node::Device(_) | Node::Handle(_) | Node::Own(..) => {
                    return Err(Stop::Errno(EACCES));
                }
            }
        };
        let own = self.own.covers(self, who, found.path.as_os_str().as_bytes());
        Ok(Kind::Outside(Outside { path: found.path, node, content, position: 0, own }))
    }

    /// Makes the call under way leave no trace when the file is the program's own code.
    pub(crate) fn unseen_if_own(&mut self, id: FileId) {
        if matches!(&self.files[id].kind, Kind::Outside(open) if open.own) {
            self.leave_no_trace();
        }
    }

    fn outside(&mut self, id: FileId) -> Result<&mut Outside, Stop> {
        match &mut self.files[id].kind {
            Kind::Outside(open) => Ok(open),
            _ => Err(Stop::Errno(EINVAL)),
        }
    }

    /// read(2) and pread(2) of an outside file.
    pub(crate) fn outside_read(&mut self, _me: ThreadId, id: FileId, out: &mut Out<'_>, offset: Option<u64>) -> Step {
        self.unseen_if_own(id);
        let from = match offset {
            Some(offset) if i64::try_from(offset).is_err() => return Err(Stop::Errno(EINVAL)),
            Some(offset) => offset,
            None => self.outside(id)?.position,
        };
        self.remake(id, from)?;
        let total = out.len().min(MOVED_BYTES_MAX);
        let mut buffer = vec![0; total.min(BLOCK_BYTES)];
        let mut done = 0;
        loop {
            let want = (total - done).min(BLOCK_BYTES);
            let count = match self.outside(id)?.read_at(&mut buffer[..want], from + done as u64) {
                Ok(count) => count,
                Err(_) if done > 0 => break,
                Err(stop) => return Err(stop),
            };
            self.log.returned(&buffer[..count]);
            done += out.write_at(done, &buffer[..count]);
            if count < want || done >= total {
                break;
            }
        }
        if offset.is_none() {
            self.outside(id)?.position = from + done as u64;
        }
        Ok(done as i64)
    }

    /// A made-up file that is read from its beginning tells how things are now (proc(5)).
    fn remake(&mut self, id: FileId, from: u64) -> Result<(), Stop> {
        let open = self.outside(id)?;
        if let (0, Content::Made(_), Node::Made(make, who)) = (from, &open.content, &open.node) {
            let (make, who) = (*make, *who);
            let bytes = self.make(make, who);
            self.outside(id)?.content = Content::Made(bytes);
        }
        Ok(())
    }

    /// lseek(2).
    pub(crate) fn seek(&mut self, me: ThreadId, fd: c_int, offset: i64, whence: Option<Whence>) -> Step {
        let id = self.file(me, fd)?;
        let whence = whence.ok_or(Stop::Errno(EINVAL))?;
        self.unseen_if_own(id);
        match &self.files[id].kind {
            Kind::Outside(open) => {
                let end = open.bytes() as i64;
                if open.is_setting() && !matches!(whence, Whence::Start | Whence::Current) {
                    return Err(Stop::Errno(EINVAL)); // fs/seq_file.c, seq_lseek
                }
                let to = match whence {
                    Whence::Start => Some(offset),
                    Whence::Current => (open.position as i64).checked_add(offset),
                    Whence::End => end.checked_add(offset),
                    Whence::Data | Whence::Hole if !(0..end).contains(&offset) => {
                        return Err(Stop::Errno(libc::ENXIO));
                    }
                    Whence::Data => Some(offset),
                    Whence::Hole => Some(end),
                };
                let to = to.filter(|to| *to >= 0).ok_or(Stop::Errno(EINVAL))?;
                self.outside(id)?.position = to as u64;
                Ok(to)
            }
            Kind::Disk(_) => self.seek_on_disk(id, offset, whence),
            Kind::Pipe(_) | Kind::Socket(_) | Kind::Console(_) => Err(Stop::Errno(ESPIPE)),
            // null_lseek and noop_llseek (fs/read_write.c): the position is always 0.
            _ => Ok(0),
        }
    }

    /// getdents64(2): entries as `linux_dirent64`, which is also what `readdir` gives.
    pub(crate) fn directory_entries(&mut self, me: ThreadId, fd: c_int, out: &mut Out<'_>) -> Step {
        let id = self.file(me, fd)?;
        if matches!(self.files[id].kind, Kind::Disk(_)) {
            return self.disk_entries(me, id, out);
        }
        let who = self.who(me);
        let open = self.outside(id).map_err(|_| Stop::Errno(ENOTDIR))?;
        let (path, position) = (open.path.clone(), open.position as usize);
        match &open.content {
            Content::Directory(Some(_)) if position > 0 => {}
            Content::Directory(_) => {
                let entries = self.list_with_dots(who, &path).map_err(Stop::Errno)?;
                self.outside(id)?.content = Content::Directory(Some(entries));
            }
            Content::None => return Err(Stop::Errno(EBADF)),
            _ => return Err(Stop::Errno(ENOTDIR)),
        }
        let Content::Directory(Some(entries)) = &self.outside(id)?.content else { return Err(Stop::Errno(ENOTDIR)) };
        let step = put_entries(entries, position as u64, out)?;
        self.outside(id)?.position = step.position;
        self.log.returned(&step.records);
        out.write_at(0, &step.records);
        Ok(step.records.len() as i64)
    }

    /// mmap(2) of a file. The address does not enter the digest, the content does.
    pub(crate) fn map_file(&mut self, me: ThreadId, fd: c_int, at: Mapping, offset: u64) -> Result<usize, Stop> {
        let id = self.file(me, fd)?;
        self.unseen_if_own(id);
        if at.bytes() == 0 || !at.has_type() {
            return Err(Stop::Errno(EINVAL));
        }
        let kind = &self.files[id].kind;
        // mm/mmap.c, do_mmap: what the descriptor allows comes before what the file can do.
        let flags = self.files[id].flags;
        if at.writes_back() && flags & libc::O_ACCMODE != libc::O_RDWR || flags & libc::O_ACCMODE == libc::O_WRONLY {
            return Err(Stop::Errno(EACCES));
        }
        if matches!(kind, Kind::Zero) {
            return outside::map_copy(at, &[]).map_err(Stop::Errno);
        }
        if matches!(kind, Kind::Disk(_)) {
            return self.map_disk(id, at, offset);
        }
        if let Kind::Socket(socket) = kind {
            return self.net.map_socket(*socket, at).map_err(Stop::Errno);
        }
        let Kind::Outside(open) = kind else { return Err(Stop::Errno(ENODEV)) };
        match &open.content {
            Content::Regular(file) => {
                let address = file.map(at, offset).map_err(Stop::Errno)?;
                let visible = (open.bytes().saturating_sub(offset)).min(at.bytes() as u64);
                if !open.own {
                    self.note_content(id, offset, visible)?;
                }
                Ok(address)
            }
            Content::Made(_) if open.is_setting() => Err(Stop::Errno(ENODEV)),
            Content::Made(bytes) => {
                let content = bytes.get(offset as usize..).unwrap_or_default().to_vec();
                self.log.returned(&content);
                outside::map_copy(at, &content).map_err(Stop::Errno)
            }
            Content::Directory(_) => Err(Stop::Errno(ENODEV)),
            Content::None => Err(Stop::Errno(EBADF)),
        }
    }

    /// Lets a stretch of a file enter the digest.
    fn note_content(&mut self, id: FileId, from: u64, bytes: u64) -> Result<(), Stop> {
        let mut buffer = vec![0; BLOCK_BYTES];
        let mut at = from;
        while at < from + bytes {
            let want = (from + bytes - at).min(BLOCK_BYTES as u64) as usize;
            let count = self.outside(id)?.read_at(&mut buffer[..want], at)?;
            if count == 0 {
                break;
            }
            self.log.returned(&buffer[..count]);
            at += count as u64;
        }
        Ok(())
    }

    /// Whether a descriptor is of a file that has an end.
    pub(crate) fn has_content(&mut self, me: ThreadId, fd: c_int) -> bool {
        let Ok(id) = self.file(me, fd) else { return false };
        match &self.files[id].kind {
            Kind::Outside(open) => matches!(open.content, Content::Regular(_) | Content::Made(_)),
            Kind::Disk(_) => self.left_on_disk(id).is_some(),
            _ => false,
        }
    }

    /// What sendfile(2) is to send, without moving the position that it comes from; in the order of checks of
    /// `do_sendfile` and `splice_direct_to_actor` (fs/read_write.c, fs/splice.c).
    pub(crate) fn peek_to_send(
        &mut self,
        me: ThreadId,
        (to, from): (c_int, c_int),
        offset: Option<i64>,
        bytes: usize,
    ) -> Result<Vec<u8>, Stop> {
        let id = self.file(me, from)?;
        if self.files[id].flags & libc::O_ACCMODE == libc::O_WRONLY {
            return Err(Stop::Errno(EBADF));
        }
        let offset = offset.map(|offset| u64::try_from(offset).map_err(|_| Stop::Errno(EINVAL))).transpose()?;
        if offset.is_some() && !self.files[id].has_positions() {
            return Err(Stop::Errno(ESPIPE));
        }
        let target = self.file(me, to)?;
        let (flags, is_pipe) =
            (self.files[target].flags, matches!(self.files[target].kind, Kind::Pipe(_) | Kind::Console(_)));
        if flags & libc::O_ACCMODE == libc::O_RDONLY {
            return Err(Stop::Errno(EBADF));
        }
        if flags & libc::O_APPEND != 0 && !is_pipe {
            return Err(Stop::Errno(EINVAL));
        }
        if bytes == 0 {
            return Ok(Vec::new());
        }
        if matches!(self.files[id].kind, Kind::Disk(_)) {
            let block = self.peek_disk(id, offset, bytes)?;
            // Reading is told of before writing; a file takes all there is.
            if !block.is_empty() && matches!(self.files[target].kind, Kind::Disk(_)) && !self.threads[me].progress.begun
            {
                self.was_read(id);
            }
            return Ok(block);
        }
        let open = self.outside(id)?;
        if matches!(open.content, Content::Directory(_)) {
            return Err(Stop::Errno(EINVAL));
        }
        let from = offset.unwrap_or(open.position);
        let mut buffer = vec![0; bytes.min(BLOCK_BYTES)];
        let count = open.read_at(&mut buffer, from)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// sendfile(2) at the end of a file. A pipe has to have room first (fs/splice.c, `wait_for_space`).
    pub(crate) fn send_nothing(&mut self, me: ThreadId, to: c_int, asked: usize) -> Step {
        let target = self.file(me, to)?;
        let ready = self.readiness(target);
        if asked == 0 || !matches!(self.files[target].kind, Kind::Pipe(_)) {
            return Ok(0);
        }
        if ready & libc::EPOLLERR as u32 != 0 {
            self.raise_sigpipe(me);
            return Err(Stop::Errno(libc::EPIPE));
        }
        match ready & libc::EPOLLOUT as u32 {
            0 if self.files[target].nonblocking() => Err(Stop::Errno(libc::EAGAIN)),
            0 => Err(self.wait_for_file(me, target, libc::EPOLLOUT as u32)),
            _ => Ok(0),
        }
    }

    /// Whether reading and writing a file never wait for anybody.
    pub(crate) fn never_waits(&self, id: FileId) -> bool {
        let file = &self.files[id];
        file.has_positions() || matches!(file.kind, Kind::Console(_))
    }

    /// The descriptor behind a C stream of the calling process.
    pub(crate) fn stream(&self, me: ThreadId, stream: usize) -> Step {
        let streams = &self.processes[self.threads[me].process].place.streams;
        streams.get(&stream).map(|fd| i64::from(*fd)).ok_or(Stop::Errno(EBADF))
    }

    /// Notes a C stream's descriptor.
    pub(crate) fn remember_stream(&mut self, me: ThreadId, stream: usize, fd: c_int) {
        let process = self.threads[me].process;
        self.processes[process].place.streams.insert(stream, fd);
    }

    /// Forgets a C stream.
    pub(crate) fn forget_stream(&mut self, me: ThreadId, stream: usize) {
        let process = self.threads[me].process;
        self.processes[process].place.streams.remove(&stream);
    }

    /// Bytes of an open file have been sent: its position moves on by so many.
    pub(crate) fn sent_from_file(&mut self, me: ThreadId, (to, from): (c_int, c_int), bytes: u64) {
        let Ok(id) = self.file(me, from) else { return };
        let told = self.is_on_disk(me, to);
        match &mut self.files[id].kind {
            Kind::Outside(open) => open.position += bytes,
            Kind::Disk(open) => {
                open.position += bytes;
                if !told {
                    self.was_read(id);
                }
            }
            _ => {}
        }
    }
}

/// What one getdents64(2) gives.
pub(super) struct Entries {
    pub(super) records: Vec<u8>,
    /// Where the next one goes on.
    pub(super) position: u64,
}

/// As many entries as there is room for, from a position on.
///
/// # Errors
/// `EINVAL`: not even one fits.
pub(super) fn put_entries(entries: &[Listed], position: u64, out: &Out<'_>) -> Result<Entries, Stop> {
    let (mut records, mut at) = (Vec::new(), position as usize);
    while let Some(listed) = entries.get(at) {
        let record = directory_record(listed, at as u64 + 1);
        if records.len() + record.len() > out.len() {
            break;
        }
        records.extend_from_slice(&record);
        at += 1;
    }
    if records.is_empty() && at < entries.len() {
        return Err(Stop::Errno(EINVAL)); // getdents(2): the buffer is too small
    }
    Ok(Entries { records, position: at as u64 })
}

/// `struct linux_dirent64` (getdents(2)): inode, offset of the next, length, type, name; aligned to eight bytes.
fn directory_record(listed: &Listed, next: u64) -> Vec<u8> {
    const NAME_AT: usize = 19;
    let bytes = (NAME_AT + listed.name.len() + 1).next_multiple_of(8);
    let mut record = Vec::with_capacity(bytes);
    record.extend_from_slice(&listed.inode.to_ne_bytes());
    record.extend_from_slice(&next.to_ne_bytes());
    record.extend_from_slice(&(bytes as u16).to_ne_bytes());
    record.push((listed.kind >> 12) as u8); // IFTODT (dirent.h)
    record.extend_from_slice(&listed.name);
    record.resize(bytes, 0);
    record
}
