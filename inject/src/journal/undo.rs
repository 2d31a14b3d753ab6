//! What there is to undo.

use super::restore::Restore;
use crate::clock;
use crate::disk::Covered;
use crate::error::{Error, ErrorKind};
use crate::process::identity::Identity;
use crate::process::limit::Resource;
use crate::target::Process;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a process that was killed may take to end.
const END_WITHIN: Duration = Duration::from_secs(2);

/// How to undo one change. Whatever it finds, doing it twice is the same as doing it once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "snake_case")]
pub enum Undo {
    /// Remove these cgroups, which are one group in several hierarchies, after their members have left.
    RemoveGroup {
        /// Their directories.
        directories: Vec<PathBuf>,
        /// What becomes of who is in them.
        members: Members,
    },
    /// Write a value back.
    Restore(Restore),
    /// Set a process's soft limit back.
    Limit {
        /// Whose.
        process: Identity,
        /// Of what.
        resource: Resource,
        /// What we set. None: unlimited.
        ours: Option<u64>,
        /// What it was.
        prior: Option<u64>,
    },
    /// Let a process go on that was stopped.
    Continue {
        /// Which.
        process: Identity,
    },
    /// End a process of ours.
    Kill {
        /// Which.
        process: Identity,
    },
    /// Put the clock of a process right that is none of ours. Once its lease has run out that is right by itself, and
    /// what is left is code that tells the right time.
    Clock {
        /// Whose.
        process: Identity,
        /// What was put into it.
        stub: clock::Undo,
    },
    /// Take a mount away that hides somebody else's directory.
    Uncover(Covered),
    /// Remove a file. The only thing that is still there after a boot. A file has its inode before it has a name
    /// (open(2), `O_TMPFILE`), so that it can be written down first.
    RemoveFile {
        /// Which.
        path: PathBuf,
        /// On which device.
        device: u64,
        /// And which of its inodes.
        inode: u64,
    },
}

/// What becomes of the members of a cgroup that is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Members {
    /// They are ours, and end.
    Kill,
    /// They are somebody else's, and go back where they were: for each directory, to which.
    MoveTo(Vec<PathBuf>),
}

/// What came of undoing a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All is as it was.
    Recovered,
    /// What it was about is gone, and the change with it.
    TargetGone,
    /// Somebody has changed it since: left alone.
    Foreign {
        /// What is there now.
        found: String,
    },
    /// A change that was made over it is still in force, and now restores what was before both.
    Inherited,
    /// It is still there. Somebody has to look.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    pub(crate) fn failed(reason: impl ToString) -> Self {
        Self::Failed { reason: reason.to_string() }
    }

    /// Whether nothing is left to do.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Failed { .. })
    }
}

impl Undo {
    /// Undoes it.
    pub fn undo(&self) -> Outcome {
        match self {
            Self::RemoveGroup { directories, members } => crate::cgroup::remove::undo(directories, members),
            Self::Restore(restore) => restore.undo(),
            Self::Limit { process, resource, ours, prior } => {
                with(process, |process| resource.restore(process, *ours, *prior))
            }
            Self::Continue { process } => with(process, |process| signal(process, Signal::CONT)),
            Self::Kill { process } => with(process, kill),
            Self::Clock { process, stub } => with(process, |_| put_right(stub)),
            Self::Uncover(covered) => covered.undo(),
            Self::RemoveFile { path, device, inode } => remove_file(path, *device, *inode),
        }
    }

    /// Undoes it in the place of who has died, with what nobody has written down: what was forked meanwhile from a
    /// process whose clock is wrong has that clock too, and who would have noticed is dead.
    pub(crate) fn undo_for_the_dead(&self) -> Outcome {
        let outcome = self.undo();
        match (self, &outcome) {
            (Self::Clock { process, stub }, Outcome::Recovered | Outcome::TargetGone) if process.is_comparable() => {
                match stub.carry_out_for_heirs() {
                    Ok(true) => Outcome::Recovered,
                    Ok(false) => outcome,
                    Err(error) => clock_outcome(error),
                }
            }
            _ => outcome,
        }
    }

    /// Whether it is still to be undone after a boot.
    pub(crate) fn survives_boot(&self) -> bool {
        matches!(self, Self::RemoveFile { .. })
    }

    /// This one, which came after an `earlier` one about the same thing that ends before it, as it has to be from then
    /// on. `None` if they have nothing to do with each other.
    pub(crate) fn inherit(&self, earlier: &Self) -> Option<Self> {
        match (self, earlier) {
            (Self::Restore(later), Self::Restore(earlier)) => later.inherit(earlier).map(Self::Restore),
            (
                Self::Limit { process, resource, ours, prior },
                Self::Limit { process: other, resource: same, ours: over, prior: before },
            ) => (process == other && resource == same && prior == over).then_some(Self::Limit {
                process: *process,
                resource: *resource,
                ours: *ours,
                prior: *before,
            }),
            _ => None,
        }
    }
}

/// Does this to the process, if it is still there.
fn with(process: &Identity, action: impl FnOnce(&Process) -> Outcome) -> Outcome {
    match process.open() {
        Ok(Some(process)) => action(&process),
        Ok(None) => Outcome::TargetGone,
        Err(error) => Outcome::failed(error),
    }
}

fn signal(process: &Process, signal: Signal) -> Outcome {
    match process.signal(signal) {
        Ok(()) => Outcome::Recovered,
        Err(Error { kind: ErrorKind::TargetGone, .. }) => Outcome::TargetGone,
        Err(error) => Outcome::failed(error),
    }
}

/// Ends it, and waits until it has ended: what it does must not come after what is undone next.
fn kill(process: &Process) -> Outcome {
    match signal(process, Signal::KILL) {
        Outcome::Recovered if !process.ends_within(END_WITHIN) => Outcome::failed("it is killed, and does not end"),
        outcome => outcome,
    }
}

fn put_right(stub: &clock::Undo) -> Outcome {
    stub.carry_out().map_or_else(clock_outcome, |()| Outcome::Recovered)
}

fn clock_outcome(error: Error) -> Outcome {
    match error.kind {
        ErrorKind::TargetGone => Outcome::TargetGone,
        ErrorKind::Unlike { found, .. } => Outcome::Foreign { found },
        _ => Outcome::failed(error),
    }
}

fn remove_file(path: &Path, device: u64, inode: u64) -> Outcome {
    match fs::symlink_metadata(path) {
        Ok(found) if found.dev() == device && found.ino() == inode => match fs::remove_file(path) {
            Ok(()) => Outcome::Recovered,
            Err(error) => Outcome::failed(format!("remove {}: {error}", path.display())),
        },
        Ok(found) => Outcome::Foreign { found: format!("inode {}", found.ino()) },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Outcome::TargetGone,
        Err(error) => Outcome::failed(format!("look at {}: {error}", path.display())),
    }
}
