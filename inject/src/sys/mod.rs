//! System calls that have no safe wrapper elsewhere. All `unsafe` of this crate is in this room.

mod block;
mod fork;
mod mount;

pub use block::{attach_loop_device, cut_power_of_ext4, free_loop_device};
pub use fork::{Forked, end_now, fork, wait};
pub use mount::set_mount_attributes;
