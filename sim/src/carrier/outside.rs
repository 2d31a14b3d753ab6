//! The real files outside: everything that the simulated kernel asks of the real one about files, read-only.
//!
//! Runs on the carrier, where libc's functions are the genuine ones. Descriptors opened here are never a program's.

use super::real::raw_syscall;
use libc::c_int;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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

    /// Whether others are to see what is written to it.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.flags & libc::MAP_TYPE, libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE)
    }

    /// Whether it is said to be shared or private, one of which it has to be (mmap(2)).
    pub(crate) fn has_type(&self) -> bool {
        self.is_shared() || self.flags & libc::MAP_TYPE == libc::MAP_PRIVATE
    }

    /// Whether it is to be written or run.
    pub(crate) fn is_more_than_read(&self) -> bool {
        self.protection & (libc::PROT_WRITE | libc::PROT_EXEC) != 0
    }

    /// The same memory, out of everybody's reach.
    pub(crate) fn out_of_reach(self) -> Mapping {
        Mapping { protection: libc::PROT_NONE, ..self }
    }

    /// Whether writes to it are to reach the file.
    pub(crate) fn writes_back(&self) -> bool {
        self.is_shared() && self.protection & libc::PROT_WRITE != 0
    }
}

/// Memory that the real kernel shares out, by a file without a name: what a simulated file's mappings look at.
pub(crate) struct Region(File);

impl Region {
    /// An empty one.
    ///
    /// # Errors
    /// The real errno.
    pub(crate) fn new() -> Result<Region, c_int> {
        let name = c"windtunnel".as_ptr() as usize;
        let make = || {
            // SAFETY: a C string.
            unsafe { raw_syscall(libc::SYS_memfd_create, [name, libc::MFD_CLOEXEC as usize, 0, 0, 0, 0]) }
        };
        let fd = match make() {
            error if error == -(libc::EMFILE as isize) && raise_descriptor_limit() => make(),
            other => other,
        };
        if fd < 0 {
            return Err(-fd as c_int);
        }
        // SAFETY: a fresh descriptor that is nobody else's.
        Ok(Region(unsafe { File::from_raw_fd(fd as c_int) }))
    }

    /// Sets its size: what is added is zero.
    pub(crate) fn resize(&self, bytes: u64) {
        if self.0.metadata().map_or(0, |m| m.len()) != bytes {
            let _ = self.0.set_len(bytes);
        }
    }

    /// Reads what is there; beyond the end zeros.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) {
        let count = self.0.read_at(buffer, offset).unwrap_or(0);
        buffer[count..].fill(0);
    }

    /// Writes, within its size.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        let _ = self.0.write_all_at(bytes, offset);
    }

    /// mmap(2), shared.
    ///
    /// # Errors
    /// The real errno.
    pub(crate) fn map(&self, at: Mapping, offset: u64) -> Result<usize, c_int> {
        map(at, at.flags, self.0.as_raw_fd(), offset)
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

/// Room for any path: `PATH_MAX`. A test that brings an allocator of its own shares it with the simulated kernel, and
/// addresses seed hashers; so what is allocated for a real path must not depend on its length, which differs from one
/// checkout to the next.
const PATH_BYTES: usize = 4096;

/// An empty path that never has to grow.
pub(crate) fn path_buffer() -> PathBuf {
    PathBuf::with_capacity(PATH_BYTES)
}

/// Runs a call that writes a path into a buffer and answers its length.
fn written_path(call: impl FnOnce(&mut [u8; PATH_BYTES]) -> isize) -> PathBuf {
    let mut bytes = [0; PATH_BYTES];
    let count = usize::try_from(call(&mut bytes)).unwrap_or(0).min(PATH_BYTES);
    let mut path = path_buffer();
    path.push(OsStr::from_bytes(bytes[..count].split(|byte| *byte == 0).next().unwrap_or_default()));
    path
}

/// The real working directory.
pub(crate) fn working_directory() -> PathBuf {
    // SAFETY: a buffer of that size.
    written_path(|b| unsafe { raw_syscall(libc::SYS_getcwd, [b.as_mut_ptr() as usize, b.len(), 0, 0, 0, 0]) })
}

/// The real path of the executable.
pub(crate) fn executable() -> PathBuf {
    let link = c"/proc/self/exe".as_ptr() as usize;
    // SAFETY: a C string and a buffer of that size.
    written_path(|b| unsafe { raw_syscall(libc::SYS_readlink, [link, b.as_mut_ptr() as usize, b.len(), 0, 0, 0]) })
}

/// `/proc/self/maps`: more than enough room is taken at once, see [`path_buffer`].
pub(crate) fn mappings() -> Vec<u8> {
    let mut text = Vec::with_capacity(4 << 20);
    if let Ok(mut maps) = File::open("/proc/self/maps") {
        let _ = maps.read_to_end(&mut text);
    }
    text
}

/// The names in a directory with the type bits of `st_mode`, sorted by name, without `.` and `..`.
///
/// # Errors
/// The real errno.
pub(crate) fn list(path: &Path) -> Result<Vec<(Vec<u8>, u32)>, c_int> {
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK).open(path);
    let directory = directory.map_err(|e| errno(&e))?;
    let (mut names, mut buffer) = (Vec::new(), vec![0u8; 1 << 16]);
    loop {
        let arguments = [directory.as_raw_fd() as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0];
        // SAFETY: an open directory and a buffer of that size.
        match unsafe { raw_syscall(libc::SYS_getdents64, arguments) } {
            0 => break,
            count if count > 0 => entries(&buffer[..count as usize], &mut names),
            error => return Err(-error as c_int),
        }
    }
    names.sort();
    Ok(names)
}

/// Takes names and types from `linux_dirent64` records (getdents(2)).
fn entries(mut records: &[u8], names: &mut Vec<(Vec<u8>, u32)>) {
    const LENGTH_AT: usize = 16;
    const KIND_AT: usize = 18;
    const NAME_AT: usize = 19;
    while records.len() > NAME_AT {
        let length = usize::from(u16::from_ne_bytes([records[LENGTH_AT], records[LENGTH_AT + 1]]));
        let Some(record) = records.get(..length.max(NAME_AT + 1)) else { break };
        let name = record[NAME_AT..].split(|byte| *byte == 0).next().unwrap_or_default();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), u32::from(record[KIND_AT]) << 12)); // DTTOIF (dirent.h)
        }
        records = &records[record.len()..];
    }
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
