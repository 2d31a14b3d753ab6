//! The clocks of a real process, when a page says that they are wrong.
//!
//! A host of the real world runs on no simulated kernel: its threads pass through the hooks to the genuine libc. These
//! are the functions that stand in between where time is read or waited for. Without a page each is the genuine one
//! after a look at a pointer. Like all hooks they use no Rust heap and no thread-local storage.
//!
//! Waits look at the page every 50 ms, so a clock that is moved meanwhile is followed. Not followed: a timerfd that was
//! set before (it is translated when it is set), alarm(2), setitimer(2), timer_create(2), `SO_RCVTIMEO`, times(2),
//! timestamps of files, and whoever makes system calls by himself or reads the vDSO without libc.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `page.rs` | the page: what is added at which moment |
//! | `shown.rs` | what clocks show for it, and waiting by them |
//! | `reads.rs` | clock_gettime(2) and its relatives |
//! | `sleeps.rs` | clock_nanosleep(2), futex(2) |
//! | `polls.rs` | poll(2), select(2), epoll(7) |
//! | `locks.rs` | the pthread functions that wait for a time |
//! | `timerfds.rs` | timerfd_create(2) |

mod locks;
mod page;
mod polls;
mod reads;
mod shown;
mod sleeps;
mod timerfds;

pub(crate) use locks::*;
pub(crate) use page::LAYOUT;
pub(crate) use polls::*;
pub(crate) use reads::*;
pub(super) use shown::genuine_monotonic;
pub(crate) use sleeps::*;
pub(crate) use timerfds::*;

use super::real_page::{BadPage, map};
use libc::{c_int, timespec};
use page::Page;

/// Maps a page and goes by it from now on.
pub(crate) fn install(fd: c_int) -> Result<(), BadPage> {
    let page = map(fd, Page::is_known)?;
    shown::tie();
    page::PAGE.set(page);
    Ok(())
}

pub(super) fn timespec_of(ns: i64) -> timespec {
    timespec { tv_sec: ns.div_euclid(1_000_000_000), tv_nsec: ns.rem_euclid(1_000_000_000) }
}

pub(super) fn errno() -> c_int {
    // SAFETY: the calling thread's own.
    unsafe { *libc::__errno_location() }
}

/// Fails as libc does.
pub(super) fn fail(error: c_int) -> c_int {
    // SAFETY: the calling thread's own.
    unsafe { *libc::__errno_location() = error };
    -1
}
