//! Paths: path_resolution(7).

use super::{Node, Own, Who, tree};
use crate::carrier::outside;
use crate::kernel::disk::{Disk, Entry, InodeId, What};
use crate::kernel::file::{FileId, Kind};
use crate::kernel::{Kernel, Stop};
use libc::{ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, c_int};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `PATH_MAX` and `NAME_MAX` (limits.h); the former counts the NUL.
pub(super) const PATH_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 255;
/// `MAXSYMLINKS` (linux/namei.h).
pub(super) const LINKS_MAX: u32 = 40;

/// What becomes of a link that is a path's last component.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Last {
    Follow,
    /// It is followed, and open(2) makes what is missing; a slash behind a link's target ends that
    /// (fs/namei.c, `open_last_lookups`).
    Create,
    /// It is looked at itself, unless a slash behind it asks for a directory.
    Keep,
    /// It names an entry to make, move or remove: a slash changes nothing (fs/namei.c, `filename_parentat`).
    Entry,
}

impl Last {
    fn follows(self, slash: bool) -> bool {
        match self {
            Last::Follow => true,
            Last::Create => !slash,
            Last::Keep => slash,
            Last::Entry => false,
        }
    }
}

/// Where a path leads.
pub(crate) struct Found {
    /// Absolute, without links, as the host sees it.
    pub(crate) path: PathBuf,
    /// What is there; `None` when only the last component is missing.
    pub(crate) node: Option<Node>,
    /// The path asks for a directory: it ends with a slash.
    pub(crate) slash: bool,
    /// It is missing in a directory that was removed.
    dead: bool,
}

impl Found {
    /// # Errors
    /// `ENOENT` when nothing can be made there any more (fs/namei.c, `may_create`).
    pub(super) fn check_alive(&self) -> Result<(), Stop> {
        if self.dead { Err(Stop::Errno(ENOENT)) } else { Ok(()) }
    }
}

/// A directory that is somebody's: a process works in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Base {
    /// One of the host's disk: wherever it is now.
    Disk(InodeId),
    /// One that stays where it is.
    Fixed(PathBuf),
}

/// What a process has of its own in the tree of files.
pub(crate) struct Place {
    pub(crate) directory: Base,
    pub(crate) umask: u32,
    /// When the process started, in virtual nanoseconds.
    pub(crate) started_ns: u64,
    /// What it was started with.
    pub(crate) environment: Vec<(String, String)>,
    /// C's streams, by address, and the descriptor of each.
    pub(crate) streams: BTreeMap<usize, c_int>,
    /// Where getpwent(3) and getgrent(3) stand.
    pub(crate) cursors: [usize; 2],
}

impl Place {
    /// Where a process starts.
    pub(crate) fn new(own: &Own, now_ns: u64, environment: Vec<(String, String)>) -> Place {
        Place {
            directory: Base::Fixed(own.start_directory.clone()),
            umask: 0o022,
            started_ns: now_ns,
            environment,
            streams: BTreeMap::new(),
            cursors: [0; 2],
        }
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec)
}

/// Where a walk stands.
struct Here {
    path: PathBuf,
    node: Node,
    /// The directory of the disk that this is, if it is one.
    inode: Option<InodeId>,
}

impl Here {
    /// The root, or a directory that a process names.
    fn at(disk: &Disk, path: &Path) -> Here {
        Here { path: path.to_owned(), node: Node::Directory, inode: disk.at(path) }
    }

    /// What a link of `/proc/self/fd` leads to, if it is a file or directory.
    fn behind(k: &Kernel, who: Who, file: FileId) -> Option<Here> {
        match &k.files[file].kind {
            Kind::Outside(open) => Some(Here { path: open.path().to_owned(), node: open.node().clone(), inode: None }),
            Kind::Disk(open) if open.host() == k.processes[who.process].host => {
                let disk = &k.hosts[open.host()].disk;
                let node = Node::Own(open.inode(), disk.inode(open.inode()).what.file_type());
                let inode = node.is_directory().then_some(open.inode());
                let path = match inode {
                    Some(inode) => disk.path_of(inode),
                    None => open.name().and_then(|name| name.path(disk)),
                };
                Some(Here { path: path.unwrap_or_else(|| open.path().to_owned()), node, inode })
            }
            _ => None,
        }
    }

    /// Where a relative path begins; in a directory that was removed there are `.` and `..` still.
    fn in_base(disk: &Disk, base: &Base) -> Here {
        match base {
            Base::Fixed(path) => Here::at(disk, path),
            Base::Disk(inode) => {
                let was = || {
                    disk.inode(*inode)
                        .directory()
                        .and_then(|directory| directory.was.as_ref())
                        .map(|was| was.path.clone())
                };
                let path = disk.path_of(*inode).or_else(was).unwrap_or_default();
                Here { path, node: Node::Own(*inode, libc::S_IFDIR), inode: Some(*inode) }
            }
        }
    }
}

/// Resolves a path from a directory.
///
/// # Errors
/// As path_resolution(7); a last component that is missing is no error.
pub(super) fn walk(k: &Kernel, who: Who, base: &Base, path: &[u8], last: Last) -> Result<Found, i32> {
    if path.is_empty() {
        return Err(ENOENT);
    }
    if path.len() >= PATH_BYTES_MAX {
        return Err(ENAMETOOLONG);
    }
    let mut slash = path.ends_with(b"/");
    let disk = &k.hosts[k.processes[who.process].host].disk;
    let mut rest: VecDeque<Vec<u8>> = components(path).collect();
    let mut here = if path[0] == b'/' { Here::at(disk, Path::new("/")) } else { Here::in_base(disk, base) };
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if !here.node.is_directory() {
            return Err(ENOTDIR);
        }
        if here.inode.is_some_and(|inode| !super::access::may(disk.inode(inode), libc::X_OK)) {
            return Err(libc::EACCES);
        }
        match &name[..] {
            b"." => continue,
            b".." => {
                let above = parent(&k.own, &here.path);
                here = Here::at(disk, &above);
                continue;
            }
            _ if name.len() > NAME_BYTES_MAX => return Err(ENAMETOOLONG),
            _ => {}
        }
        let next = here.path.join(OsStr::from_bytes(&name));
        let final_one = rest.is_empty();
        let Some(node) = look_up(k, disk, who, here.inode, &name, &next)? else {
            if final_one {
                let dead = here.inode.is_some_and(|inode| disk.inode(inode).links == 0);
                return Ok(Found { path: next, node: None, slash, dead });
            }
            return Err(ENOENT);
        };
        let inode = if let Node::Own(inode, libc::S_IFDIR) = node { Some(inode) } else { None };
        if !final_one || last.follows(slash) {
            if let Some(target) = link_target(disk, &node) {
                links += 1;
                if links > LINKS_MAX {
                    return Err(ELOOP);
                }
                slash |= final_one && target.ends_with(b"/");
                if target.starts_with(b"/") {
                    here = Here::at(disk, Path::new("/"));
                }
                here.node = Node::Directory;
                components(target).rev().for_each(|part| rest.push_front(part));
                continue;
            }
            if let Node::Handle(file) = node {
                here = Here::behind(k, who, file).unwrap_or(Here { path: next, node, inode: None });
                continue;
            }
        }
        here = Here { path: next, node, inode };
    }
    if slash && !matches!(last, Last::Entry | Last::Create) && !here.node.is_directory() {
        return Err(ENOTDIR);
    }
    if let (Some(inode), Node::Directory) = (here.inode, &here.node) {
        here.node = Node::Own(inode, libc::S_IFDIR);
    }
    Ok(Found { path: here.path, node: Some(here.node), slash, dead: false })
}

/// Where a symbolic link leads.
pub(super) fn link_target<'a>(disk: &'a Disk, node: &'a Node) -> Option<&'a [u8]> {
    match node {
        Node::Link(target) => Some(target),
        Node::Own(inode, libc::S_IFLNK) => match &disk.inode(*inode).what {
            What::Link(target) => Some(target),
            What::Regular(_) | What::Directory(_) | What::Socket(_) => None,
        },
        _ => None,
    }
}

/// The directory above. Above the checkout lies what lies above it outside.
pub(super) fn parent(own: &Own, path: &Path) -> PathBuf {
    if path == Path::new(super::own::WORKSPACE) {
        let mut above = outside::path_buffer();
        above.push(own.workspace.parent().unwrap_or(Path::new("/")));
        return above;
    }
    path.parent().unwrap_or(path).to_owned()
}

/// What a name in a directory stands for; `path` is both together.
fn look_up(
    k: &Kernel,
    disk: &Disk,
    who: Who,
    directory: Option<InodeId>,
    name: &[u8],
    path: &Path,
) -> Result<Option<Node>, i32> {
    if let Some(directory) = directory {
        match disk.entry(directory, name) {
            Some(Entry::Inode(inode)) => return Ok(Some(Node::Own(inode, disk.inode(inode).what.file_type()))),
            Some(Entry::Gone) => return Ok(None),
            None if disk.inode(directory).directory().is_some_and(|d| d.beneath.is_none()) => return Ok(None),
            None => {}
        }
    }
    beneath(k, who, path)
}

/// What lies beneath the disk at a path without links or dots.
pub(super) fn beneath(k: &Kernel, who: Who, path: &Path) -> Result<Option<Node>, i32> {
    match tree::look_up(k, who, path.as_os_str().as_bytes()) {
        tree::Answer::Node(node) => Ok(Some(node)),
        tree::Answer::Hidden => Ok(None),
        tree::Answer::Outside => match outside::examine(&k.own.real(who, k, path)) {
            Ok(seen) => Ok(Some(seen.into())),
            Err(ENOENT) => Ok(tree::is_directory(path.as_os_str().as_bytes()).then_some(Node::MadeDirectory)),
            Err(errno) => Err(errno),
        },
    }
}
