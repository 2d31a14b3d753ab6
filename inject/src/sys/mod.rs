//! System calls that have no safe wrapper elsewhere. All `unsafe` of this crate is in this room.

pub mod datagram;
mod fork;

pub use fork::{Forked, end_now, fork, wait};
