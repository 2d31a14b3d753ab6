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
mod ptrace;
mod shared_words;
pub mod simulation;
mod socket;
mod stub_code;
mod writeback;

pub use block::{attach_loop_device, cut_power_of_ext4, free_loop_device};
pub use clone::clone_into;
pub use device_mapper::target_version;
pub use exec::{Executable, execute};
pub use fork::{End, Forked, end_now, fork, kill_all_others, wait, wait_any};
pub use inherit::{inherit, keep_from_program};
pub use mount::set_mount_attributes;
pub use orphan::{fork_orphan, stand_alone};
pub use ptrace::{Asked, Registers, Stopped, USER_CS, leave_stopped, read_memory, stop_at_execution, write_memory};
pub use shared_words::SharedWords;
pub use socket::set_mark;
pub use stub_code::{StubCode, stub_code, words};
pub use writeback::start_writeback;
