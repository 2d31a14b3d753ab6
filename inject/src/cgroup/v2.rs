//! What limits and counters are called in version 2: the kernel's `admin-guide/cgroup-v2.rst`.

use super::limit::{Counter, Limit, Value};
use std::path::Path;

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
