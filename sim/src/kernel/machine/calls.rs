//! The calls about paths: open(2), stat(2), access(2), readlink(2), realpath(3), chdir(2), and what directories hold.

use super::change::At;
use super::disk_file::Listed;
use super::walk::{Base, Found, LINKS_MAX, Last, link_target, parent};
use super::{Device, DiskFile, Make, Node, Stat, Who, access, own, stat, tree};
use crate::carrier::outside;
use crate::kernel::disk::{Inode, Regular, What};
use crate::kernel::file::{FileId, Kind};
use crate::kernel::process::Process;
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use libc::{EACCES, EEXIST, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, ENXIO, EPERM, c_int};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
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
    pub(super) fn base(&self, me: ThreadId, directory: c_int, path: &[u8]) -> Result<Base, Stop> {
        if path.is_empty() {
            return Err(Stop::Errno(ENOENT)); // before anybody looks at the descriptor (fs/namei.c, getname_flags)
        }
        if path.starts_with(b"/") {
            return Ok(Base::Fixed(PathBuf::from("/")));
        }
        if directory == libc::AT_FDCWD {
            return Ok(self.processes[self.threads[me].process].place.directory.clone());
        }
        let id = self.raw_file(me, directory)?;
        match &self.files[id].kind {
            Kind::Outside(open) if open.node().is_directory() => Ok(Base::Fixed(open.path().to_owned())),
            Kind::Disk(_) => {
                let inode = self.own_inode(me, id)?;
                let is_directory = self.hosts[self.host_id(me)].disk.inode(inode).directory().is_some();
                if is_directory { Ok(Base::Disk(inode)) } else { Err(Stop::Errno(ENOTDIR)) }
            }
            _ => Err(Stop::Errno(ENOTDIR)),
        }
    }

    /// Where a process works; `None` when that was removed.
    pub(super) fn directory_of(&self, process: &Process) -> Option<PathBuf> {
        match &process.place.directory {
            Base::Fixed(path) => Some(path.clone()),
            Base::Disk(inode) => self.hosts[process.host].disk.path_of(*inode),
        }
    }

    /// What `/proc/self/cwd` says.
    pub(super) fn describe_directory_of(&self, process: &Process) -> Vec<u8> {
        match (self.directory_of(process), &process.place.directory) {
            (Some(path), _) => path.into_os_string().into_encoded_bytes(),
            (None, Base::Disk(inode)) => {
                let directory = self.hosts[process.host].disk.inode(*inode).directory();
                deleted(directory.and_then(|directory| directory.was.as_ref()).map_or(Path::new("/"), |was| &was.path))
            }
            (None, Base::Fixed(path)) => deleted(path),
        }
    }

    /// What `/proc/self/fd/N` says of an open file of the disk.
    pub(super) fn path_of_open(&self, open: &DiskFile) -> Vec<u8> {
        let disk = &self.hosts[open.host()].disk;
        match (disk.get(open.inode()).and_then(Inode::directory), open.name()) {
            (Some(directory), _) => match disk.path_of(open.inode()) {
                Some(path) => path.into_os_string().into_encoded_bytes(),
                None => deleted(directory.was.as_ref().map_or(open.path(), |was| &was.path)),
            },
            (None, Some(name)) => match name.path(disk) {
                Some(path) if name.linked => path.into_os_string().into_encoded_bytes(),
                path => deleted(&path.unwrap_or_else(|| open.path().to_owned())),
            },
            (None, None) => deleted(open.path()),
        }
    }

    fn resolve(&mut self, me: ThreadId, at: At<'_>, last: Last) -> Result<Found, Stop> {
        let who = self.who(me);
        if self.own.covers(self, who, at.path) {
            self.leave_no_trace();
        }
        let found = self.target(me, at, last)?;
        if self.own.covers(self, who, found.path.as_os_str().as_bytes()) {
            self.leave_no_trace();
        }
        Ok(found)
    }

    pub(super) fn existing(&mut self, me: ThreadId, at: At<'_>, last: Last) -> Result<(PathBuf, Node), Stop> {
        let found = self.resolve(me, at, last)?;
        found.node.map(|node| (found.path, node)).ok_or(Stop::Errno(ENOENT))
    }

    /// open(2); `mode` is of what it makes.
    pub(crate) fn open(&mut self, me: ThreadId, at: At<'_>, flags: c_int, mode: u32) -> Step {
        let path_only = flags & libc::O_PATH != 0;
        let flags = match path_only {
            // open(2): with O_PATH, flags other than these are ignored.
            true => flags & (libc::O_PATH | libc::O_CLOEXEC | libc::O_DIRECTORY | libc::O_NOFOLLOW),
            false => flags,
        };
        // O_TMPFILE contains O_DIRECTORY: an unnamed file in that directory.
        let temporary = flags & libc::O_TMPFILE == libc::O_TMPFILE;
        let creates = flags & libc::O_CREAT != 0;
        if creates && flags & libc::O_DIRECTORY != 0 || temporary && flags & libc::O_ACCMODE == libc::O_RDONLY {
            return Err(Stop::Errno(EINVAL)); // fs/open.c, build_open_flags
        }
        // fs/open.c, do_sys_openat2: a number first, so that nothing is made that could not be opened.
        if !at.path.is_empty() {
            self.check_descriptor_room(me)?;
        }
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        let exclusive = creates && flags & libc::O_EXCL != 0;
        let last = match flags & libc::O_NOFOLLOW {
            _ if creates && at.path.ends_with(b"/") => Last::Entry,
            0 if creates && !exclusive => Last::Create,
            0 if !exclusive => Last::Follow,
            _ => Last::Keep,
        };
        let found = self.resolve(me, at, last)?;
        if creates && found.slash {
            // fs/namei.c, open_last_lookups and do_open
            let there = exclusive && super::change::ends_in_dots(at.path);
            return Err(Stop::Errno(if there { EEXIST } else { EISDIR }));
        }
        let Some(node) = found.node.clone() else {
            if !creates {
                return Err(Stop::Errno(ENOENT));
            }
            found.check_alive()?;
            let inode = self.make_at(me, &found.path, What::Regular(Regular::default()), mode)?;
            let kind = self.open_inode(me, inode, found.path);
            return self.finish_open(me, kind, flags & !libc::O_TRUNC);
        };
        if exclusive {
            return Err(Stop::Errno(EEXIST));
        }
        if node.is_directory() && temporary {
            return self.open_unnamed(me, &found.path, flags, mode);
        }
        self.check_kind(me, &found.path, &node, flags)?;
        let who = self.who(me);
        let kind = match &node {
            Node::Handle(file) if !path_only => return self.reopen(me, *file, flags),
            Node::Device(device) if !path_only => open_device(*device)?,
            Node::Own(..) => self.open_on_disk(me, &found.path, &node, flags)?,
            // Its entries may change while it is open, and so may its place.
            Node::Directory | Node::MadeDirectory if !access::is_systems(&found.path) => {
                self.open_on_disk(me, &found.path, &node, flags)?
            }
            _ if !writes => self.open_found(who, found, node, flags)?,
            Node::Made(..) if found.path.starts_with("/proc") => self.open_setting(&found.path)?,
            Node::Special(_) => return Err(Stop::Errno(ENXIO)),
            _ if access::is_systems(&found.path) => return Err(Stop::Errno(EACCES)),
            _ => self.open_on_disk(me, &found.path, &node, flags)?,
        };
        self.finish_open(me, kind, flags)
    }

    /// open(2) with `O_TMPFILE`, in a directory.
    fn open_unnamed(&mut self, me: ThreadId, directory: &Path, flags: c_int, mode: u32) -> Step {
        self.directory_to_change(me, directory)?;
        let inode = self.new_inode(me, What::Regular(Regular::default()), mode)?;
        self.disk(me).inode_mut(inode).linkable = flags & libc::O_EXCL == 0;
        // `d_tmpfile` (fs/dcache.c) calls it by its number.
        let name = format!("#{}", self.disk(me).inode(inode).number);
        let kind = self.open_inode(me, inode, directory.join(name));
        self.finish_open(me, kind, flags)
    }

    /// Whether what is there can be opened with these flags, in the order of `do_open` and `may_open` (fs/namei.c).
    fn check_kind(&self, me: ThreadId, path: &Path, node: &Node, flags: c_int) -> Result<(), Stop> {
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        if node.is_directory() && (writes || flags & libc::O_CREAT != 0) {
            return Err(Stop::Errno(EISDIR));
        }
        if flags & libc::O_DIRECTORY != 0 && !node.is_directory() {
            return Err(Stop::Errno(ENOTDIR));
        }
        let handle = flags & libc::O_NOFOLLOW != 0 && matches!(node, Node::Handle(_));
        let link = handle || matches!(node, Node::Link(_) | Node::Own(_, libc::S_IFLNK));
        if link && flags & libc::O_PATH == 0 {
            return Err(Stop::Errno(ELOOP));
        }
        let keeps_time = flags & libc::O_NOATIME != 0 && !writes && !matches!(node, Node::Handle(_));
        if keeps_time && self.stat_node(me, path, node).owner != super::USER_ID {
            return Err(Stop::Errno(EPERM));
        }
        Ok(())
    }

    /// Opens what is on the disk, or belongs there once it is changed.
    fn open_on_disk(&mut self, me: ThreadId, path: &Path, node: &Node, flags: c_int) -> Result<Kind, Stop> {
        let path_only = flags & libc::O_PATH != 0;
        if !path_only {
            let wanted = match flags & libc::O_ACCMODE {
                libc::O_RDONLY => libc::R_OK,
                libc::O_WRONLY => libc::W_OK,
                _ => libc::R_OK | libc::W_OK,
            };
            let cuts = if flags & libc::O_TRUNC != 0 { libc::W_OK } else { 0 };
            if matches!(node, Node::Own(_, libc::S_IFSOCK)) {
                return Err(Stop::Errno(ENXIO));
            }
            self.check_writable(me, node, wanted | cuts)?;
        }
        let inode = self.inode_at(me, path, node)?;
        Ok(self.open_inode(me, inode, path.to_owned()))
    }

    fn finish_open(&mut self, me: ThreadId, kind: Kind, flags: c_int) -> Step {
        let large = if flags & libc::O_PATH != 0 { 0 } else { LARGE_FILE };
        let fd = self.open_new(me, kind, flags & !(ONCE & !libc::O_CLOEXEC) | large)?;
        let id = self.raw_file(me, fd)?;
        self.now_open(id, flags);
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
            Kind::Socket(_) | Kind::Event(_) | Kind::Timer(_) | Kind::Epoll(_) | Kind::Inotify(_) => {
                return Err(Stop::Errno(ENXIO));
            }
            // A host's own is resolved to its path already.
            Kind::Disk(_) => return Err(Stop::Errno(EACCES)),
            Kind::Outside(_) => return Err(Stop::Errno(EINVAL)),
        };
        self.finish_open(me, kind, flags)
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
        if let Node::Own(inode, libc::S_IFREG) = node {
            let host = self.host_id(me);
            self.absorb_mapped(host, inode);
        }
        let mut stat = self.stat_node(me, &path, &node);
        if let (Node::Handle(file), Last::Keep) = (&node, last) {
            stat.mode = libc::S_IFLNK | 0o700;
            stat.bytes = tree::describe_handle(self, *file).len() as u64;
        }
        self.log.returned(&stat.to_bytes());
        Ok(stat)
    }

    /// fstat(2).
    pub(crate) fn stat_open(&mut self, me: ThreadId, fd: c_int) -> Result<Stat, Stop> {
        let id = self.raw_file(me, fd)?;
        self.unseen_if_own(id);
        if let Kind::Disk(open) = &self.files[id].kind
            && self.hosts[open.host()].disk.has(open.inode())
        {
            self.absorb_mapped(open.host(), open.inode());
        }
        let stat = self.stat_file(me, id);
        self.log.returned(&stat.to_bytes());
        Ok(stat)
    }

    /// access(2).
    pub(crate) fn access(&mut self, me: ThreadId, at: At<'_>, mode: c_int, flags: c_int) -> Step {
        if mode & !(libc::R_OK | libc::W_OK | libc::X_OK) != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        let stat = self.stat(me, at, flags)?;
        if access::stat_allows(&stat, mode) { Ok(0) } else { Err(Stop::Errno(EACCES)) }
    }

    /// readlink(2).
    pub(crate) fn read_link(&mut self, me: ThreadId, at: At<'_>) -> Result<Vec<u8>, Stop> {
        // readlink(2): with an empty path, the link that was opened with O_PATH and O_NOFOLLOW.
        let opened = if at.path.is_empty() { self.raw_file(me, at.directory).ok() } else { None };
        let node = match opened.map(|id| (id, &self.files[id].kind)) {
            Some((_, Kind::Outside(open))) => open.node().clone(),
            Some((id, Kind::Disk(_))) => {
                let inode = self.own_inode(me, id)?;
                Node::Own(inode, self.disk(me).inode(inode).what.file_type())
            }
            _ => self.existing(me, at, Last::Keep)?.1,
        };
        let link = link_target(self.disk(me), &node).map(<[u8]>::to_vec);
        let target = match (link, node) {
            (Some(target), _) => target,
            (None, Node::Handle(file)) => tree::describe_handle(self, file),
            (None, _) => return Err(Stop::Errno(if opened.is_some() { ENOENT } else { EINVAL })),
        };
        self.log.returned(&target);
        Ok(target)
    }

    /// realpath(3).
    pub(crate) fn real_path(&mut self, me: ThreadId, path: &[u8]) -> Result<Vec<u8>, Stop> {
        let path = self.real_path_in_pieces(me, path)?.into_os_string().into_encoded_bytes();
        self.log.returned(&path);
        Ok(path)
    }

    /// As glibc does it (stdlib/canonicalize.c): it reads one link after the other and takes `..` for the name before
    /// it, so that fewer permissions are asked for than when the kernel walks.
    fn real_path_in_pieces(&mut self, me: ThreadId, path: &[u8]) -> Result<PathBuf, Stop> {
        if path.is_empty() {
            return Err(Stop::Errno(ENOENT));
        }
        if self.own.covers(self, self.who(me), path) {
            self.leave_no_trace();
        }
        let parts = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<VecDeque<_>>();
        let first = if path[0] == b'/' { b"/".to_vec() } else { self.working_directory(me)? };
        let mut real = PathBuf::from(std::ffi::OsString::from_vec(first));
        let (mut rest, mut links) = (parts(path), 0_u32);
        while let Some(part) = rest.pop_front() {
            match &part[..] {
                b"" | b"." => continue,
                b".." => {
                    real = parent(&self.own, &real);
                    continue;
                }
                _ => {}
            }
            let next = real.join(OsStr::from_bytes(&part));
            let at = At { directory: libc::AT_FDCWD, path: next.as_os_str().as_bytes() };
            let (_, node) = self.existing(me, at, Last::Keep)?;
            if node.file_type() != libc::S_IFLNK {
                if !rest.is_empty() && !node.is_directory() {
                    return Err(Stop::Errno(ENOTDIR));
                }
                real = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(Stop::Errno(ELOOP));
            }
            let target = self.read_link(me, at)?;
            if target.starts_with(b"/") {
                real = PathBuf::from("/");
            }
            let mut all = parts(&target);
            all.append(&mut rest);
            rest = all;
        }
        Ok(real)
    }

    /// chdir(2).
    pub(crate) fn change_directory(&mut self, me: ThreadId, path: &[u8]) -> Step {
        let (path, node) = self.existing(me, At { directory: libc::AT_FDCWD, path }, Last::Follow)?;
        if !node.is_directory() {
            return Err(Stop::Errno(ENOTDIR));
        }
        self.work_in(me, &path, &node)
    }

    /// fchdir(2).
    pub(crate) fn change_directory_to(&mut self, me: ThreadId, fd: c_int) -> Step {
        match self.base(me, fd, b".")? {
            Base::Disk(inode) => self.work_in(me, Path::new(""), &Node::Own(inode, libc::S_IFDIR)),
            Base::Fixed(path) => self.work_in(me, &path, &Node::Directory),
        }
    }

    fn work_in(&mut self, me: ThreadId, path: &Path, node: &Node) -> Step {
        self.check_writable(me, node, libc::X_OK)?;
        let place = match node {
            Node::Own(inode, _) => Base::Disk(*inode),
            Node::Directory | Node::MadeDirectory if !access::is_systems(path) => {
                Base::Disk(self.directory_at(me, path)?)
            }
            _ => Base::Fixed(path.to_owned()),
        };
        if let Base::Disk(inode) = &place {
            let inode = *inode;
            self.disk(me).hold(inode);
        }
        let process = self.threads[me].process;
        let left = std::mem::replace(&mut self.processes[process].place.directory, place);
        if let Base::Disk(inode) = left {
            let host = self.host_id(me);
            self.let_go(host, inode);
        }
        Ok(0)
    }

    /// getcwd(3).
    ///
    /// # Errors
    /// `ENOENT` when it was removed.
    pub(crate) fn working_directory(&self, me: ThreadId) -> Result<Vec<u8>, Stop> {
        let path = self.directory_of(&self.processes[self.threads[me].process]).ok_or(Stop::Errno(ENOENT))?;
        Ok(path.into_os_string().into_encoded_bytes())
    }

    /// umask(2).
    pub(crate) fn set_umask(&mut self, me: ThreadId, mask: u32) -> u32 {
        let process = self.threads[me].process;
        std::mem::replace(&mut self.processes[process].place.umask, mask & 0o777)
    }

    /// What lies beneath the disk in a directory, by name and without the dots.
    pub(super) fn list_beneath(&self, who: Who, path: &Path) -> Result<Vec<Listed>, i32> {
        let made = tree::list(self, who, path);
        let closed = made.closed || tree::is_own(path);
        let mut entries = if closed { Ok(Vec::new()) } else { outside::list(&self.own.real(who, self, path)) };
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
        let listed = |(name, kind): (Vec<u8>, u32)| {
            let inode = stat::inode(&path.join(std::ffi::OsStr::from_bytes(&name)));
            Listed { name, kind, inode }
        };
        Ok(entries.into_iter().map(listed).collect())
    }

    /// What a directory holds that is none of the disk's, in the order in which it is listed.
    pub(super) fn list_with_dots(&self, who: Who, path: &Path) -> Result<Vec<Listed>, i32> {
        let dot =
            |name: &[u8], path: &Path| Listed { name: name.to_vec(), kind: libc::S_IFDIR, inode: stat::inode(path) };
        let dots = [dot(b".", path), dot(b"..", path.parent().unwrap_or(path))];
        Ok(dots.into_iter().chain(self.list_beneath(who, path)?).collect())
    }

    /// readahead(2): of files only (`ksys_readahead`, mm/readahead.c).
    pub(crate) fn read_ahead(&self, me: ThreadId, fd: c_int) -> Step {
        let id = self.file(me, fd)?;
        if self.files[id].flags & libc::O_ACCMODE == libc::O_WRONLY {
            return Err(Stop::Errno(libc::EBADF));
        }
        if self.file_type(id) == libc::S_IFREG { Ok(0) } else { Err(Stop::Errno(EINVAL)) }
    }

    /// posix_fadvise(2).
    pub(crate) fn advise(&self, me: ThreadId, fd: c_int) -> Step {
        let id = self.file(me, fd)?;
        match self.files[id].kind {
            Kind::Pipe(_) | Kind::Console(_) => Err(Stop::Errno(libc::ESPIPE)), // S_ISFIFO, mm/fadvise.c
            _ => Ok(0),
        }
    }

    /// Whether a path leads to something: statfs(2), getxattr(2), inotify_add_watch(2).
    pub(crate) fn must_exist(&mut self, me: ThreadId, at: At<'_>, last: Last) -> Step {
        self.existing(me, at, last).map(|_| 0)
    }
}

/// What d_path (fs/d_path.c) says of what has no name any more.
pub(super) fn deleted(was: &Path) -> Vec<u8> {
    [was.as_os_str().as_bytes(), b" (deleted)"].concat()
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
