//! Clocks of real processes that are wrong.
//!
//! A host of the real world is a process of its own, executed from the test's binary, and runs on no simulated kernel.
//! Its clocks show what a page of shared memory says, which the world writes: it is handed the descriptor and
//! [installs](install) it before anything of its program runs.

use crate::abi::real_clock;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The page's layout, to be compared with that of the room that writes it.
#[doc(hidden)]
pub const LAYOUT: [usize; 15] = real_clock::LAYOUT;

/// Has all clocks of this process show what a page says, from now on and for as long as it runs. The page stays mapped;
/// the descriptor may be closed.
///
/// Threads of simulated worlds are not concerned.
///
/// # Errors
/// The descriptor cannot be mapped, or is no such page.
pub fn install(page: BorrowedFd<'_>) -> io::Result<()> {
    real_clock::install(page.as_raw_fd()).map_err(|problem| problem.into_io("clocks"))
}
