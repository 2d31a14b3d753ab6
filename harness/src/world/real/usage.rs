//! What a program has: proc(5).

use super::World;
use std::fs;
use windtunnel_inject::process::proc::{self, Stat};
use windtunnel_sim::world::{HostId, Usage};

impl World {
    /// What a host's program has; nothing when it is down.
    pub(crate) fn usage(&self, host: HostId) -> Usage {
        let Some(pid) = self.pid(host) else { return Usage::default() };
        let fits = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        // Whoever ends meanwhile has nothing.
        Usage {
            descriptors: fits(proc::descriptors(pid).map_or(0, |open| open.len() as u64)),
            threads: fits(Stat::of(pid).map_or(0, |stat| stat.threads)),
            memory_bytes: proc::resident_bytes(pid).unwrap_or(0),
        }
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
