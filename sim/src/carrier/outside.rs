//! The real files outside: everything that the simulated kernel asks of the real one about files, read-only.
//!
//! Runs on the carrier, where libc's functions are the genuine ones. Descriptors opened here are never a program's.

use super::real::raw_syscall;
use libc::c_int;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What is outside at a path, without following a link there.
pub(crate) enum Seen {
    Directory,
    Regular {
        bytes: u64,
        /// By its owner.
        executable: bool,
    },
    /// The type bits of `st_mode`.
    Special(u32),
    Link(Vec<u8>),
}

fn errno(error: &io::Error) -> c_int {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// lstat(2), and readlink(2) for a link.
///
/// # Errors
/// The real errno.
pub(crate) fn examine(path: &Path) -> Result<Seen, c_int> {
    let found = fs::symlink_metadata(path).map_err(|e| errno(&e))?;
    let kind = found.file_type();
    Ok(if kind.is_symlink() {
        Seen::Link(fs::read_link(path).map_err(|e| errno(&e))?.into_os_string().into_vec())
    } else if kind.is_dir() {
        Seen::Directory
    } else if kind.is_file() {
        Seen::Regular { bytes: found.len(), executable: found.mode() & 0o100 != 0 }
    } else {
        Seen::Special(found.mode() & libc::S_IFMT)
    })
}

/// A regular file, open for reading.
pub(crate) struct RealFile(File);

impl RealFile {
    /// Opens one. Never blocks, whatever has become of the path meanwhile.
    ///
    /// # Errors
    /// The real errno.
    pub(crate) fn open(path: &Path) -> Result<RealFile, c_int> {
        let open = || OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
        let file = match open() {
            // The world's hosts share one real process: its soft limit must not be theirs.
            Err(e) if errno(&e) == libc::EMFILE && raise_descriptor_limit() => open(),
            other => other,
        };
        file.map(RealFile).map_err(|e| errno(&e))
    }

    /// Its size now.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.metadata().map_or(0, |m| m.len())
    }

    /// pread(2), filling the buffer unless the file ends before.
    ///
    /// # Errors
    /// The real errno.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, c_int> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if done > 0 => break,
                Err(e) => return Err(errno(&e)),
            }
        }
        Ok(done)
    }

    /// mmap(2), always private: nobody else sees what the program writes there.
    ///
    /// # Errors
    /// The real errno.
    pub(crate) fn map(&self, at: Mapping, offset: u64) -> Result<usize, c_int> {
        map(at, at.flags & !libc::MAP_TYPE | libc::MAP_PRIVATE, self.0.as_raw_fd(), offset)
    }
}

/// What a program asks of mmap(2).
#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    address: usize,
    bytes: usize,
    protection: c_int,
    flags: c_int,
}

impl Mapping {
    /// # Safety
    /// As mmap(2): with `MAP_FIXED`, the program no longer uses what was mapped there.
    pub(crate) unsafe fn new(address: usize, bytes: usize, protection: c_int, flags: c_int) -> Mapping {
        Mapping { address, bytes, protection, flags }
    }

    /// How long it is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether writes to it are to reach the file.
    pub(crate) fn writes_back(&self) -> bool {
        let shared = matches!(self.flags & libc::MAP_TYPE, libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE);
        shared && self.protection & libc::PROT_WRITE != 0
    }
}

fn map(at: Mapping, flags: c_int, fd: c_int, offset: u64) -> Result<usize, c_int> {
    let arguments = [at.address, at.bytes, at.protection as usize, flags as usize, fd as usize, offset as usize];
    // SAFETY: `Mapping::new` was promised that nothing in use is replaced.
    let result = unsafe { raw_syscall(libc::SYS_mmap, arguments) };
    if result < 0 { Err(-result as c_int) } else { Ok(result as usize) }
}

/// Maps memory that begins with a copy of `content`: how a made-up file is mapped.
///
/// # Errors
/// The real errno.
pub(crate) fn map_copy(at: Mapping, content: &[u8]) -> Result<usize, c_int> {
    let flags = at.flags & !libc::MAP_TYPE | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let writable = Mapping { protection: libc::PROT_READ | libc::PROT_WRITE, ..at };
    let base = map(writable, flags, -1, 0)?;
    let count = content.len().min(at.bytes);
    // SAFETY: the mapping is fresh, writable and at least as long as what is copied.
    unsafe {
        std::ptr::copy_nonoverlapping(content.as_ptr(), base as *mut u8, count);
        raw_syscall(libc::SYS_mprotect, [base, at.bytes, at.protection as usize, 0, 0, 0]);
    }
    Ok(base)
}

/// The whole content of a file that is never large.
///
/// # Errors
/// The real errno.
pub(crate) fn read(path: &str) -> Result<Vec<u8>, c_int> {
    fs::read(path).map_err(|e| errno(&e))
}

/// The names in a directory with the type bits of `st_mode`, sorted by name, without `.` and `..`.
///
/// # Errors
/// The real errno.
pub(crate) fn list(path: &Path) -> Result<Vec<(Vec<u8>, u32)>, c_int> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| errno(&e))? {
        let entry = entry.map_err(|e| errno(&e))?;
        let kind = entry.file_type().map_or(0, |kind| match kind {
            _ if kind.is_dir() => libc::S_IFDIR,
            _ if kind.is_symlink() => libc::S_IFLNK,
            _ if kind.is_file() => libc::S_IFREG,
            _ if kind.is_fifo() => libc::S_IFIFO,
            _ if kind.is_socket() => libc::S_IFSOCK,
            _ if kind.is_char_device() => libc::S_IFCHR,
            _ => libc::S_IFBLK,
        });
        names.push((entry.file_name().as_bytes().to_vec(), kind));
    }
    names.sort();
    Ok(names)
}

/// Raises the real soft limit of descriptors to the hard one; answers whether that changed anything.
fn raise_descriptor_limit() -> bool {
    let mut limit = [0u64; 2];
    // SAFETY: reads and writes two words.
    unsafe {
        let resource = libc::RLIMIT_NOFILE as usize;
        raw_syscall(libc::SYS_prlimit64, [0, resource, 0, limit.as_mut_ptr() as usize, 0, 0]);
        if limit[0] >= limit[1] {
            return false;
        }
        limit[0] = limit[1];
        raw_syscall(libc::SYS_prlimit64, [0, resource, limit.as_ptr() as usize, 0, 0, 0]) == 0
    }
}
