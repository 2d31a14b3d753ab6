//! Changes of directories that are not known to be on the disk, and which of them a crash can keep.
//!
//! A change concerns one name, or two at once: rename(2) is atomic. A name shows one of the entries that it had, in
//! order, so whoever keeps a change keeps all earlier ones of its names. A change that moves a directory elsewhere
//! keeps all earlier changes, so that no tree is torn off its root. fsync(2) of a directory keeps those that concern
//! it, and what these need.
//!
//! What once was on the disk is not lost by losing a part of what was done with it: whoever takes a name from a file
//! keeps what gave it another before, with the directories that this one is in, and whoever removes a directory keeps
//! what was moved out of it. ext4 and XFS commit changes in their order (Documentation/filesystems/ext4/journal.rst),
//! so they never lose such a file; what they could lose besides, a *new* name in a directory that nobody has synced,
//! stays free, since POSIX promises nothing of it.

use super::choices::Choices;
use super::inode::{Entry, InodeId};
use super::regular::WRITEBACK_NS;
use std::collections::BTreeSet;

/// What becomes of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Naming {
    pub(crate) directory: InodeId,
    pub(crate) name: Vec<u8>,
    pub(crate) entry: Option<Entry>,
}

/// A change: of one name, or of two at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    at: u64,
    pub(crate) namings: Vec<Naming>,
    /// Inodes that lose a name.
    taken: Vec<InodeId>,
    /// It moves a directory to another one.
    moves_directory: bool,
}

/// Changes of directories since they were last known to be on the disk, in order.
#[derive(Clone, Default, Debug)]
pub(crate) struct Journal(Vec<Change>);

impl Journal {
    /// Notes a change.
    pub(crate) fn note(&mut self, at: u64, namings: Vec<Naming>, taken: Vec<InodeId>, moves_directory: bool) {
        self.0.push(Change { at, namings, taken, moves_directory });
    }

    /// How many changes there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a directory has changes that are not on the disk.
    pub(crate) fn concerns(&self, directory: InodeId) -> bool {
        self.0.iter().any(|change| change.is_in(directory))
    }

    /// Inodes that some change leads to.
    pub(crate) fn inodes(&self) -> impl Iterator<Item = InodeId> + '_ {
        self.0.iter().flat_map(Change::given).map(|(inode, _)| inode)
    }

    /// Takes out, in order, what fsync(2) of a directory brings to the disk.
    pub(crate) fn take_for(&mut self, directory: InodeId) -> Vec<Change> {
        let mut needs = Needs::default();
        let mut wanted = vec![false; self.0.len()];
        for (number, change) in self.0.iter().enumerate().rev() {
            if change.is_in(directory) || needs.are_met_by(change) {
                wanted[number] = true;
                needs.add(change);
            }
        }
        let mut number = 0;
        self.0
            .extract_if(.., |_| {
                number += 1;
                wanted[number - 1]
            })
            .collect()
    }

    /// Takes everything out.
    pub(crate) fn take_all(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.0)
    }

    /// Takes out, in order, what has been written back by itself.
    pub(crate) fn take_old(&mut self, now: u64) -> Vec<Change> {
        let old = self.0.partition_point(|change| change.at + WRITEBACK_NS <= now);
        self.0.drain(..old).collect()
    }

    /// Takes everything out, and answers, in order, what a crash keeps.
    pub(crate) fn crash(&mut self, now: u64, choices: &mut dyn Choices) -> Vec<Change> {
        let mut kept = self.take_old(now);
        let changes = self.take_all();
        let mut lost = Lost::default();
        let keeps = changes.iter().map(|change| {
            let keeps = !lost.carries(change) && choices.keeps();
            lost.note(change, keeps);
            keeps
        });
        let keeps: Vec<bool> = keeps.collect();
        kept.extend(changes.into_iter().zip(keeps).filter(|(_, keeps)| *keeps).map(|(change, _)| change));
        kept
    }
}

impl Change {
    fn is_in(&self, directory: InodeId) -> bool {
        self.namings.iter().any(|naming| naming.directory == directory)
    }

    fn names(&self) -> impl Iterator<Item = (InodeId, &[u8])> {
        self.namings.iter().map(|naming| (naming.directory, naming.name.as_slice()))
    }

    /// Inodes that get a name, and in which directory.
    fn given(&self) -> impl Iterator<Item = (InodeId, InodeId)> {
        self.namings.iter().filter_map(|naming| match naming.entry {
            Some(Entry::Inode(inode)) => Some((inode, naming.directory)),
            Some(Entry::Gone) | None => None,
        })
    }
}

/// What changes that are brought to the disk need of those before them.
#[derive(Default)]
struct Needs<'a> {
    /// Everything.
    all: bool,
    /// What was done to these names.
    names: BTreeSet<(InodeId, &'a [u8])>,
    /// What gave these a name.
    named: BTreeSet<InodeId>,
    /// What happened in these directories.
    emptied: BTreeSet<InodeId>,
}

impl<'a> Needs<'a> {
    fn are_met_by(&self, change: &Change) -> bool {
        self.all
            || change.names().any(|name| self.names.contains(&name))
            || self.names_one(change)
            || change.namings.iter().any(|naming| self.emptied.contains(&naming.directory))
    }

    /// Whether a change gives a name to what needs one.
    fn names_one(&self, change: &Change) -> bool {
        change.given().any(|(inode, _)| self.named.contains(&inode))
    }

    fn add(&mut self, change: &'a Change) {
        self.all |= change.moves_directory;
        self.names.extend(change.names());
        // What only makes something new needs no directory that is on the disk: it would be lost with it.
        if !change.taken.is_empty() || self.names_one(change) {
            self.named.extend(change.given().map(|(_, directory)| directory));
        }
        self.named.extend(&change.taken);
        self.emptied.extend(&change.taken);
    }
}

/// What a crash has lost so far.
#[derive(Default)]
struct Lost<'a> {
    names: BTreeSet<(InodeId, &'a [u8])>,
    /// What some name is lost of, or that is in a directory of which one is.
    adrift: BTreeSet<InodeId>,
    /// Directories in which something was lost.
    changed: BTreeSet<InodeId>,
}

impl<'a> Lost<'a> {
    /// Whether a change stands on what is lost, and so is lost as well.
    fn carries(&self, change: &Change) -> bool {
        let takes = !change.taken.is_empty();
        change.moves_directory && !self.names.is_empty()
            || change.names().any(|name| self.names.contains(&name))
            || takes && change.given().any(|(_, directory)| self.adrift.contains(&directory))
            || change.taken.iter().any(|inode| self.adrift.contains(inode) || self.changed.contains(inode))
    }

    fn note(&mut self, change: &'a Change, kept: bool) {
        if !kept {
            self.names.extend(change.names());
            self.changed.extend(change.namings.iter().map(|naming| naming.directory));
        }
        for (inode, directory) in change.given() {
            if !kept || self.adrift.contains(&directory) {
                self.adrift.insert(inode);
            }
        }
    }
}
