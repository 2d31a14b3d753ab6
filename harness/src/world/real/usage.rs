//! What a program has: proc(5).

use super::World;
use std::fs;
use windtunnel_sim::world::{HostId, Usage};

const PAGE_BYTES: u64 = 4096;

impl World {
    /// What a host's program has; nothing when it is down.
    pub(crate) fn usage(&self, host: HostId) -> Usage {
        let Some(pid) = self.pid(host) else { return Usage::default() };
        let count = |directory: &str| {
            let entries = fs::read_dir(format!("/proc/{pid}/{directory}"));
            u32::try_from(entries.map_or(0, Iterator::count)).unwrap_or(u32::MAX)
        };
        // The second number is that of resident pages.
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        Usage { descriptors: count("fd"), threads: count("task"), memory_bytes: pages * PAGE_BYTES }
    }

    /// What a host's program has open, in order of numbers.
    pub(crate) fn open_files(&self, host: HostId) -> Vec<(i32, String)> {
        let Some(pid) = self.pid(host) else { return Vec::new() };
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
        let mut files: Vec<(i32, String)> = entries
            .flatten()
            .filter_map(|entry| {
                let number = entry.file_name().to_str()?.parse().ok()?;
                Some((number, fs::read_link(entry.path()).ok()?.display().to_string()))
            })
            .collect();
        files.sort_unstable();
        files
    }
}
