//! The calls about paths: open(2), stat(2), access(2), readlink(2), realpath(3), chdir(2), and what directories hold.

use super::change::At;
use super::walk::{Found, Last, walk};
use super::{Device, Make, Node, Stat, Who, own, tree};
use crate::carrier::outside;
use crate::kernel::file::{FileId, Kind};
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use libc::{EACCES, EBADF, EEXIST, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, ENXIO, EROFS, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `O_LARGEFILE` as 64-bit kernels set it on each file opened by path (`force_o_largefile`); F_GETFL shows it.
const LARGE_FILE: c_int = 0x8000;
/// Flags that open(2) acts upon once and F_GETFL does not show (`VALID_OPEN_FLAGS` minus `O_CREAT`…, fs/fcntl.c).
const ONCE: c_int = libc::O_CREAT | libc::O_EXCL | libc::O_NOCTTY | libc::O_TRUNC | libc::O_CLOEXEC;

impl Kernel {
    /// The calling thread and its process.
    pub(super) fn who(&self, me: ThreadId) -> Who {
        Who { process: self.threads[me].process, thread: me }
    }

    /// Content of a made-up file.
    pub(super) fn make(&mut self, make: Make, who: Who) -> Vec<u8> {
        match make {
            Make::Text(text) => text.as_bytes().to_vec(),
            Make::By(make) if self.processes.get(who.process).is_some() => make(self, who),
            Make::By(_) => Vec::new(),
        }
    }

    /// Where a relative path begins.
    pub(super) fn base(&self, me: ThreadId, directory: c_int, path: &[u8]) -> Result<PathBuf, Stop> {
        if path.starts_with(b"/") {
            return Ok(PathBuf::from("/"));
        }
        if directory == libc::AT_FDCWD {
            return Ok(self.processes[self.threads[me].process].place.directory.clone());
        }
        let id = self.file(me, directory)?;
        match &self.files[id].kind {
            Kind::Outside(open) if open.node().is_directory() => Ok(open.path().to_owned()),
            _ => Err(Stop::Errno(ENOTDIR)),
        }
    }

    fn resolve(&mut self, me: ThreadId, at: At<'_>, last: Last) -> Result<Found, Stop> {
        let who = self.who(me);
        if self.own.covers(self, who, at.path) {
            self.leave_no_trace();
        }
        let base = self.base(me, at.directory, at.path)?;
        walk(self, who, &base, at.path, last).map_err(Stop::Errno)
    }

    fn existing(&mut self, me: ThreadId, at: At<'_>, last: Last) -> Result<(PathBuf, Node), Stop> {
        let found = self.resolve(me, at, last)?;
        found.node.map(|node| (found.path, node)).ok_or(Stop::Errno(ENOENT))
    }

    /// open(2).
    pub(crate) fn open(&mut self, me: ThreadId, at: At<'_>, flags: c_int) -> Step {
        let path_only = flags & libc::O_PATH != 0;
        let flags = match path_only {
            // open(2): with O_PATH, flags other than these are ignored.
            true => flags & (libc::O_PATH | libc::O_CLOEXEC | libc::O_DIRECTORY | libc::O_NOFOLLOW),
            false => flags,
        };
        let creates = flags & libc::O_CREAT != 0;
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        let exclusive = creates && flags & libc::O_EXCL != 0;
        let last = if flags & libc::O_NOFOLLOW != 0 || exclusive { Last::Keep } else { Last::Follow };
        let found = self.resolve(me, at, last)?;
        if creates && found.slash && !at.path.is_empty() {
            return Err(Stop::Errno(EISDIR));
        }
        let Some(node) = found.node.clone() else {
            return Err(if creates { self.refuse_change(me, "open", at.path) } else { Stop::Errno(ENOENT) });
        };
        if exclusive {
            return Err(Stop::Errno(EEXIST));
        }
        if matches!(node, Node::Link(_)) && !path_only {
            return Err(Stop::Errno(ELOOP));
        }
        if node.is_directory() && (writes || creates) {
            // O_TMPFILE contains O_DIRECTORY: an unnamed file in that directory.
            let temporary = flags & libc::O_TMPFILE == libc::O_TMPFILE;
            return Err(if temporary { self.refuse_change(me, "open", at.path) } else { Stop::Errno(EISDIR) });
        }
        if flags & libc::O_DIRECTORY != 0 && !node.is_directory() {
            return Err(Stop::Errno(ENOTDIR));
        }
        let who = self.who(me);
        let kind = match &node {
            Node::Handle(file) if !path_only => return self.reopen(me, *file, flags),
            Node::Device(device) if !path_only => open_device(*device)?,
            _ if !writes => self.open_found(who, found, node, flags)?,
            Node::Made(..) if found.path.starts_with("/proc") => self.open_setting(&found.path)?,
            Node::Made(..) if found.path.starts_with("/sys") => return Err(Stop::Errno(EACCES)),
            _ => return Err(self.refuse_change(me, "open", at.path)),
        };
        let own = self.own.covers(self, who, at.path);
        let fd = self.open_new(me, kind, flags & !(ONCE & !libc::O_CLOEXEC) | LARGE_FILE)?;
        let id = self.file(me, fd)?;
        self.set_own(id, own);
        Ok(i64::from(fd))
    }

    /// A setting of the process's own that may be written and changes nothing here; the rest belongs to root.
    fn open_setting(&self, path: &Path) -> Result<Kind, Stop> {
        const OWN: [&str; 4] = ["oom_score_adj", "oom_adj", "coredump_filter", "comm"];
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if OWN.contains(&name) { Ok(Kind::Null) } else { Err(Stop::Errno(EACCES)) }
    }

    /// open(2) of `/proc/self/fd/N`.
    fn reopen(&mut self, me: ThreadId, file: FileId, flags: c_int) -> Step {
        let kind = match &self.files[file].kind {
            Kind::Console(stream) => Kind::Console(*stream),
            Kind::Null => Kind::Null,
            Kind::Zero => Kind::Zero,
            Kind::Full => Kind::Full,
            Kind::Random => Kind::Random,
            // One file with two descriptors rather than a second file: its status flags are shared.
            Kind::Pipe(_) => {
                return self.new_descriptor(me, file, flags & libc::O_CLOEXEC != 0).map(i64::from);
            }
            Kind::Socket(_) | Kind::Event(_) | Kind::Timer(_) | Kind::Epoll(_) => return Err(Stop::Errno(ENXIO)),
            Kind::Outside(_) => return Err(Stop::Errno(EINVAL)), // resolved to its path already
        };
        self.open_new(me, kind, flags & !(ONCE & !libc::O_CLOEXEC) | LARGE_FILE).map(i64::from)
    }

    /// stat(2), lstat(2), fstatat(2); with `AT_EMPTY_PATH`, fstat(2).
    pub(crate) fn stat(&mut self, me: ThreadId, at: At<'_>, flags: c_int) -> Result<Stat, Stop> {
        if at.path.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
            if at.directory == libc::AT_FDCWD {
                return self.stat(me, At { path: b".", ..at }, 0);
            }
            return self.stat_open(me, at.directory);
        }
        let last = if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { Last::Keep } else { Last::Follow };
        let (path, node) = self.existing(me, at, last)?;
        let mut stat = self.stat_node(&path, &node);
        if let (Node::Handle(file), Last::Keep) = (&node, last) {
            stat.mode = libc::S_IFLNK | 0o700;
            stat.bytes = tree::describe_handle(self, *file).len() as u64;
        }
        self.log.returned(&stat.to_bytes());
        Ok(stat)
    }

    /// fstat(2).
    pub(crate) fn stat_open(&mut self, me: ThreadId, fd: c_int) -> Result<Stat, Stop> {
        let id = self.file(me, fd)?;
        self.unseen_if_own(id);
        let stat = self.stat_file(id);
        self.log.returned(&stat.to_bytes());
        Ok(stat)
    }

    /// access(2): as user 1000, who owns nothing; what is outside is mounted read-only.
    pub(crate) fn access(&mut self, me: ThreadId, at: At<'_>, mode: c_int, flags: c_int) -> Step {
        if mode & !(libc::R_OK | libc::W_OK | libc::X_OK) != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        let stat = self.stat(me, at, flags)?;
        let device = stat.mode & libc::S_IFMT == libc::S_IFCHR;
        let permissions = stat.mode & 7 | if stat.owner == super::USER_ID { stat.mode >> 6 & 7 } else { 0 };
        if mode & libc::W_OK != 0 && !device && stat.owner != super::USER_ID {
            let proc = stat.mode & 0o222 == 0;
            return Err(Stop::Errno(if proc { EACCES } else { EROFS }));
        }
        let denied = mode as u32 & !permissions != 0;
        if denied { Err(Stop::Errno(EACCES)) } else { Ok(0) }
    }

    /// readlink(2).
    pub(crate) fn read_link(&mut self, me: ThreadId, at: At<'_>) -> Result<Vec<u8>, Stop> {
        let target = match self.existing(me, at, Last::Keep)?.1 {
            Node::Link(target) => target,
            Node::Handle(file) => tree::describe_handle(self, file),
            _ => return Err(Stop::Errno(EINVAL)),
        };
        self.log.returned(&target);
        Ok(target)
    }

    /// realpath(3).
    pub(crate) fn real_path(&mut self, me: ThreadId, path: &[u8]) -> Result<Vec<u8>, Stop> {
        let (path, _) = self.existing(me, At { directory: libc::AT_FDCWD, path }, Last::Follow)?;
        let path = path.into_os_string().into_encoded_bytes();
        self.log.returned(&path);
        Ok(path)
    }

    /// chdir(2).
    pub(crate) fn change_directory(&mut self, me: ThreadId, path: &[u8]) -> Step {
        let (path, node) = self.existing(me, At { directory: libc::AT_FDCWD, path }, Last::Follow)?;
        if !node.is_directory() {
            return Err(Stop::Errno(ENOTDIR));
        }
        let process = self.threads[me].process;
        self.processes[process].place.directory = path;
        Ok(0)
    }

    /// fchdir(2).
    pub(crate) fn change_directory_to(&mut self, me: ThreadId, fd: c_int) -> Step {
        self.file(me, fd)?;
        let base = self.base(me, fd, b".")?;
        let process = self.threads[me].process;
        self.processes[process].place.directory = base;
        Ok(0)
    }

    /// getcwd(3).
    pub(crate) fn working_directory(&self, me: ThreadId) -> Vec<u8> {
        self.processes[self.threads[me].process].place.directory.as_os_str().as_bytes().to_vec()
    }

    /// umask(2).
    pub(crate) fn set_umask(&mut self, me: ThreadId, mask: u32) -> u32 {
        let process = self.threads[me].process;
        std::mem::replace(&mut self.processes[process].place.umask, mask & 0o777)
    }

    /// What a directory holds, in the order in which it is listed: `.`, `..`, then by name.
    pub(super) fn list(&self, who: Who, path: &Path) -> Result<Vec<(Vec<u8>, u32)>, i32> {
        let made = tree::list(self, who, path);
        let mut entries = if made.closed { Ok(Vec::new()) } else { outside::list(&self.own.real(who, self, path)) };
        if entries == Err(ENOENT) && tree::is_directory(path.as_os_str().as_bytes()) {
            entries = Ok(Vec::new());
        }
        let mut entries = entries?;
        entries.retain(|(name, _)| !made.hidden.contains(name) && !made.names.iter().any(|(made, _)| made == name));
        entries.extend(made.names);
        if path == Path::new("/") {
            entries.retain(|(name, _)| name != &own::WORKSPACE.as_bytes()[1..]);
            entries.push((own::WORKSPACE.as_bytes()[1..].to_vec(), libc::S_IFDIR));
        }
        entries.sort();
        let dots = [b".".to_vec(), b"..".to_vec()].map(|name| (name, libc::S_IFDIR));
        Ok(dots.into_iter().chain(entries).collect())
    }

    /// flock(2) and fcntl(2) locks: nobody else has a file here that could be locked against, so each lock is granted.
    pub(crate) fn lock_file(&mut self, me: ThreadId, fd: c_int) -> Step {
        let id = self.file(me, fd)?;
        if self.files[id].flags & libc::O_PATH != 0 { Err(Stop::Errno(EBADF)) } else { Ok(0) }
    }

    /// posix_fadvise(2) and readahead(2) on what can be read ahead.
    pub(crate) fn advise(&self, me: ThreadId, fd: c_int) -> Step {
        let id = self.file(me, fd)?;
        match self.files[id].kind {
            Kind::Pipe(_) | Kind::Socket(_) | Kind::Console(_) => Err(Stop::Errno(libc::ESPIPE)),
            _ => Ok(0),
        }
    }

    /// Whether a path leads to something: statfs(2), getxattr(2), inotify_add_watch(2).
    pub(crate) fn must_exist(&mut self, me: ThreadId, at: At<'_>, last: Last) -> Step {
        self.existing(me, at, last).map(|_| 0)
    }
}

fn open_device(device: Device) -> Result<Kind, Stop> {
    Ok(match device {
        Device::Null => Kind::Null,
        Device::Zero => Kind::Zero,
        Device::Full => Kind::Full,
        Device::Random => Kind::Random,
        // tty(4): without a controlling terminal.
        Device::Terminal => return Err(Stop::Errno(ENXIO)),
    })
}
