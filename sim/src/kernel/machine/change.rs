//! Names: what makes, moves and removes them. mkdir(2), unlink(2), rename(2), link(2), symlink(2).

use super::disk_file::Place;
use super::walk::{Found, Last, walk};
use super::{Node, access, stat};
use crate::carrier::outside::RealFile;
use crate::kernel::disk::{Attributes, Content, Directory, InodeId, Regular, What};
use crate::kernel::{Kernel, Step, Stop, ThreadId};
use crate::world::HostId;
use libc::{EACCES, EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOSPC, ENOTDIR, ENOTEMPTY, EPERM, EROFS, EXDEV, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path of a `*at` call.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) directory: c_int,
    pub(crate) path: &'a [u8],
}

/// What a call removes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Doomed {
    /// An empty directory.
    Directory,
    /// Anything else.
    Other,
}

/// What a call makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Made<'a> {
    /// With these permissions, less the umask.
    Directory(u32),
    /// A symbolic link to there.
    Link(&'a [u8]),
    /// A node of mknod(2): type and permissions.
    Node(u32),
}

/// The last name of a path; none of the root's.
fn last_part(path: &[u8]) -> Option<&[u8]> {
    path.rsplit(|b| *b == b'/').find(|part| !part.is_empty())
}

/// Whether a path names no entry of a directory, but the root, `.` or `..` (fs/namei.c, `LAST_NORM`).
pub(super) fn ends_in_dots(path: &[u8]) -> bool {
    matches!(last_part(path), None | Some(b"." | b".."))
}

impl Kernel {
    /// What a path leads to, or where it would be.
    pub(super) fn target(&self, me: ThreadId, at: At<'_>, last: Last) -> Result<Found, Stop> {
        let base = self.base(me, at.directory, at.path)?;
        walk(self, self.who(me), &base, at.path, last).map_err(Stop::Errno)
    }

    /// The directory and the name of a path, to be changed.
    fn place(&mut self, me: ThreadId, path: &Path) -> Result<Place, Stop> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Stop::Errno(EBUSY)) };
        Ok((self.directory_to_change(me, parent)?, name.as_bytes().to_vec()))
    }

    /// Attributes of something new, with these permissions less the umask.
    pub(super) fn new_attributes(&self, me: ThreadId, mode: u32) -> Attributes {
        let time = self.file_time(self.host_id(me));
        let umask = self.processes[self.threads[me].process].place.umask;
        Attributes {
            mode: mode & 0o7777 & !umask,
            owner: super::USER_ID,
            group: super::USER_ID,
            read_ns: time,
            written_ns: time,
            changed_ns: time,
            made_ns: time,
        }
    }

    /// Makes an inode that has no name yet.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(super) fn new_inode(&mut self, me: ThreadId, what: What, mode: u32) -> Result<InodeId, Stop> {
        let mut attributes = self.new_attributes(me, mode);
        if matches!(what, What::Link(_)) {
            attributes.mode = 0o777; // symlink(7): never used
        }
        let disk = self.disk(me);
        if disk.space.inodes_free() == 0 {
            disk.space.refused_inodes += 1;
            return Err(Stop::Errno(ENOSPC));
        }
        Ok(disk.make(what, attributes))
    }

    /// Makes something new at a path where nothing is.
    ///
    /// # Errors
    /// As mkdir(2) and its relatives.
    pub(super) fn make_at(&mut self, me: ThreadId, path: &Path, what: What, mode: u32) -> Result<InodeId, Stop> {
        let (directory, name) = self.place(me, path)?;
        // inode(7): in a directory with the set-group-ID bit, new ones have it as well.
        let above = self.disk(me).inode(directory).attributes.mode & libc::S_ISGID;
        let inherits = matches!(what, What::Directory(_)) && above != 0;
        let inode = self.new_inode(me, what, mode)?;
        if inherits {
            self.disk(me).inode_mut(inode).attributes.mode |= libc::S_ISGID;
        }
        let (host, now) = (self.host_id(me), self.now);
        self.hosts[host].disk.link(now, directory, &name, inode);
        self.stamp(host, directory, true);
        self.notice_name(host, &(directory, name), inode, libc::IN_CREATE);
        Ok(inode)
    }

    /// mkdir(2), symlink(2), mknod(2).
    pub(crate) fn make_entry(&mut self, me: ThreadId, at: At<'_>, made: Made<'_>) -> Step {
        let found = self.target(me, at, Last::Entry)?;
        if found.node.is_some() {
            return Err(Stop::Errno(EEXIST));
        }
        found.check_alive()?;
        let (what, mode) = match made {
            Made::Directory(mode) => (What::Directory(Directory::empty()), mode & 0o1777),
            // Only a directory can have a slash behind it.
            _ if found.slash => return Err(Stop::Errno(ENOENT)),
            Made::Link(b"") => return Err(Stop::Errno(ENOENT)),
            Made::Link(target) if target.len() >= super::walk::PATH_BYTES_MAX => {
                return Err(Stop::Errno(libc::ENAMETOOLONG));
            }
            Made::Link(target) => (What::Link(target.to_vec()), 0o777),
            Made::Node(mode) => match mode & libc::S_IFMT {
                0 | libc::S_IFREG => (What::Regular(Regular::default()), mode),
                libc::S_IFSOCK => (What::Socket(Vec::new()), mode),
                libc::S_IFCHR | libc::S_IFBLK => return Err(Stop::Errno(EPERM)),
                libc::S_IFIFO => {
                    self.refuse(me, "mkfifo", "use pipe(2), or a Unix socket, which has a path as well");
                    return Err(Stop::Block);
                }
                _ => return Err(Stop::Errno(EINVAL)),
            },
        };
        self.make_at(me, &found.path, what, mode)?;
        Ok(0)
    }

    /// The inode of what is at a path: taken over from beneath where need be.
    ///
    /// # Errors
    /// `EROFS` for what cannot be changed there.
    pub(super) fn inode_at(&mut self, me: ThreadId, path: &Path, node: &Node) -> Result<InodeId, Stop> {
        if let Node::Own(inode, _) = node {
            return Ok(*inode);
        }
        if access::is_systems(path) {
            return Err(Stop::Errno(EPERM));
        }
        if node.is_directory() {
            return self.directory_at(me, path);
        }
        let what = match node {
            Node::Regular { .. } => {
                let file = RealFile::open(&self.own.real(self.who(me), self, path)).map_err(Stop::Errno)?;
                let mut content = Content::default();
                let mut block = vec![0; 1 << 16];
                loop {
                    let count = file.read_at(&mut block, content.bytes()).map_err(Stop::Errno)?;
                    if count == 0 {
                        break;
                    }
                    content.write(content.bytes(), &block[..count]);
                }
                What::Regular(Regular::durable(content))
            }
            Node::Link(target) => What::Link(target.clone()),
            Node::Special(_) => What::Socket(Vec::new()),
            _ => return Err(Stop::Errno(EROFS)),
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Stop::Errno(EBUSY)) };
        let directory = self.directory_at(me, parent)?;
        let attributes = self.attributes_beneath(path, node);
        Ok(self.disk(me).adopt(directory, name.as_bytes(), stat::inode(path), what, attributes))
    }

    /// unlink(2) and rmdir(2), in the order of checks of fs/namei.c.
    pub(crate) fn remove_entry(&mut self, me: ThreadId, at: At<'_>, what: Doomed) -> Step {
        let name = last_part(at.path);
        let found = self.target(me, at, Last::Entry)?;
        match (what, name) {
            (Doomed::Directory, None) => return Err(Stop::Errno(EBUSY)),
            (Doomed::Directory, Some(b".")) => return Err(Stop::Errno(EINVAL)),
            (Doomed::Directory, Some(b"..")) => return Err(Stop::Errno(ENOTEMPTY)),
            (Doomed::Other, None | Some(b"." | b"..")) => return Err(Stop::Errno(EISDIR)),
            _ => {}
        }
        let Some(node) = found.node.clone() else { return Err(Stop::Errno(ENOENT)) };
        if what == Doomed::Other && found.slash {
            return Err(Stop::Errno(if node.is_directory() { EISDIR } else { ENOTDIR }));
        }
        let (directory, name) = self.place(me, &found.path)?;
        match (what, node.is_directory()) {
            (Doomed::Directory, false) => return Err(Stop::Errno(ENOTDIR)),
            (Doomed::Other, true) => return Err(Stop::Errno(EISDIR)),
            (Doomed::Directory, true) if !self.is_empty_directory(me, &found)? => return Err(Stop::Errno(ENOTEMPTY)),
            _ => {}
        }
        let inode = self.inode_at(me, &found.path, &node)?;
        let (host, now) = (self.host_id(me), self.now);
        if let What::Socket(bound) = &self.hosts[host].disk.inode(inode).what {
            let bound = bound.clone();
            self.unix_unlink(host, &bound);
        }
        self.stamp(host, inode, false);
        let place = (directory, name);
        self.follow_name(host, inode, &place, None);
        self.hosts[host].disk.unlink(now, directory, &place.1);
        self.stamp(host, directory, true);
        if what == Doomed::Other {
            self.notice_itself(host, inode, libc::IN_ATTRIB); // one link less (fs/namei.c, vfs_unlink)
        }
        self.notice_if_gone(host, &place, inode);
        self.notice_name(host, &place, inode, libc::IN_DELETE);
        Ok(0)
    }

    /// link(2).
    pub(crate) fn link_entry(&mut self, me: ThreadId, from: At<'_>, to: At<'_>, flags: c_int) -> Step {
        if flags & !(libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH) != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        let last = if flags & libc::AT_SYMLINK_FOLLOW != 0 { Last::Follow } else { Last::Keep };
        let by_descriptor = from.path.is_empty() && flags & libc::AT_EMPTY_PATH != 0;
        let (path, node) = if by_descriptor {
            let id = self.raw_file(me, from.directory)?;
            let inode = self.own_inode(me, id)?;
            (PathBuf::new(), Node::Own(inode, self.disk(me).inode(inode).what.file_type()))
        } else {
            let found = self.target(me, from, last)?;
            (found.path, found.node.ok_or(Stop::Errno(ENOENT))?)
        };
        let target = self.target(me, to, Last::Entry)?;
        if target.node.is_some() {
            return Err(Stop::Errno(EEXIST));
        }
        if target.slash {
            return Err(Stop::Errno(ENOENT));
        }
        target.check_alive()?;
        if let Node::Made(..) | Node::MadeDirectory | Node::Device(_) | Node::Handle(_) = node {
            return Err(Stop::Errno(EXDEV));
        }
        let (directory, name) = self.place(me, &target.path)?;
        if node.is_directory() {
            return Err(Stop::Errno(EPERM));
        }
        if !by_descriptor && stat::device(&path) != stat::device(&target.path) {
            return Err(Stop::Errno(EXDEV));
        }
        let inode = self.inode_at(me, &path, &node)?;
        let (host, now) = (self.host_id(me), self.now);
        let linked = self.hosts[host].disk.inode_mut(inode);
        if linked.links == 0 && !linked.linkable {
            return Err(Stop::Errno(ENOENT)); // linkat(2): deleted, and no O_TMPFILE
        }
        linked.linkable = false; // fs/namei.c, vfs_link
        self.hosts[host].disk.link(now, directory, &name, inode);
        self.stamp(host, inode, false);
        self.stamp(host, directory, true);
        self.notice_itself(host, inode, libc::IN_ATTRIB);
        self.notice_name(host, &(directory, name), inode, libc::IN_CREATE);
        Ok(0)
    }

    /// rename(2), renameat2(2), in the order of checks of `do_renameat2` and `vfs_rename` (fs/namei.c).
    pub(crate) fn rename_entry(&mut self, me: ThreadId, from: At<'_>, to: At<'_>, flags: u32) -> Step {
        let (exchange, keep) = (flags & libc::RENAME_EXCHANGE != 0, flags & libc::RENAME_NOREPLACE != 0);
        let whiteout = flags & libc::RENAME_WHITEOUT != 0;
        if flags & !(libc::RENAME_EXCHANGE | libc::RENAME_NOREPLACE | libc::RENAME_WHITEOUT) != 0
            || exchange && (keep || whiteout)
        {
            return Err(Stop::Errno(EINVAL));
        }
        if whiteout {
            return Err(Stop::Errno(EPERM)); // mknod(2) of a device needs a capability
        }
        let (source, target) = (self.target(me, from, Last::Entry)?, self.target(me, to, Last::Entry)?);
        if stat::device(&source.path) != stat::device(&target.path) {
            return Err(Stop::Errno(EXDEV));
        }
        if ends_in_dots(from.path) {
            return Err(Stop::Errno(EBUSY));
        }
        if ends_in_dots(to.path) {
            return Err(Stop::Errno(if keep { EEXIST } else { EBUSY }));
        }
        let node = source.node.clone().ok_or(Stop::Errno(ENOENT))?;
        if keep && target.node.is_some() {
            return Err(Stop::Errno(EEXIST));
        }
        if exchange && target.node.is_none() {
            return Err(Stop::Errno(ENOENT));
        }
        let to_directory = target.node.as_ref().is_some_and(Node::is_directory);
        if !node.is_directory() && (source.slash || target.slash && !exchange)
            || exchange && target.slash && !to_directory
        {
            return Err(Stop::Errno(ENOTDIR));
        }
        if target.path.starts_with(&source.path) && target.path != source.path && node.is_directory() {
            return Err(Stop::Errno(EINVAL)); // into itself
        }
        if source.path.starts_with(&target.path) && target.path != source.path {
            return Err(Stop::Errno(if exchange { EINVAL } else { ENOTEMPTY }));
        }
        // rename(2): two names of one file stay as they are; nobody asks who may change them (`vfs_rename`).
        let same = |there: &Node| matches!((&node, there), (Node::Own(one, _), Node::Own(other, _)) if one == other);
        if source.path == target.path || target.node.as_ref().is_some_and(same) {
            return Ok(0);
        }
        target.check_alive()?;
        let (old, new) = (self.place(me, &source.path)?, self.place(me, &target.path)?);
        match &target.node {
            Some(_) if exchange => {}
            Some(there) if there.is_directory() && !node.is_directory() => return Err(Stop::Errno(EISDIR)),
            Some(there) if node.is_directory() && !there.is_directory() => return Err(Stop::Errno(ENOTDIR)),
            _ => {}
        }
        // rename(2), EACCES: `..` of a directory that moves elsewhere changes (`vfs_rename`).
        let disk = self.disk(me);
        let stuck = |moved: &Node| match moved {
            Node::Own(inode, libc::S_IFDIR) => old.0 != new.0 && !access::may(disk.inode(*inode), libc::W_OK),
            _ => false,
        };
        if stuck(&node) || exchange && target.node.as_ref().is_some_and(stuck) {
            return Err(Stop::Errno(EACCES));
        }
        if !exchange && to_directory && !self.is_empty_directory(me, &target)? {
            return Err(Stop::Errno(ENOTEMPTY));
        }
        self.move_entry(me, (old, &source.path, &node), (new, &target.path, target.node.as_ref()), exchange)
    }

    fn move_entry(
        &mut self,
        me: ThreadId,
        (old, source, node): (Place, &Path, &Node),
        (new, target, replaced): (Place, &Path, Option<&Node>),
        exchange: bool,
    ) -> Step {
        let inode = self.inode_at(me, source, node)?;
        let replaced = replaced.map(|node| self.inode_at(me, target, node)).transpose()?;
        let (host, now) = (self.host_id(me), self.now);
        let disk = &mut self.hosts[host].disk;
        // A directory through which something outside shows stays where that is, as in overlayfs (`redirect_dir=off`).
        let shows = |inode: InodeId| disk.inode(inode).directory().is_some_and(|found| found.beneath.is_some());
        if shows(inode) || exchange && replaced.is_some_and(shows) {
            return Err(Stop::Errno(EXDEV));
        }
        self.follow_name(host, inode, &old, Some(&new));
        if let Some(replaced) = replaced {
            self.follow_name(host, replaced, &new, exchange.then_some(&old));
        }
        let disk = &mut self.hosts[host].disk;
        if exchange {
            disk.exchange(now, (old.0, &old.1), (new.0, &new.1));
        } else {
            disk.rename(now, (old.0, &old.1), (new.0, &new.1));
        }
        for changed in [Some(inode), replaced].into_iter().flatten() {
            self.stamp(host, changed, false);
        }
        self.stamp(host, old.0, true);
        self.stamp(host, new.0, true);
        self.notice_move(host, inode, (&old, &new), replaced.filter(|_| !exchange));
        match replaced {
            Some(other) if exchange => self.notice_move(host, other, (&new, &old), None),
            Some(replaced) => self.notice_if_gone(host, &new, replaced),
            None => {}
        }
        Ok(0)
    }

    /// An inode has lost a name; when that was the last one and nobody has it open by it, those who watch it are told.
    fn notice_if_gone(&mut self, host: HostId, place: &Place, inode: InodeId) {
        let found = self.hosts[host].disk.inode(inode);
        let held = if found.directory().is_some() { found.opens > 0 } else { self.is_open_as(host, inode, place) };
        if found.links == 0 && !held {
            self.notice_end(host, inode);
        }
    }

    /// Whether nothing but `.` and `..` is in a directory.
    fn is_empty_directory(&self, me: ThreadId, found: &Found) -> Result<bool, Stop> {
        match found.node {
            Some(Node::Own(inode, _)) => Ok(self.list_disk(me, inode).map_err(Stop::Errno)?.len() <= 2),
            _ => Ok(self.list_beneath(self.who(me), &found.path).map_err(Stop::Errno)?.is_empty()),
        }
    }
}
