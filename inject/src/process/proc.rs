//! What `/proc` says about a process: proc_pid_stat(5), proc_pid_status(5), proc_pid_limits(5).

use crate::error::{Error, Result};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// What is read from `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `D`, `T` (stopped by a signal), `t` (by a tracer), `Z`, `X`…
    pub state: char,
    /// Its parent.
    pub parent: u32,
    /// It is in the middle of ending (`PF_EXITING` of linux/sched.h).
    pub is_exiting: bool,
    /// Time on a processor, in user and kernel mode, in clock ticks (sysconf(_SC_CLK_TCK), 100 a second).
    pub busy_ticks: u64,
    /// Its threads.
    pub threads: u64,
    /// When it started, in clock ticks after boot, as this time namespace counts.
    pub start_ticks: u64,
}

impl Stat {
    /// Reads the text. The name (field 2) may contain anything, so fields are counted from its last parenthesis.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
        // proc_pid_stat(5) numbers fields from 1; the state, the first one here, is its third.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: u32::try_from(number(4)?).ok()?,
            is_exiting: number(9)? & 4 != 0,
            busy_ticks: number(14)? + number(15)?,
            threads: number(20)?,
            start_ticks: number(22)?,
        })
    }

    /// Of this process; [gone](crate::error::ErrorKind::TargetGone) if there is none.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let text = read(pid, "stat")?;
        Self::parse(&text).ok_or_else(|| Error::os(format!("read /proc/{pid}/stat"), io::ErrorKind::InvalidData))
    }

    /// Whether it has ended, and only waits for its parent to know.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Reads a file of this process's directory in `/proc`.
///
/// # Errors
/// There is no such process (any more), or this user may not read it.
pub fn read(pid: u32, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|error| proc_error(pid, file, error))
}

/// ENOENT: the process is gone already; ESRCH: it went while the file was open.
fn proc_error(pid: u32, file: &str, error: io::Error) -> Error {
    let what = format!("read /proc/{pid}/{file}");
    let gone = error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) || error.kind() == io::ErrorKind::NotFound;
    if gone { Error::gone(what) } else { Error::os(what, error) }
}

/// A line of `/proc/PID/status` that counts in KiB, in bytes.
///
/// # Errors
/// There is no such process, or no such line.
pub fn status_bytes(pid: u32, name: &str) -> Result<u64> {
    let text = read(pid, "status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    // A process that has ended has no memory, and no such line.
    kib.map(|kib| kib * 1024).ok_or_else(|| Error::gone(format!("read {name} of process {pid}")))
}

/// Whether a process has been killed, and has ended or is about to: it frees its memory and closes its files first,
/// which may take a while.
pub fn is_ending(pid: u32) -> bool {
    // SIGKILL is 9; bit 8 of the signals that wait for the thread or for the process.
    const KILL: u64 = 1 << 8;
    let Ok(text) = read(pid, "status") else { return true };
    let waiting = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    };
    if (waiting("SigPnd:") | waiting("ShdPnd:")) & KILL != 0 {
        return true;
    }
    // It has taken note of the signal, or does so right now.
    Stat::of(pid).map_or(true, |stat| stat.is_exiting || stat.has_ended())
}

/// The numbers of the descriptors it has open, in order.
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn descriptors(pid: u32) -> Result<Vec<u64>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).map_err(|error| proc_error(pid, "fd", error))?;
    let mut numbers: Vec<u64> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Memory that a process has in RAM, in bytes, shared pages included (proc_pid_statm(5)).
///
/// # Errors
/// There is no such process.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let text = read(pid, "statm")?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| Error::gone(format!("read the memory of process {pid}")))?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// All processes in sight.
pub fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// A process and all that descend from it, parents first.
pub fn tree(root: u32) -> Vec<u32> {
    trees(vec![root])
}

/// The same of several processes.
pub fn trees(roots: Vec<u32>) -> Vec<u32> {
    let parents: Vec<(u32, u32)> =
        all().into_iter().filter_map(|pid| Some((pid, Stat::of(pid).ok()?.parent))).collect();
    let mut tree = roots;
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        let is_child = |(pid, of): &&(u32, u32)| *of == parent && !tree.contains(pid);
        let children: Vec<u32> = parents.iter().filter(is_child).map(|(pid, _)| *pid).collect();
        tree.extend(children);
        next += 1;
    }
    tree
}

/// The inode of one of a process's namespaces, which is its identity (namespaces(7)): `pid`, `time`, `mnt`…
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn namespace(pid: u32, kind: &str) -> Result<u64> {
    fs::metadata(format!("/proc/{pid}/ns/{kind}"))
        .map(|metadata| metadata.ino())
        .map_err(|error| proc_error(pid, &format!("ns/{kind}"), error))
}

/// What distinguishes this boot of the machine from all others.
///
/// # Errors
/// `/proc` is not mounted.
pub fn boot_id() -> Result<String> {
    let file = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(file).map_err(|error| Error::os(format!("read {file}"), error))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_fields() {
        let text = "77 (a) b (c) T 5 77 77 0 -1 4 0 0 0 0 11 31 0 0 20 0 3 0 4242 0 0";
        let stat = Stat { state: 'T', parent: 5, is_exiting: true, busy_ticks: 42, threads: 3, start_ticks: 4242 };
        assert_eq!(Stat::parse(text), Some(stat));
    }

    #[test]
    fn this_process_has_descriptors_and_a_start() {
        let pid = std::process::id();
        assert!(Stat::of(pid).expect("its own stat").start_ticks > 0);
        assert!(descriptors(pid).expect("its own descriptors").len() > 2);
        assert!(tree(pid).contains(&pid));
    }
}
