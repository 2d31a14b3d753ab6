//! What has to be undone if the one who did it cannot: a write-ahead journal.
//!
//! Most faults die with a namespace, a socket or a descriptor. The rest (control groups and values in them, a limit of
//! a process, a process that was stopped, its clock, a mount over somebody's directory) is written down here, synced,
//! *before* it is done. Whoever applied it undoes it when the fault heals; if that process dies or is stopped, its
//! [guardian](crate::guardian) does; if that died as well, [`recover`](crate::recover::recover).
//!
//! Undoing is compare-and-restore, and idempotent: what is no longer as we left it is somebody else's and stays.
//!
//! - `directory`: where journals are, and that nobody else writes there
//! - `file`: lines of one journal
//! - `writer`: [`Journal`] and [`Change`], which is all that a fault sees
//! - `undo`, `restore`: what there is to undo, and how

mod directory;
pub(crate) mod file;
mod restore;
mod undo;
mod writer;

pub use directory::{Directory, default_path};
pub use restore::Restore;
pub use undo::{Members, Outcome, Undo};
pub(crate) use writer::passing;
pub use writer::{Change, Journal, Settings};
