//! System calls that have no safe wrapper elsewhere. All `unsafe` of this crate is in this room.

mod clone;
mod exec;
mod fork;
mod inherit;
mod socket;

pub use clone::clone_into;
pub use exec::{Executable, execute};
pub use fork::{End, Forked, end_now, fork, wait, wait_any};
pub use inherit::{inherit, keep_from_program};
pub use socket::set_mark;
