//! A host's disk: files and directories in memory, with what of them would survive a loss of power.
//!
//! The disk lies over what is outside, like a container's writable layer over its image: [`Directory::beneath`] shows
//! through where nothing was changed, [`Entry::Gone`] hides what was removed. Paths, permissions and open files are the
//! business of [`machine`](super::machine); here are inodes and names.
//!
//! What programs see is the *current* state; what survives is the *durable* one. Between the two lie changes: of files
//! ([`regular`]) and of directories ([`journal`]). A crash walks through them and asks [`Choices`] what is kept, which
//! either draws from the disk's own stream or goes through every legal state.
//!
//! Nothing here knows of threads, calls or hosts.

mod choices;
mod content;
mod export;
mod inode;
mod journal;
mod regular;
mod space;
#[cfg(test)]
mod tests;

pub(crate) use choices::{Choices, Drawn, Enumerated};
pub(crate) use content::{Content, PAGE_BYTES};
pub(crate) use inode::{Attributes, Directory, Entry, Inode, InodeId, What};
use inode::{Names, Was};
pub(crate) use regular::Regular;
pub(crate) use space::Space;

use super::slots::Slots;
use journal::{Change, Journal, Naming};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Inodes are numbered from here on; below are the file system's own (ext4's first is 11).
const FIRST_NUMBER: u64 = 12;
/// Nothing is looked through for inodes that nobody can reach until there are this many.
const ORPHANS_MIN: usize = 1024;
/// Nor for changes of names that are old, until there are this many.
const CHANGES_MIN: usize = 1024;

/// What fsync(2) is worth on a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Syncs {
    /// What was synced is on the disk.
    #[default]
    Kept,
    /// Nothing is: a disk that lies, to find out whether a test would notice.
    Ignored,
}

/// A disk.
#[derive(Clone)]
pub(crate) struct Disk {
    inodes: Slots<Inode>,
    root: InodeId,
    journal: Journal,
    next_number: u64,
    pub(crate) space: Space,
    syncs: Syncs,
    /// Inodes without a name and without an open file: gone, unless a crash brings them back.
    orphans: Vec<InodeId>,
    look_through_at: usize,
    /// How many changes of names there may be before old ones are written back.
    write_back_at: usize,
}

impl Disk {
    /// A disk on which nothing was changed; `root` is what its root directory is like.
    pub(crate) fn new(root: Attributes, syncs: Syncs) -> Disk {
        let mut inodes = Slots::default();
        let what = What::Directory(Directory::over(PathBuf::from("/")));
        let root = inodes.insert(Inode::new(2, what, root, 1));
        Disk {
            inodes,
            root,
            journal: Journal::default(),
            next_number: FIRST_NUMBER,
            space: Space::default(),
            syncs,
            orphans: Vec::new(),
            look_through_at: 0,
            write_back_at: 0,
        }
    }

    /// The root directory.
    pub(crate) fn root(&self) -> InodeId {
        self.root
    }

    /// Whether an inode is still there: a disk that has lost power knows nothing of what was open.
    pub(crate) fn has(&self, id: InodeId) -> bool {
        self.inodes.get(id).is_some()
    }

    /// An inode, if there is one.
    pub(crate) fn get(&self, id: InodeId) -> Option<&Inode> {
        self.inodes.get(id)
    }

    /// An inode.
    #[inline]
    pub(crate) fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id]
    }

    /// An inode.
    #[inline]
    pub(crate) fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id]
    }

    /// What a name of a directory stands for here; `None` when what lies beneath decides.
    pub(crate) fn entry(&self, directory: InodeId, name: &[u8]) -> Option<Entry> {
        self.inodes[directory].directory()?.current.get(name).copied()
    }

    /// The inode at an absolute path without links or dots, if there is one here.
    pub(crate) fn at(&self, path: &Path) -> Option<InodeId> {
        use std::os::unix::ffi::OsStrExt;
        let mut here = self.root;
        for part in path.as_os_str().as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            match self.entry(here, part)? {
                Entry::Inode(next) => here = next,
                Entry::Gone => return None,
            }
        }
        Some(here)
    }

    /// The name that an absolute path without links or dots ends in.
    pub(crate) fn place_of(&self, path: &Path) -> Option<(InodeId, Vec<u8>)> {
        use std::os::unix::ffi::OsStrExt;
        Some((self.at(path.parent()?)?, path.file_name()?.as_bytes().to_vec()))
    }

    /// Whether a name is one of an inode's.
    pub(crate) fn leads_to(&self, (directory, name): &(InodeId, Vec<u8>), inode: InodeId) -> bool {
        matches!(self.entry(*directory, name), Some(Entry::Inode(found)) if found == inode)
    }

    /// Where a directory is; `None` when it was removed.
    pub(crate) fn path_of(&self, directory: InodeId) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStrExt;
        let (mut parts, mut here) = (Vec::new(), directory);
        while here != self.root {
            let (above, name) = self.inodes.get(here)?.directory()?.above.as_ref()?;
            parts.push(name);
            here = *above;
        }
        let mut path = PathBuf::from("/");
        path.extend(parts.iter().rev().map(|part| std::ffi::OsStr::from_bytes(part)));
        Some(path)
    }

    /// Makes an inode that nothing leads to yet.
    pub(crate) fn make(&mut self, what: What, attributes: Attributes) -> InodeId {
        let number = self.next_number;
        self.next_number += 1;
        self.space.inodes += 1;
        self.inodes.insert(Inode::new(number, what, attributes, 0))
    }

    /// Takes over what lies beneath a name, as it is: on this disk it has always been there.
    pub(crate) fn adopt(
        &mut self,
        directory: InodeId,
        name: &[u8],
        number: u64,
        what: What,
        attributes: Attributes,
    ) -> InodeId {
        if let What::Regular(regular) = &what {
            self.space.pages += regular.content().pages_taken();
        }
        let id = self.inodes.insert(Inode::new(number, what, attributes, 1));
        self.space.inodes += 1;
        let is_directory = self.inodes[id].directory_mut().is_some_and(|adopted| {
            adopted.above = Some((directory, name.to_vec()));
            true
        });
        if let Some(directory) = self.inodes[directory].directory_mut() {
            directory.current.insert(name.to_vec(), Entry::Inode(id));
            directory.durable.insert(name.to_vec(), Entry::Inode(id));
            directory.directories += u64::from(is_directory);
        }
        id
    }

    /// Gives an inode a name, in place of what has it now.
    pub(crate) fn link(&mut self, now: u64, directory: InodeId, name: &[u8], inode: InodeId) {
        let naming = Naming { directory, name: name.to_vec(), entry: Some(Entry::Inode(inode)) };
        self.rename_all(now, vec![naming], false);
    }

    /// Takes a name away.
    pub(crate) fn unlink(&mut self, now: u64, directory: InodeId, name: &[u8]) {
        let entry = self.absence(directory);
        self.rename_all(now, vec![Naming { directory, name: name.to_vec(), entry }], false);
    }

    /// rename(2): an inode's name becomes another, in place of what has that now.
    pub(crate) fn rename(&mut self, now: u64, from: (InodeId, &[u8]), to: (InodeId, &[u8])) {
        let moved = self.entry(from.0, from.1);
        let old = Naming { directory: from.0, name: from.1.to_vec(), entry: self.absence(from.0) };
        let new = Naming { directory: to.0, name: to.1.to_vec(), entry: moved };
        let moves = from.0 != to.0 && self.is_directory(moved);
        self.rename_all(now, vec![old, new], moves);
    }

    /// renameat2(2), `RENAME_EXCHANGE`.
    pub(crate) fn exchange(&mut self, now: u64, one: (InodeId, &[u8]), other: (InodeId, &[u8])) {
        let (first, second) = (self.entry(one.0, one.1), self.entry(other.0, other.1));
        let namings = vec![
            Naming { directory: one.0, name: one.1.to_vec(), entry: second },
            Naming { directory: other.0, name: other.1.to_vec(), entry: first },
        ];
        let moves = one.0 != other.0 && (self.is_directory(first) || self.is_directory(second));
        self.rename_all(now, namings, moves);
    }

    fn is_directory(&self, entry: Option<Entry>) -> bool {
        matches!(entry, Some(Entry::Inode(inode)) if self.inodes[inode].directory().is_some())
    }

    /// How a directory says that a name is not there.
    fn absence(&self, directory: InodeId) -> Option<Entry> {
        let shows = self.inodes[directory].directory().is_some_and(|directory| directory.beneath.is_some());
        shows.then_some(Entry::Gone)
    }

    /// Changes names, all at once.
    fn rename_all(&mut self, now: u64, namings: Vec<Naming>, moves_directory: bool) {
        let mut replaced = Vec::new();
        for naming in &namings {
            let mut more = 0;
            if let Some(Entry::Inode(inode)) = naming.entry {
                self.inodes[inode].links += 1;
                if let Some(directory) = self.inodes[inode].directory_mut() {
                    directory.above = Some((naming.directory, naming.name.clone()));
                    more = 1;
                }
            }
            let old = self.inodes[naming.directory].directory_mut().and_then(|directory| {
                directory.directories += more;
                set(&mut directory.current, naming)
            });
            if let Some(Entry::Inode(old)) = old {
                let less = u64::from(self.inodes[old].directory().is_some());
                if let Some(directory) = self.inodes[naming.directory].directory_mut() {
                    directory.directories -= less;
                }
                replaced.push(old);
            }
        }
        for inode in &replaced {
            self.inodes[*inode].links -= 1;
            self.settle(*inode);
        }
        self.journal.note(now, namings, replaced, moves_directory);
        // What is old would be on the disk after any crash: files that are gone need not be kept for it.
        if self.journal.len() > self.write_back_at.max(CHANGES_MIN) {
            let old = self.journal.take_old(now);
            self.settle_changes(old);
            self.write_back_at = 2 * self.journal.len();
        }
    }

    /// Notes that an inode is open, or a working directory.
    pub(crate) fn hold(&mut self, inode: InodeId) {
        self.inodes[inode].opens += 1;
    }

    /// Notes that an inode is open once less.
    pub(crate) fn let_go(&mut self, inode: InodeId) {
        if let Some(found) = self.inodes.get_mut(inode) {
            found.opens = found.opens.saturating_sub(1);
            self.settle(inode);
        }
    }

    /// Gives back the space of an inode that nobody can reach any more.
    fn settle(&mut self, id: InodeId) {
        if self.inodes[id].links > 0 {
            return;
        }
        let was = self.inodes[id].directory().and_then(|_| self.path_of(id));
        let inode = &mut self.inodes[id];
        if let What::Directory(directory) = &mut inode.what
            && let (Some(place), Some(path)) = (directory.above.take(), was)
        {
            directory.was = Some(Was { place, path });
        }
        if inode.opens > 0 {
            return;
        }
        self.space.inodes -= 1;
        if let What::Regular(regular) = &inode.what {
            self.space.pages -= regular.content().pages_taken();
        }
        self.orphans.push(id);
        if self.orphans.len() > self.look_through_at.max(ORPHANS_MIN) {
            self.forget_orphans();
            self.look_through_at = 2 * self.orphans.len();
        }
    }

    /// Forgets orphans that no crash can bring back.
    fn forget_orphans(&mut self) {
        let mut reachable: BTreeSet<InodeId> = self.journal.inodes().collect();
        for (_, inode) in self.inodes.iter() {
            if let What::Directory(directory) = &inode.what {
                reachable.extend(directory.durable.values().filter_map(|entry| match entry {
                    Entry::Inode(inode) => Some(*inode),
                    Entry::Gone => None,
                }));
            }
        }
        let inodes = &mut self.inodes;
        self.orphans.retain(|orphan| {
            let kept = reachable.contains(orphan);
            if !kept {
                inodes.remove(*orphan);
            }
            kept
        });
    }

    /// Changes a regular file's bytes, and counts the space that it takes then; `None` when it is something else.
    pub(crate) fn change<R>(&mut self, id: InodeId, how: impl FnOnce(&mut Regular) -> R) -> Option<R> {
        let regular = self.inodes.get_mut(id)?.regular_mut()?;
        let before = regular.content().pages_taken();
        let result = how(regular);
        self.space.pages = self.space.pages - before + regular.content().pages_taken();
        Some(result)
    }

    /// How much of a write there is space for.
    pub(crate) fn room_for(&self, id: InodeId, at: u64, bytes: u64) -> u64 {
        let Some(regular) = self.inodes[id].regular() else { return 0 };
        let mut free = self.space.pages_free();
        if regular.content().pages_missing(at, bytes) <= free {
            return bytes;
        }
        // As far as the pages that are there and the free ones reach.
        let page = PAGE_BYTES as u64;
        let mut number = at / page;
        while number * page < at + bytes {
            if regular.content().page(number).is_none() {
                if free == 0 {
                    break;
                }
                free -= 1;
            }
            number += 1;
        }
        (number * page).saturating_sub(at).min(bytes)
    }

    /// Whether fsync(2) of an inode would have anything to do, and for how many bytes.
    pub(crate) fn unsynced_bytes(&self, id: InodeId) -> u64 {
        match &self.inodes[id].what {
            What::Regular(regular) => regular.dirty_bytes(),
            What::Directory(_) if self.journal.concerns(id) => PAGE_BYTES as u64,
            What::Directory(_) | What::Link(_) | What::Socket(_) => 0,
        }
    }

    /// What an fsync(2) of a file that begins now will write: see [`Regular::mark`].
    pub(crate) fn mark(&self, id: InodeId) -> u64 {
        self.inodes[id].regular().map_or(0, Regular::mark)
    }

    /// fsync(2) that began at a mark; without attributes, fdatasync(2). Directories and attributes are written as they
    /// are now: the journal commits what runs in it.
    pub(crate) fn sync(&mut self, id: InodeId, mark: u64, attributes_too: bool) {
        if self.syncs == Syncs::Ignored {
            return;
        }
        let inode = &mut self.inodes[id];
        if attributes_too {
            inode.durable = inode.attributes;
        }
        match &mut inode.what {
            What::Regular(regular) => regular.sync(mark),
            What::Directory(_) => {
                let changes = self.journal.take_for(id);
                self.settle_changes(changes);
            }
            What::Link(_) | What::Socket(_) => {}
        }
    }

    /// sync(2), syncfs(2).
    pub(crate) fn sync_all(&mut self) {
        if self.syncs == Syncs::Ignored {
            return;
        }
        let changes = self.journal.take_all();
        self.settle_changes(changes);
        let all: Vec<InodeId> = self.inodes.iter().map(|(id, _)| id).collect();
        for id in all {
            let inode = &mut self.inodes[id];
            inode.durable = inode.attributes;
            if let What::Regular(regular) = &mut inode.what {
                regular.sync(regular.mark());
            }
        }
    }

    /// Whether fsync(2) of a file cannot fail: see [`Regular::has_failed_to_sync`].
    pub(crate) fn has_failed_to_sync(&self, id: InodeId) -> bool {
        self.inodes[id].regular().is_some_and(Regular::has_failed_to_sync)
    }

    /// fsync(2) of a file, begun at a mark, that fails because the disk does.
    pub(crate) fn fail_sync(&mut self, id: InodeId, mark: u64) {
        if let What::Regular(regular) = &mut self.inodes[id].what {
            regular.fail_sync(mark);
        }
    }

    fn settle_changes(&mut self, changes: Vec<Change>) {
        for naming in changes.iter().flat_map(|change| &change.namings) {
            if let Some(directory) = self.inodes.get_mut(naming.directory).and_then(Inode::directory_mut) {
                set(&mut directory.durable, naming);
            }
        }
    }

    /// The disk loses power: from now on it shows what is on it, and of the changes what `choices` keep. Nothing is
    /// open any more. What `volatile` names in the root is empty then.
    pub(crate) fn crash(&mut self, now: u64, volatile: &[&str], choices: &mut dyn Choices) {
        let kept = self.journal.crash(now, choices);
        self.settle_changes(kept);
        for path in volatile {
            if let Some(directory) = self.at(Path::new(path)).and_then(|id| self.inodes[id].directory_mut()) {
                directory.durable.clear();
            }
        }
        let links = self.reachable();
        let all: Vec<InodeId> = self.inodes.iter().map(|(id, _)| id).collect();
        self.orphans.clear();
        self.space.pages = 0;
        self.space.inodes = 0;
        for id in all {
            let Some((links, above)) = links.get(&id) else {
                self.inodes.remove(id);
                continue;
            };
            let inode = &mut self.inodes[id];
            (inode.links, inode.opens) = (*links, 0);
            if inode.attributes != inode.durable && !choices.keeps() {
                inode.attributes = inode.durable;
            }
            inode.durable = inode.attributes;
            match &mut inode.what {
                What::Regular(regular) => {
                    regular.crash(now, choices);
                    self.space.pages += regular.content().pages_taken();
                }
                What::Directory(directory) => {
                    directory.current = directory.durable.clone();
                    directory.above = above.clone();
                    directory.directories = 0;
                }
                What::Link(_) | What::Socket(_) => {}
            }
            self.space.inodes += 1;
        }
        self.space.inodes -= 1; // the root is the file system's own
        for above in links.values().filter_map(|(_, above)| above.as_ref()) {
            if let Some(directory) = self.inodes[above.0].directory_mut() {
                directory.directories += 1;
            }
        }
    }

    /// Every inode that durable names lead to, in order, with how many do, and for a directory where it is.
    fn reachable(&self) -> BTreeMap<InodeId, (u32, Above)> {
        let mut found = BTreeMap::from([(self.root, (1, None))]);
        let mut to_visit = vec![self.root];
        while let Some(here) = to_visit.pop() {
            let Some(directory) = self.inodes[here].directory() else { continue };
            for (name, entry) in &directory.durable {
                let Entry::Inode(inode) = entry else { continue };
                let known = found.entry(*inode).or_insert((0, None));
                known.0 += 1;
                if self.inodes[*inode].directory().is_some() && known.0 == 1 {
                    known.1 = Some((here, name.clone()));
                    to_visit.push(*inode);
                }
            }
        }
        found
    }

    /// Files that are on the disk, with their sizes there.
    pub(crate) fn durable_files(&self) -> impl Iterator<Item = (InodeId, u64)> + '_ {
        self.files().filter_map(|id| Some((id, self.inodes[id].regular()?.durable_bytes()))).filter(|file| file.1 > 0)
    }

    /// Flips a bit of what is on the disk of a file; answers whether there was one to flip.
    pub(crate) fn rot(&mut self, id: InodeId, byte: u64, bit: u8) -> bool {
        self.inodes[id].regular_mut().is_some_and(|regular| regular.rot(byte, bit))
    }

    /// Regular files on the disk, in order of their numbers.
    pub(crate) fn files(&self) -> impl Iterator<Item = InodeId> + '_ {
        self.inodes.iter().filter(|(_, inode)| inode.links > 0 && inode.regular().is_some()).map(|(id, _)| id)
    }
}

/// The directory that something is in, and its name there.
type Above = Option<(InodeId, Vec<u8>)>;

/// Lets a name stand for what a naming says; answers what it stood for.
fn set(names: &mut Names, naming: &Naming) -> Option<Entry> {
    match naming.entry {
        Some(entry) => names.insert(naming.name.clone(), entry),
        None => names.remove(&naming.name),
    }
}
