//! Changes of directories that are not known to be on the disk, and which of them a crash can keep.
//!
//! A change concerns one name, or two at once: rename(2) is atomic. A name shows one of the entries that it had, in
//! order, so whoever keeps a change keeps all earlier ones of its names. A change that moves a directory elsewhere
//! keeps all earlier changes, so that no tree is torn off its root. fsync(2) of a directory keeps those that concern
//! it, and what these need.

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
    /// It moves a directory to another one.
    moves_directory: bool,
}

/// Changes of directories since they were last known to be on the disk, in order.
#[derive(Clone, Default, Debug)]
pub(crate) struct Journal(Vec<Change>);

impl Journal {
    /// Notes a change.
    pub(crate) fn note(&mut self, at: u64, namings: Vec<Naming>, moves_directory: bool) {
        self.0.push(Change { at, namings, moves_directory });
    }

    /// Whether a directory has changes that are not on the disk.
    pub(crate) fn concerns(&self, directory: InodeId) -> bool {
        self.0.iter().any(|change| change.namings.iter().any(|naming| naming.directory == directory))
    }

    /// Inodes that some change leads to.
    pub(crate) fn inodes(&self) -> impl Iterator<Item = InodeId> + '_ {
        let namings = self.0.iter().flat_map(|change| &change.namings);
        namings.filter_map(|naming| match naming.entry {
            Some(Entry::Inode(inode)) => Some(inode),
            Some(Entry::Gone) | None => None,
        })
    }

    /// Takes out, in order, what fsync(2) of a directory brings to the disk.
    pub(crate) fn take_for(&mut self, directory: InodeId) -> Vec<Change> {
        let mut names: BTreeSet<(InodeId, Vec<u8>)> = BTreeSet::new();
        let mut all_before = false;
        let mut wanted = vec![false; self.0.len()];
        for (number, change) in self.0.iter().enumerate().rev() {
            let concerned = |naming: &Naming| {
                naming.directory == directory || names.contains(&(naming.directory, naming.name.clone()))
            };
            if all_before || change.namings.iter().any(concerned) {
                wanted[number] = true;
                all_before |= change.moves_directory;
                names.extend(change.namings.iter().map(|naming| (naming.directory, naming.name.clone())));
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
        let mut lost: BTreeSet<(InodeId, Vec<u8>)> = BTreeSet::new();
        for change in self.take_all() {
            let stands_on_lost = change.moves_directory && !lost.is_empty()
                || change.namings.iter().any(|naming| lost.contains(&(naming.directory, naming.name.clone())));
            if !stands_on_lost && choices.keeps() {
                kept.push(change);
            } else {
                lost.extend(change.namings.into_iter().map(|naming| (naming.directory, naming.name)));
            }
        }
        kept
    }
}
