//! Cases that once failed: kept in files that people commit, replayed before anything new is tried.
//!
//! ```text
//! entry.rs     one case: failure, seed, plan, digest
//! file.rs      the file of a test: reading it, adding to it
//! replay.rs    a file that CHAOS_REPLAY names: such a file, or a plan
//! verdict.rs   what a replay says: still there, fixed, or dodged
//! ```

mod entry;
mod file;
mod replay;
mod verdict;

pub(crate) use entry::{Entry, found_with};
pub(crate) use file::{Regressions, Saved, Saving};
pub(crate) use replay::{ReplayFile, read_replay};
pub(crate) use verdict::{Replayed, Verdict, judge};

#[cfg(test)]
mod tests;
