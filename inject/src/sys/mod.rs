//! System calls that have no safe wrapper elsewhere. All `unsafe` of this crate is in this room.

mod fork;
mod orphan;

pub use fork::{Forked, end_now, fork, wait};
pub use orphan::{fork_orphan, stand_alone};
