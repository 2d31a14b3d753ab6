//! Mounts, cgroups, processes, namespaces, loop devices: from `/proc` and `/sys`.

use crate::cgroup::Layout;
use crate::process::proc::{self, Stat};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Values of a cgroup that faults change, in both versions.
const VALUES: [&str; 16] = [
    "blkio.throttle.read_bps_device",
    "blkio.throttle.read_iops_device",
    "blkio.throttle.write_bps_device",
    "blkio.throttle.write_iops_device",
    "cgroup.freeze",
    "cgroup.subtree_control",
    "cpu.cfs_period_us",
    "cpu.cfs_quota_us",
    "cpu.max",
    "freezer.state",
    "io.max",
    "memory.limit_in_bytes",
    "memory.max",
    "memory.memsw.limit_in_bytes",
    "memory.swap.max",
    "pids.max",
];

/// proc_pid_mountinfo(5), without the ids of mounts and of peer groups, which are given anew.
pub(super) fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_else(|error| format!("cannot look: {error}\n"));
    text.lines()
        .map(|line| line.split(' ').skip(2).filter(|word| !is_peer_group(word)).collect::<Vec<_>>().join(" "))
        .collect()
}

fn is_peer_group(word: &str) -> bool {
    ["shared:", "master:", "propagate_from:"].iter().any(|start| word.starts_with(start))
}

/// The caller's own groups with their values, and all groups below these and above them that are ours by name.
pub(super) fn cgroups() -> Vec<String> {
    let layout = match Layout::of(std::process::id()) {
        Ok(layout) => layout,
        Err(error) => return vec![format!("cannot look: {error}")],
    };
    let mut lines = Vec::new();
    for hierarchy in &layout.hierarchies {
        values(&hierarchy.own, &mut lines);
        for directory in hierarchy.own.ancestors().take_while(|above| above.starts_with(&hierarchy.mount)) {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with("windtunnel-") {
                    lines.push(entry.path().display().to_string());
                    values(&entry.path(), &mut lines);
                }
            }
        }
    }
    lines
}

fn values(directory: &Path, lines: &mut Vec<String>) {
    for name in VALUES {
        if let Ok(text) = fs::read_to_string(directory.join(name)) {
            lines.push(format!("{}/{name}: {}", directory.display(), text.trim()));
        }
    }
}

/// Guardians and helpers, by name. One that has ended works no more, be its parent slow to know.
pub(super) fn processes() -> Vec<String> {
    let line = |pid| {
        let name = proc::read(pid, "comm").ok().filter(|name| name.starts_with("wt:"))?;
        let stat = Stat::of(pid).ok().filter(|stat| !stat.has_ended())?;
        Some(format!("{pid} {} {} of {}", name.trim(), stat.state, stat.parent))
    };
    proc::all().into_iter().filter_map(line).collect()
}

/// Those of other users are out of sight without privilege.
pub(super) fn namespaces() -> Vec<String> {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let name = |pid: u32, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let all = proc::all().into_iter().flat_map(|pid| kinds.into_iter().filter_map(move |kind| name(pid, kind)));
    all.map(|link| link.display().to_string()).collect::<BTreeSet<_>>().into_iter().collect()
}

pub(super) fn loops() -> Vec<String> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let line = |entry: fs::DirEntry| {
        let file = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        Some(format!("{} {}", entry.file_name().to_string_lossy(), file.trim()))
    };
    entries.filter_map(line).collect()
}
