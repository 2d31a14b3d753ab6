//! `/proc/self`: proc(5). A process has no cost of its own in a world, so memory and faults are fixed figures, and
//! processor time is virtual time.

use super::Who;
use super::facts::{TICK_NS, ticks_at};
use crate::kernel::process::{Process, TEST};
use crate::kernel::thread::{State, Thread};
use crate::kernel::{Kernel, ThreadId};
use std::fmt::Write;

const PAGE_BYTES: u64 = 4096;
const VIRTUAL_BYTES: u64 = 256 << 20;
const RESIDENT_PAGES: u64 = (32 << 20) / PAGE_BYTES;

/// size, resident, shared, text, lib, data, dt; in pages.
pub(super) const STATM: &str = "65536 8192 2048 2048 0 16384 0\n";
pub(super) const IO: &str = "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\n\
    cancelled_write_bytes: 0\n";
/// fstab(5) fields.
pub(super) const MOUNTS: &str = "/dev/sda1 / ext4 rw,relatime 0 0\n\
    proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n\
    sysfs /sys sysfs ro,nosuid,nodev,noexec,relatime 0 0\n\
    cgroup2 /sys/fs/cgroup cgroup2 ro,nosuid,nodev,noexec,relatime 0 0\n\
    devtmpfs /dev devtmpfs rw,nosuid 0 0\ntmpfs /run tmpfs rw,nosuid,nodev 0 0\n\
    tmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\n";
pub(super) const MOUNT_INFO: &str = "21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
    22 21 0:21 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n\
    23 21 0:22 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro\n\
    24 23 0:23 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup2 ro\n\
    25 21 0:5 / /dev rw,nosuid - devtmpfs devtmpfs rw\n26 21 0:24 / /run rw,nosuid,nodev - tmpfs tmpfs rw\n\
    27 25 0:25 / /dev/shm rw,nosuid,nodev - tmpfs tmpfs rw\n";

fn both(k: &Kernel, who: Who) -> Option<(&Process, &Thread)> {
    Some((k.processes.get(who.process)?, k.threads.get(who.thread)?))
}

/// Strings, each with a NUL behind it.
fn with_nuls<'a>(strings: impl Iterator<Item = &'a str>) -> Vec<u8> {
    strings.flat_map(|s| s.bytes().chain([0])).collect()
}

pub(super) fn command_line(k: &mut Kernel, who: Who) -> Vec<u8> {
    k.processes.get(who.process).map(|p| with_nuls(p.args.iter().map(String::as_str))).unwrap_or_default()
}

/// The variables with which a case is looked at.
const LOOKS: [&str; 2] = ["RUST_LOG", "RUST_BACKTRACE"];

/// The environment that the process began with (proc(5)). How the case is looked at is not told: what a program reads
/// here must not change with it. (sysinfo reads it of every process.)
pub(super) fn environment(k: &mut Kernel, who: Who) -> Vec<u8> {
    let test = k.hosts[TEST].process.and_then(|process| k.processes.get(process));
    let of_the_test = test.map(|process| process.place.environment.clone()).unwrap_or_default();
    let Some(process) = k.processes.get(who.process) else { return Vec::new() };
    let looks = |pair: &(String, String)| LOOKS.contains(&pair.0.as_str()) && of_the_test.contains(pair);
    let told = process.place.environment.iter().filter(|pair| !looks(pair));
    let pairs: Vec<String> = told.map(|(key, value)| format!("{key}={value}")).collect();
    with_nuls(pairs.iter().map(String::as_str))
}

/// The main thread's name is the process's.
pub(super) fn name(k: &mut Kernel, who: Who) -> Vec<u8> {
    thread_name(k, who)
}

pub(super) fn thread_name(k: &mut Kernel, who: Who) -> Vec<u8> {
    both(k, who).map(|(_, t)| format!("{}\n", short(&t.name)).into_bytes()).unwrap_or_default()
}

/// `TASK_COMM_LEN` is 16 with the NUL.
fn short(name: &str) -> &str {
    name.get(..15).unwrap_or(name)
}

/// proc_pid_limits(5); the numbers are those of getrlimit(2) (`abi/process.rs`).
pub(super) fn limits(k: &mut Kernel, who: Who) -> Vec<u8> {
    let files = k.processes.get(who.process).map_or(0, |p| k.tables[p.table].limit).to_string();
    let unlimited = "unlimited";
    let rows = [
        ("Max cpu time", unlimited, unlimited, "seconds"),
        ("Max file size", unlimited, unlimited, "bytes"),
        ("Max data size", unlimited, unlimited, "bytes"),
        ("Max stack size", "8388608", unlimited, "bytes"),
        ("Max core file size", "0", unlimited, "bytes"),
        ("Max resident set", unlimited, unlimited, "bytes"),
        ("Max processes", unlimited, unlimited, "processes"),
        ("Max open files", &files, "1048576", "files"),
        ("Max locked memory", unlimited, unlimited, "bytes"),
        ("Max address space", unlimited, unlimited, "bytes"),
        ("Max file locks", unlimited, unlimited, "locks"),
        ("Max pending signals", unlimited, unlimited, "signals"),
        ("Max msgqueue size", unlimited, unlimited, "bytes"),
        ("Max nice priority", unlimited, unlimited, ""),
        ("Max realtime priority", unlimited, unlimited, ""),
        ("Max realtime timeout", unlimited, unlimited, "us"),
    ];
    let mut text = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (name, soft, hard, unit) in rows {
        let _ = writeln!(text, "{name:<25} {soft:<20} {hard:<20} {unit:<10}");
    }
    text.into_bytes()
}

fn letter(k: &Kernel, thread: &Thread) -> (char, &'static str) {
    let stopped = k.processes.get(thread.process).is_some_and(|p| p.held.is_some());
    match thread.state {
        _ if stopped => ('T', "T (stopped)"),
        State::Running | State::Ready => ('R', "R (running)"),
        State::Blocked => ('S', "S (sleeping)"),
        State::Zombie => ('Z', "Z (zombie)"),
    }
}

/// proc_pid_stat(5), all 52 fields.
fn stat_line(k: &Kernel, who: Who, number: i32) -> Vec<u8> {
    let Some((process, thread)) = both(k, who) else { return Vec::new() };
    let (pid, state) = (process.pid, letter(k, thread).0);
    let (user_ticks, started) = (k.now / TICK_NS, ticks_at(k, who, process.place.started_ns));
    format!(
        "{number} ({name}) {state} 1 {pid} {pid} 0 -1 4194304 0 0 0 0 {user_ticks} 0 0 0 20 0 {threads} 0 {started} \
         {VIRTUAL_BYTES} {RESIDENT_PAGES} 18446744073709551615 0 0 0 0 0 0 0 4096 0 0 0 0 17 0 0 0 0 0 0 \
         0 0 0 0 0 0 0 0\n",
        name = short(&thread.name),
        threads = process.threads.len(),
    )
    .into_bytes()
}

pub(super) fn stat(k: &mut Kernel, who: Who) -> Vec<u8> {
    let pid = k.processes.get(who.process).map_or(0, |p| p.pid);
    stat_line(k, who, pid)
}

pub(super) fn thread_stat(k: &mut Kernel, who: Who) -> Vec<u8> {
    let tid = k.threads.get(who.thread).map_or(0, |t| t.tid);
    stat_line(k, who, tid)
}

/// proc_pid_status(5), the lines that programs look for.
fn status_of(k: &Kernel, who: Who, number: i32) -> Vec<u8> {
    let Some((process, thread)) = both(k, who) else { return Vec::new() };
    let kib = RESIDENT_PAGES * PAGE_BYTES / 1024;
    let masks = signal_masks(k, process, who.thread);
    format!(
        "Name:\t{name}\nUmask:\t{umask:04o}\nState:\t{state}\nTgid:\t{pid}\nNgid:\t0\nPid:\t{number}\nPPid:\t1\n\
         TracerPid:\t0\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nFDSize:\t{fd_slots}\n\
         Groups:\t1000 \nNStgid:\t{pid}\nNSpid:\t{number}\nNSpgid:\t{pid}\nNSsid:\t{pid}\nVmPeak:\t{vm} kB\n\
         VmSize:\t{vm} kB\nVmLck:\t0 kB\nVmPin:\t0 kB\nVmHWM:\t{kib} kB\nVmRSS:\t{kib} kB\nRssAnon:\t{kib} kB\n\
         RssFile:\t0 kB\nRssShmem:\t0 kB\nVmData:\t65536 kB\nVmStk:\t8192 kB\nVmExe:\t8192 kB\nVmLib:\t8192 kB\n\
         VmPTE:\t256 kB\nVmSwap:\t0 kB\nThreads:\t{threads}\n{masks}CapInh:\t0000000000000000\n\
         CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n\
         NoNewPrivs:\t0\nSeccomp:\t0\nCpus_allowed_list:\t0-{last_cpu}\nMems_allowed_list:\t0\n\
         voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n",
        name = short(&thread.name),
        umask = process.place.umask,
        state = letter(k, thread).1,
        pid = process.pid,
        fd_slots = 64,
        vm = VIRTUAL_BYTES / 1024,
        threads = process.threads.len(),
        last_cpu = k.cpus.max(1) - 1,
    )
    .into_bytes()
}

/// What is pending, blocked, ignored and caught.
fn signal_masks(k: &Kernel, process: &Process, thread: ThreadId) -> String {
    let (pending, blocked) = k.threads.get(thread).map_or((0, 0), |t| (t.signals, t.signal_mask));
    let (mut ignored, mut caught) = (0u64, 0u64);
    for (signal, disposition) in process.dispositions.iter().enumerate().skip(1) {
        match disposition.handler {
            libc::SIG_DFL => {}
            libc::SIG_IGN => ignored |= 1 << (signal - 1),
            _ => caught |= 1 << (signal - 1),
        }
    }
    format!(
        "SigQ:\t0/63536\nSigPnd:\t{pending:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\n\
         SigCgt:\t{caught:016x}\n",
        process.signals
    )
}

pub(super) fn status(k: &mut Kernel, who: Who) -> Vec<u8> {
    let pid = k.processes.get(who.process).map_or(0, |p| p.pid);
    status_of(k, who, pid)
}

pub(super) fn thread_status(k: &mut Kernel, who: Who) -> Vec<u8> {
    let tid = k.threads.get(who.thread).map_or(0, |t| t.tid);
    status_of(k, who, tid)
}
