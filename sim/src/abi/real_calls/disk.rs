//! Reads and syncs that fail, and writes and syncs that take longer: as the simulated disk does it.

use super::page::{Fault, Operation, Page, page};
use super::{Answer, asks, lost};
use crate::abi::real_clock::{fail, genuine_monotonic, timespec_of};
use crate::carrier::real;
use libc::{c_int, c_long};
use std::mem::MaybeUninit;

/// How much of a slow disk's time the page cache holds before those who write to it wait (`balance_dirty_pages`).
const WRITEBACK_AHEAD_NS: u64 = 1_000_000_000;
/// How often somebody who waits looks whether the fault is over.
const SLICE_NS: u64 = 10_000_000;

/// Answers what a call answers that fails for the disk.
fn io_error<T: Answer>(page: &Page) -> T {
    page.count_refusal(libc::EIO);
    fail(libc::EIO);
    T::FAILED
}

/// A call that reads from a file: it may fail.
#[inline]
pub(crate) fn reads<T: Answer>(fd: c_int, genuine: impl FnOnce() -> T) -> T {
    match page() {
        Some(page) if !page.is_calm() && fails(page, fd, Operation::Read) => io_error(page),
        _ => asks(genuine),
    }
}

#[cold]
fn fails(page: &Page, fd: c_int, what: Operation) -> bool {
    page.faults().any(|fault| fault.may_fail(what)) && on_disk(fd).is_some() && decide(page, what)
}

/// All faults decide, so that the numbers of their calls do not depend on each other.
fn decide(page: &Page, what: Operation) -> bool {
    let mut failed = false;
    for fault in page.faults().filter(|fault| fault.may_fail(what)) {
        if fault.fails(what) {
            fault.has_bitten();
            failed = true;
        }
    }
    failed
}

/// A call that writes to a file: it may take longer.
#[inline]
pub(crate) fn writes<T: Answer>(fd: c_int, genuine: impl FnOnce() -> T) -> T {
    let answer = asks(genuine);
    if let Some(page) = page() {
        if lost::are_any() && !answer.has_failed() {
            written_again(fd);
        }
        if !page.is_calm() && answer.bytes() > 0 {
            slow_write(page, fd, answer.bytes());
        }
    }
    answer
}

/// A call that changes a file otherwise, or makes one: ftruncate(2), fallocate(2).
#[inline]
pub(crate) fn makes<T: Answer>(fd: c_int, genuine: impl FnOnce() -> T) -> T {
    let answer = asks(genuine);
    if lost::are_any() && !answer.has_failed() {
        written_again(fd);
    }
    answer
}

/// A call that copies: from a file that may fail, to one that may be slow.
#[inline]
pub(crate) fn copies<T: Answer>(from: c_int, to: c_int, genuine: impl FnOnce() -> T) -> T {
    reads(from, || writes(to, genuine))
}

#[cold]
fn written_again(fd: c_int) {
    if let Some(status) = status(fd) {
        lost::forget(&status);
    }
}

#[cold]
fn slow_write(page: &Page, fd: c_int, bytes: u64) {
    if !page.faults().any(|fault| fault.is_slow()) || on_disk(fd).is_none() {
        return;
    }
    let is_synced = is_synchronous(fd);
    for fault in page.faults().filter(Fault::is_slow) {
        let now_ns = now_ns();
        let takes_ns = fault
            .rate()
            .map_or(0, |rate| u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX));
        let until_ns = if is_synced {
            fault.takes(now_ns, takes_ns.saturating_add(fault.delay_ns()))
        } else {
            fault.takes(now_ns, takes_ns).saturating_sub(WRITEBACK_AHEAD_NS)
        };
        wait(&fault, now_ns, until_ns);
    }
}

/// A call that brings a file to the disk: it may fail, and take longer.
#[inline]
pub(crate) fn syncs(fd: c_int, genuine: impl FnOnce() -> c_int) -> c_int {
    match page() {
        Some(page) if !page.is_calm() || lost::are_any() => troubled_sync(page, fd, genuine),
        _ => asks(genuine),
    }
}

#[cold]
fn troubled_sync(page: &Page, fd: c_int, genuine: impl FnOnce() -> c_int) -> c_int {
    let Some(file) = on_disk(fd) else { return asks(genuine) };
    let is_regular = file.st_mode & libc::S_IFMT == libc::S_IFREG;
    // Nothing is dirty, as far as the kernel knows: so it says that all is well.
    let answer = if is_regular && lost::is_known(&file) {
        0
    } else if is_regular && decide(page, Operation::Sync) {
        lost::remember(&file);
        io_error(page)
    } else {
        asks(genuine)
    };
    slow_sync(page);
    answer
}

/// A call that brings mapped memory to the disk: msync(2).
#[inline]
pub(crate) fn syncs_memory(flags: c_int, genuine: impl FnOnce() -> c_int) -> c_int {
    match page() {
        Some(page) if flags & libc::MS_SYNC != 0 && !page.is_calm() => {
            let answer = if decide(page, Operation::Sync) { io_error(page) } else { asks(genuine) };
            slow_sync(page);
            answer
        }
        _ => asks(genuine),
    }
}

/// A call that brings everything to the disk: sync(2), syncfs(2). It takes longer; it does not say what failed.
#[inline]
pub(crate) fn syncs_all<T: Answer>(genuine: impl FnOnce() -> T) -> T {
    let answer = asks(genuine);
    match page() {
        Some(page) if !page.is_calm() => slow_sync(page),
        _ => {}
    }
    answer
}

#[cold]
fn slow_sync(page: &Page) {
    for fault in page.faults().filter(Fault::is_slow) {
        let now_ns = now_ns();
        wait(&fault, now_ns, fault.takes(now_ns, fault.delay_ns()));
    }
}

/// Waits until a moment, unless the fault ends before. Nothing interrupts it, as nothing interrupts a disk.
fn wait(fault: &Fault<'_>, mut now_ns: u64, until_ns: u64) {
    if until_ns <= now_ns {
        return;
    }
    fault.has_bitten();
    while now_ns < until_ns && fault.holds() {
        let until = timespec_of(until_ns.min(now_ns + SLICE_NS) as i64);
        let until = (&raw const until) as usize;
        let (clock, flags) = (libc::CLOCK_MONOTONIC as usize, libc::TIMER_ABSTIME as usize);
        // SAFETY: a time on this stack. By number: this process's clocks may be wrong.
        unsafe { real::raw_syscall(libc::SYS_clock_nanosleep, [clock, flags, until, 0, 0, 0]) };
        now_ns = self::now_ns();
    }
}

fn now_ns() -> u64 {
    genuine_monotonic() as u64
}

/// What the kernel says of an open file or directory; `None` for anything else.
fn status(fd: c_int) -> Option<libc::stat> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: room for the struct, which on x86-64 is the kernel's own (stat(2), "C library/kernel differences").
    let status = unsafe {
        let answer = real::raw_syscall(libc::SYS_fstat, [fd as usize, status.as_mut_ptr() as usize, 0, 0, 0, 0]);
        (answer == 0).then(|| status.assume_init())?
    };
    matches!(status.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR).then_some(status)
}

/// As [`status`], but `None` for what the kernel makes up, too.
fn on_disk(fd: c_int) -> Option<libc::stat> {
    const OF_THE_KERNEL: [c_long; 4] =
        [libc::PROC_SUPER_MAGIC, libc::SYSFS_MAGIC, libc::CGROUP_SUPER_MAGIC, libc::CGROUP2_SUPER_MAGIC];
    let status = status(fd)?;
    let mut found = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: room for the struct, which on x86-64 is the kernel's own.
    let found = unsafe {
        let answer = real::raw_syscall(libc::SYS_fstatfs, [fd as usize, found.as_mut_ptr() as usize, 0, 0, 0, 0]);
        (answer == 0).then(|| found.assume_init())?
    };
    (!OF_THE_KERNEL.contains(&found.f_type)).then_some(status)
}

fn is_synchronous(fd: c_int) -> bool {
    // SAFETY: no pointers.
    let flags = unsafe { real::raw_syscall(libc::SYS_fcntl, [fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0]) };
    flags >= 0 && flags as c_int & libc::O_DSYNC != 0
}
