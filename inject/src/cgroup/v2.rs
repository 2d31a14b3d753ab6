//! What limits and counters are called in version 2, and who may have controllers: the kernel's
//! `admin-guide/cgroup-v2.rst`.

use super::group::{refused, set};
use super::layout::{Controller, Hierarchy, Version};
use super::limit::{Counter, Limit, Value};
use crate::error::{Error, Result};
use crate::journal::{Change, Journal, Restore};
use std::fs;
use std::path::{Path, PathBuf};

/// Whether this group has a controller. Each group but the root can be frozen.
pub(super) fn has(directory: &Path, controller: Controller) -> bool {
    controller == Controller::Freezer
        || names(directory, "cgroup.controllers").iter().any(|name| name == of(controller))
}

fn of(controller: Controller) -> &'static str {
    controller.name(Version::Two)
}

fn names(directory: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Below which group a new one gets these controllers: the process's own, or the nearest above it.
///
/// A group that has members gives no controllers to those below it ("no internal processes"), except the root. So a
/// process in a leaf, as all are in a tidy system, makes its groups beside itself. Where controllers can be given but
/// are not yet, they are switched on until that is undone.
pub(super) fn parent(
    journal: &Journal,
    hierarchy: &Hierarchy,
    controllers: &[Controller],
    made: &mut Vec<Change>,
) -> Result<PathBuf> {
    let mut wanted: Vec<&str> =
        controllers.iter().filter(|one| **one != Controller::Freezer).map(|one| of(*one)).collect();
    let gives = |directory: &Path| names(directory, "cgroup.subtree_control");
    if wanted.is_empty() {
        return Ok(hierarchy.own.clone());
    }
    let above = hierarchy.own.ancestors().take_while(|directory| directory.starts_with(&hierarchy.mount));
    let mut refusal = None;
    for directory in above {
        let there = gives(directory);
        let missing: Vec<&str> =
            wanted.iter().copied().filter(|name| !there.iter().any(|found| found == name)).collect();
        if missing.is_empty() {
            return Ok(directory.to_owned());
        }
        match missing.iter().map(|name| switch_on(journal, directory, name)).collect::<Result<Vec<_>>>() {
            Ok(changes) => {
                made.extend(changes);
                return Ok(directory.to_owned());
            }
            Err(error) => refusal = Some(error),
        }
    }
    wanted.sort_unstable();
    let what = format!("have the controllers {} for a group", wanted.join(" "));
    Err(refusal.unwrap_or_else(|| Error::lacking(what, "no group above this one has them", "delegate them to it")))
}

/// Gives a controller to the groups below.
fn switch_on(journal: &Journal, directory: &Path, name: &str) -> Result<Change> {
    let file = directory.join("cgroup.subtree_control");
    let prior = fs::read_to_string(&file).map_err(|error| refused(format!("read {}", file.display()), error))?;
    let prior = prior.trim();
    // The kernel lists them in an order of its own.
    let mut listed: Vec<&str> = prior.split_ascii_whitespace().chain([name]).collect();
    let order = names(directory, "cgroup.controllers");
    listed.sort_by_key(|one| order.iter().position(|name| name == one));
    let restore = Restore { prior_text: format!("-{name}"), ..Restore::remember(&file, None, &listed.join(" "), "")? };
    set(journal, restore, &format!("+{name}"))
}

/// What to write for a limit.
pub(super) fn values(directory: &Path, limit: &Limit) -> Vec<Value> {
    match limit {
        Limit::Memory { bytes } => {
            let mut values = Vec::new();
            // Otherwise what does not fit is swapped out, and nothing is felt. Before the limit, which acts at once.
            if directory.join("memory.swap.max").exists() {
                values.push(Value::plain("memory.swap.max", 0));
            }
            values.push(Value::plain("memory.max", bytes));
            values
        }
        Limit::Tasks { count } => vec![Value::plain("pids.max", count)],
        Limit::Processors { quota_us, period_us } => vec![Value::plain("cpu.max", format!("{quota_us} {period_us}"))],
        Limit::Io { device, rates } => {
            let rate = |rate: Option<u64>| rate.map_or("max".to_owned(), |rate| rate.to_string());
            let reads = format!(
                "rbps={} wbps={} riops={} wiops={}",
                rate(rates.read_bytes_per_s),
                rate(rates.write_bytes_per_s),
                rate(rates.read_calls_per_s),
                rate(rates.write_calls_per_s)
            );
            let key = device.to_string();
            let absent = format!("{key} rbps=max wbps=max riops=max wiops=max");
            vec![Value { file: "io.max", text: format!("{key} {reads}"), reads, absent, key: Some(key) }]
        }
    }
}

/// Where it stands how often a limit bit.
pub(super) fn counter(limit: &Limit) -> Counter {
    match limit {
        // Times that usage was about to go over the limit.
        Limit::Memory { .. } => Counter::Line("memory.events", "max"),
        Limit::Tasks { .. } => Counter::Line("pids.events", "max"),
        Limit::Processors { .. } => Counter::Line("cpu.stat", "nr_throttled"),
        // The kernel does not count what it held back, but what it let through under the throttle.
        Limit::Io { device, .. } => Counter::Device("io.stat", *device),
    }
}

/// How many processes the kernel has killed in the group for want of memory.
pub(super) const OOM_KILLS: Counter = Counter::Line("memory.events", "oom_kill");

/// How much memory is charged.
pub(super) const MEMORY_USED: Counter = Counter::Whole("memory.current");

/// How many tasks are charged.
pub(super) const TASKS_USED: Counter = Counter::Whole("pids.current");
