//! Disks of real processes that are in trouble, and calls that were refused.
//!
//! A host of the real world is a process of its own, executed from the test's binary, and runs on no simulated kernel.
//! What goes wrong with its calls of files stands in a page of shared memory, which the world writes; what the kernel
//! refuses its calls is counted there, since the kernel does not.

use crate::abi::real_calls;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The page's layout, to be compared with that of the room that writes it.
#[doc(hidden)]
pub const LAYOUT: [usize; 19] = real_calls::LAYOUT;

/// Has the calls of this process go by what a page says, from now on and for as long as it runs. The page stays mapped;
/// the descriptor may be closed.
///
/// Threads of simulated worlds are not concerned.
///
/// # Errors
/// The descriptor cannot be mapped, or is no such page.
pub fn install(page: BorrowedFd<'_>) -> io::Result<()> {
    real_calls::install(page.as_raw_fd()).map_err(|problem| problem.into_io("calls"))
}
