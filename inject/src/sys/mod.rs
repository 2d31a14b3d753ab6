//! System calls that have no safe wrapper elsewhere. All `unsafe` of this crate is in this room.

mod fork;
mod ptrace;
mod shared_words;
mod stub_code;

pub use fork::{Forked, end_now, fork, wait};
pub use ptrace::{Asked, Registers, Stopped, USER_CS, read_memory, write_memory};
pub use shared_words::SharedWords;
pub use stub_code::{StubCode, stub_code, words};
