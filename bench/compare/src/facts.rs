//! What has to stand beside figures for them to mean anything: machine, load, versions.

use std::fs::read_to_string;
use std::process::Command;

/// The one-minute load average, proc(5).
pub fn load() -> String {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

/// A paragraph for the head of the table.
pub fn machine(load_before: String, rounds: usize) -> String {
    let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rustc = Command::new("rustc").arg("--version").output().map(|o| o.stdout).unwrap_or_default();
    format!(
        "{}, {cpus} processors, Linux {}, {}\nload {load_before} before and {} after; medians of {rounds} alternating \
         rounds after a warm-up; round r runs seed r\n{}\n",
        model.trim_start_matches(['\t', ' ', ':']),
        kernel.trim(),
        String::from_utf8_lossy(&rustc).trim(),
        load(),
        versions(include_str!("../../Cargo.lock")),
    )
}

/// The peers' versions, from the lock file that they were built with.
fn versions(lock: &str) -> String {
    let version = |name: &str| {
        let head = format!("name = \"{name}\"\nversion = \"");
        let rest = lock.split_once(&head).map_or("", |(_, rest)| rest);
        format!("{name} {}", rest.split('"').next().unwrap_or("?"))
    };
    ["madsim", "madsim-tokio", "turmoil", "tokio"].map(version).join(", ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_lock_file_names_every_peer() {
        let text = super::versions(include_str!("../../Cargo.lock"));
        assert!(!text.contains('?') && !text.contains("  "), "{text}");
        assert!(text.starts_with("madsim 0.2."), "{text}");
    }
}
