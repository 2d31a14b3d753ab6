//! Open files that are not a host's own: reading, seeking, listing, mapping.

use super::walk::Found;
use super::{Node, Who};
use crate::abi::user::Out;
use crate::carrier::outside::{self, Mapping, RealFile};
use crate::kernel::file::{FileId, Kind};
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use libc::{EACCES, EBADF, EINVAL, EISDIR, ENODEV, ENOTDIR, ENXIO, ESPIPE, c_int};
use std::path::{Path, PathBuf};

/// Bytes that one read gives at most: what `read(2)` gives on Linux.
const READ_BYTES_MAX: usize = 0x7fff_f000;
/// Bytes that are moved at a time.
const BLOCK_BYTES: usize = 1 << 16;

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
    /// Name and type bits of each entry, once somebody has asked.
    Directory(Option<Vec<(Vec<u8>, u32)>>),
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
                Node::Link(_) | Node::Device(_) | Node::Handle(_) => return Err(Stop::Errno(EACCES)),
            }
        };
        Ok(Kind::Outside(Outside { path: found.path, node, content, position: 0, own: false }))
    }

    /// Says whether an open file is the program's own code.
    pub(super) fn set_own(&mut self, id: FileId, own: bool) {
        if let Kind::Outside(open) = &mut self.files[id].kind {
            open.own = own;
        }
    }

    /// Makes the call under way leave no trace when the file is the program's own code.
    pub(super) fn unseen_if_own(&mut self, id: FileId) {
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
        let total = out.len().min(READ_BYTES_MAX);
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
    pub(crate) fn seek(&mut self, me: ThreadId, fd: c_int, offset: i64, whence: Whence) -> Step {
        let id = self.file(me, fd)?;
        self.unseen_if_own(id);
        match &self.files[id].kind {
            Kind::Outside(open) if self.files[id].flags & libc::O_PATH == 0 => {
                let end = open.bytes() as i64;
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
            Kind::Outside(_) => Err(Stop::Errno(EBADF)),
            Kind::Pipe(_) | Kind::Socket(_) | Kind::Console(_) => Err(Stop::Errno(ESPIPE)),
            // null_lseek and noop_llseek (fs/read_write.c): the position is always 0.
            _ => Ok(0),
        }
    }

    /// getdents64(2): entries as `linux_dirent64`, which is also what `readdir` gives.
    pub(crate) fn directory_entries(&mut self, me: ThreadId, fd: c_int, out: &mut Out<'_>) -> Step {
        let id = self.file(me, fd)?;
        let who = self.who(me);
        let open = self.outside(id).map_err(|_| Stop::Errno(ENOTDIR))?;
        let (path, position) = (open.path.clone(), open.position as usize);
        match &open.content {
            Content::Directory(Some(_)) if position > 0 => {}
            Content::Directory(_) => {
                let entries = self.list(who, &path).map_err(Stop::Errno)?;
                self.outside(id)?.content = Content::Directory(Some(entries));
            }
            Content::None => return Err(Stop::Errno(EBADF)),
            _ => return Err(Stop::Errno(ENOTDIR)),
        }
        let Content::Directory(Some(entries)) = &self.outside(id)?.content else { return Err(Stop::Errno(ENOTDIR)) };
        let (mut records, mut at) = (Vec::new(), position);
        while let Some((name, kind)) = entries.get(at) {
            let record = directory_record(&path, name, *kind, at as u64 + 1);
            if records.len() + record.len() > out.len() {
                break;
            }
            records.extend_from_slice(&record);
            at += 1;
        }
        if records.is_empty() && at < entries.len() {
            return Err(Stop::Errno(EINVAL)); // getdents(2): the buffer is too small
        }
        self.outside(id)?.position = at as u64;
        self.log.returned(&records);
        out.write_at(0, &records);
        Ok(records.len() as i64)
    }

    /// mmap(2) of a file. The address does not enter the digest, the content does.
    pub(crate) fn map_file(&mut self, me: ThreadId, fd: c_int, at: Mapping, offset: u64) -> Result<usize, Stop> {
        let id = self.file(me, fd)?;
        self.unseen_if_own(id);
        if at.bytes() == 0 || offset % 4096 != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        let kind = &self.files[id].kind;
        if matches!(kind, Kind::Zero) {
            return outside::map_copy(at, &[]).map_err(Stop::Errno);
        }
        let Kind::Outside(open) = kind else { return Err(Stop::Errno(ENODEV)) };
        if at.writes_back() {
            return Err(Stop::Errno(EACCES));
        }
        match &open.content {
            Content::Regular(file) => {
                let address = file.map(at, offset).map_err(Stop::Errno)?;
                let visible = (open.bytes().saturating_sub(offset)).min(at.bytes() as u64);
                if !open.own {
                    self.note_content(id, offset, visible)?;
                }
                Ok(address)
            }
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

    /// Bytes of an open file for sendfile(2), without moving its position.
    pub(crate) fn peek_file(
        &mut self,
        me: ThreadId,
        fd: c_int,
        offset: Option<u64>,
        bytes: usize,
    ) -> Result<Vec<u8>, Stop> {
        let id = self.file(me, fd)?;
        let open = self.outside(id)?;
        let from = offset.unwrap_or(open.position);
        let mut buffer = vec![0; bytes.min(BLOCK_BYTES)];
        let count = open.read_at(&mut buffer, from)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// Moves an open file's position on.
    pub(crate) fn skip_in_file(&mut self, me: ThreadId, fd: c_int, bytes: u64) {
        if let Ok(open) = self.file(me, fd).and_then(|id| self.outside(id)) {
            open.position += bytes;
        }
    }
}

/// `struct linux_dirent64` (getdents(2)): inode, offset of the next, length, type, name; aligned to eight bytes.
fn directory_record(directory: &Path, name: &[u8], kind: u32, next: u64) -> Vec<u8> {
    const NAME_AT: usize = 19;
    let bytes = (NAME_AT + name.len() + 1).next_multiple_of(8);
    let path = match name {
        b"." => directory.to_owned(),
        b".." => directory.parent().unwrap_or(directory).to_owned(),
        _ => directory.join(std::ffi::OsStr::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name))),
    };
    let mut record = Vec::with_capacity(bytes);
    record.extend_from_slice(&super::stat::inode(&path).to_ne_bytes());
    record.extend_from_slice(&next.to_ne_bytes());
    record.extend_from_slice(&(bytes as u16).to_ne_bytes());
    record.push((kind >> 12) as u8); // IFTODT (dirent.h)
    record.extend_from_slice(name);
    record.resize(bytes, 0);
    record
}
