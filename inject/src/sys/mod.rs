//! System calls that have no safe wrapper elsewhere. All `unsafe` of this crate is in this room.

mod block;
mod clone;
pub mod datagram;
mod device_mapper;
mod exec;
mod fork;
mod inherit;
mod mount;
mod orphan;
pub mod simulation;
mod socket;
mod words;

pub use block::{attach_loop_device, cut_power_of_ext4, free_loop_device};
pub use clone::clone_into;
pub use device_mapper::target_version;
pub use exec::{Executable, execute};
pub use fork::{End, Forked, end_now, fork, wait, wait_any};
pub use inherit::{inherit, keep_from_program};
pub use mount::set_mount_attributes;
pub use orphan::{fork_orphan, stand_alone};
pub use socket::set_mark;
pub use words::SharedWords;
