//! Paths: path_resolution(7).

use super::{Node, Own, Who, sockets, tree};
use crate::carrier::outside;
use crate::kernel::Kernel;
use crate::kernel::file::Kind;
use libc::{ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, c_int};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `PATH_MAX` and `NAME_MAX` (limits.h); the former counts the NUL.
const PATH_BYTES_MAX: usize = 4096;
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

/// What a process has of its own in the tree of files.
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
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
            directory: own.start_directory.clone(),
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
    let mut rest: VecDeque<Vec<u8>> = components(path).collect();
    let mut here = if path[0] == b'/' { PathBuf::from("/") } else { base.to_owned() };
    let mut node = Node::Directory;
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if !node.is_directory() {
            return Err(ENOTDIR);
        }
        match &name[..] {
            b"." => continue,
            b".." => {
                here = parent(&k.own, &here);
                continue;
            }
            _ if name.len() > NAME_BYTES_MAX => return Err(ENAMETOOLONG),
            _ => {}
        }
        let next = here.join(OsStr::from_bytes(&name));
        let final_one = rest.is_empty();
        match look_up(k, who, &next)? {
            None if final_one => return Ok(Found { path: next, node: None, slash }),
            None => return Err(ENOENT),
            Some(Node::Link(target)) if !final_one || follows => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(ELOOP);
                }
                if target.starts_with(b"/") {
                    here = PathBuf::from("/");
                }
                node = Node::Directory;
                components(&target).rev().for_each(|part| rest.push_front(part));
            }
            Some(Node::Handle(file)) if !final_one || follows => match &k.files[file].kind {
                Kind::Outside(open) => {
                    here = open.path().to_owned();
                    node = open.node().clone();
                }
                _ => {
                    here = next;
                    node = Node::Handle(file);
                }
            },
            Some(other) => {
                here = next;
                node = other;
            }
        }
    }
    if slash && last != Last::Entry && !node.is_directory() {
        return Err(ENOTDIR);
    }
    if here == Path::new("/") {
        node = Node::Directory;
    }
    Ok(Found { path: here, node: Some(node), slash })
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

/// What a name without links or dots stands for.
fn look_up(k: &Kernel, who: Who, path: &Path) -> Result<Option<Node>, i32> {
    if let Some(process) = k.processes.get(who.process)
        && let Some(node) = sockets::look_up(k, process.host, path)
    {
        return Ok(Some(node));
    }
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
