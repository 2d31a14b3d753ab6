//! Paths: path_resolution(7).

use super::{Node, Own, Who, tree};
use crate::carrier::outside;
use crate::kernel::Kernel;
use crate::kernel::disk::{Disk, Entry, InodeId, What};
use crate::kernel::file::{FileId, Kind};
use libc::{ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, c_int};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `PATH_MAX` and `NAME_MAX` (limits.h); the former counts the NUL.
pub(super) const PATH_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 255;
/// `MAXSYMLINKS` (linux/namei.h).
const LINKS_MAX: u32 = 40;

/// What becomes of a link that is a path's last component.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Last {
    Follow,
    /// It is looked at itself, unless a slash behind it asks for a directory.
    Keep,
    /// It names an entry to make, move or remove: a slash changes nothing (fs/namei.c, `filename_parentat`).
    Entry,
}

/// Where a path leads.
pub(crate) struct Found {
    /// Absolute, without links, as the host sees it.
    pub(crate) path: PathBuf,
    /// What is there; `None` when only the last component is missing.
    pub(crate) node: Option<Node>,
    /// The path asks for a directory: it ends with a slash.
    pub(crate) slash: bool,
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

    fn found(path: PathBuf, node: Node) -> Here {
        let inode = if let Node::Own(inode, libc::S_IFDIR) = node { Some(inode) } else { None };
        Here { path, node, inode }
    }
}

/// What a link of `/proc/self/fd` at `path` leads to: the open file, wherever it is.
fn opened(k: &Kernel, disk: &Disk, who: Who, file: FileId, path: PathBuf) -> Here {
    match &k.files[file].kind {
        Kind::Outside(open) => Here { path: open.path().to_owned(), node: open.node().clone(), inode: None },
        Kind::Disk(open) if open.host() == k.processes[who.process].host => {
            let node = Node::Own(open.inode(), disk.inode(open.inode()).what.file_type());
            let moved = if node.is_directory() { disk.path_of(open.inode()) } else { None };
            Here::found(moved.unwrap_or_else(|| open.path().to_owned()), node)
        }
        _ => Here { path, node: Node::Handle(file), inode: None },
    }
}

/// Resolves a path from a directory.
///
/// # Errors
/// As path_resolution(7); a last component that is missing is no error.
pub(super) fn walk(k: &Kernel, who: Who, base: &Path, path: &[u8], last: Last) -> Result<Found, i32> {
    if path.is_empty() {
        return Err(ENOENT);
    }
    if path.len() >= PATH_BYTES_MAX {
        return Err(ENAMETOOLONG);
    }
    let slash = path.ends_with(b"/");
    let follows = last == Last::Follow || last == Last::Keep && slash;
    let disk = &k.hosts[k.processes[who.process].host].disk;
    let mut rest: VecDeque<Vec<u8>> = components(path).collect();
    let mut here = Here::at(disk, if path[0] == b'/' { Path::new("/") } else { base });
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
                return Ok(Found { path: next, node: None, slash });
            }
            return Err(ENOENT);
        };
        let through = !final_one || follows;
        if let Some(target) = link_target(disk, &node).filter(|_| through) {
            links += 1;
            if links > LINKS_MAX {
                return Err(ELOOP);
            }
            if target.starts_with(b"/") {
                here = Here::at(disk, Path::new("/"));
            }
            here.node = Node::Directory;
            components(target).rev().for_each(|part| rest.push_front(part));
            continue;
        }
        here = match node {
            Node::Handle(file) if through => opened(k, disk, who, file, next),
            node => Here::found(next, node),
        };
    }
    if slash && last != Last::Entry && !here.node.is_directory() {
        return Err(ENOTDIR);
    }
    if let (Some(inode), Node::Directory) = (here.inode, &here.node) {
        here.node = Node::Own(inode, libc::S_IFDIR);
    }
    Ok(Found { path: here.path, node: Some(here.node), slash })
}

/// Where a symbolic link leads.
fn link_target<'a>(disk: &'a Disk, node: &'a Node) -> Option<&'a [u8]> {
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
fn parent(own: &Own, path: &Path) -> PathBuf {
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
