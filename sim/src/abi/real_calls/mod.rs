//! The calls of a real process, when a page says that its disk is in trouble; and an account of what it is refused.
//!
//! A host of the real world runs on no simulated kernel: its threads pass through the hooks to the genuine libc. The
//! functions here stand in between: a hook that names one with `@real(…)` calls it with what it needs to know of the
//! arguments and a closure that makes the genuine call. Without a page, that is all that happens, after a look at a
//! pointer. Like all hooks they use no Rust heap and no thread-local storage.
//!
//! Only regular files are in trouble, and no files of the kernel's (`/proc`, `/sys`). Not seen, neither by faults nor
//! by the account: what libc does inside itself (`fopen` and its streams, getaddrinfo(3)), memory mappings but for
//! msync(2), io_uring(7), and whoever makes system calls by himself.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `page.rs` | the page: faults in force and counts |
//! | `disk.rs` | reads and syncs that fail, writes and syncs that take longer |
//! | `lost.rs` | files whose last sync has failed: the next one says nothing |

mod disk;
mod lost;
mod page;

pub(crate) use disk::{copies, makes, reads, syncs, syncs_all, syncs_memory, writes};
pub(crate) use page::LAYOUT;

use super::real_clock::errno;
use super::real_page::{BadPage, map};
use libc::c_int;
use page::{Page, page};
use std::ptr;

/// Maps a page and goes by it from now on.
pub(crate) fn install(fd: c_int) -> Result<(), BadPage> {
    page::PAGE.set(map(fd, Page::is_known)?);
    Ok(())
}

/// What a function answers when it has failed, and set `errno`.
pub(crate) trait Answer: Copy {
    const FAILED: Self;
    fn has_failed(self) -> bool;
    /// Bytes that went through; 0 for what moves none.
    fn bytes(self) -> u64;
}

impl Answer for () {
    const FAILED: Self = ();
    fn has_failed(self) -> bool {
        false
    }
    fn bytes(self) -> u64 {
        0
    }
}

impl Answer for c_int {
    const FAILED: Self = -1;
    fn has_failed(self) -> bool {
        self == -1
    }
    fn bytes(self) -> u64 {
        0
    }
}

impl Answer for isize {
    const FAILED: Self = -1;
    fn has_failed(self) -> bool {
        self == -1
    }
    fn bytes(self) -> u64 {
        self.max(0).unsigned_abs() as u64
    }
}

impl<T> Answer for *mut T {
    const FAILED: Self = ptr::null_mut();
    fn has_failed(self) -> bool {
        self.is_null()
    }
    fn bytes(self) -> u64 {
        0
    }
}

/// A call that may be refused something: counts that.
#[inline]
pub(crate) fn asks<T: Answer>(genuine: impl FnOnce() -> T) -> T {
    let answer = genuine();
    match page() {
        Some(page) if answer.has_failed() => page.count_refusal(errno()),
        _ => {}
    }
    answer
}

/// As [`asks`], of calls that answer the error itself: posix_fallocate(3).
#[inline]
pub(crate) fn asks_for_error(genuine: impl FnOnce() -> c_int) -> c_int {
    let error = genuine();
    match page() {
        Some(page) if error != 0 => page.count_refusal(error),
        _ => {}
    }
    error
}

/// A call that makes a thread or a process: fork(2). `EAGAIN` is a refusal here.
#[inline]
pub(crate) fn splits(genuine: impl FnOnce() -> c_int) -> c_int {
    let answer = genuine();
    match page() {
        Some(page) if answer == -1 => page.count_refused_task(errno()),
        _ => {}
    }
    answer
}

/// As [`splits`], of calls that answer the error itself: pthread_create(3), posix_spawn(3).
#[inline]
pub(crate) fn splits_for_error(genuine: impl FnOnce() -> c_int) -> c_int {
    let error = genuine();
    match page() {
        Some(page) if error != 0 => page.count_refused_task(error),
        _ => {}
    }
    error
}
