//! What limits and counters are called in version 1: the kernel's `admin-guide/cgroup-v1/`.

use super::limit::{Counter, Device, Limit, Value};
use std::path::Path;

/// More than the largest charge at once: a huge page of 2 MiB.
const SWAP_BYTES: u64 = 4 << 20;

/// What to write for a limit, in this order.
pub(super) fn values(directory: &Path, limit: &Limit) -> Vec<Value> {
    match limit {
        Limit::Memory { bytes } => {
            let mut values = vec![Value::plain("memory.limit_in_bytes", bytes)];
            // Without this, what does not fit is swapped out, and nothing is felt. It may not be less than the one
            // above, so it comes after it, and goes before it. A little more, so that the other is met first: this
            // one's failures are not counted (seen on 6.18).
            if directory.join("memory.memsw.limit_in_bytes").exists() {
                values.push(Value::plain("memory.memsw.limit_in_bytes", bytes.saturating_add(SWAP_BYTES)));
            }
            values
        }
        Limit::Tasks { count } => vec![Value::plain("pids.max", count)],
        Limit::Processors { quota_us, period_us } => {
            vec![Value::plain("cpu.cfs_period_us", period_us), Value::plain("cpu.cfs_quota_us", quota_us)]
        }
        Limit::Io { device, rates } => {
            let files = [
                ("blkio.throttle.read_bps_device", rates.read_bytes_per_s),
                ("blkio.throttle.write_bps_device", rates.write_bytes_per_s),
                ("blkio.throttle.read_iops_device", rates.read_calls_per_s),
                ("blkio.throttle.write_iops_device", rates.write_calls_per_s),
            ];
            files.into_iter().filter_map(|(file, rate)| Some(keyed(file, *device, rate?))).collect()
        }
    }
}

fn keyed(file: &'static str, device: Device, rate: u64) -> Value {
    let key = device.to_string();
    // A rate of 0 removes the line (blk-throttle.c, `tg_set_conf`).
    Value { file, text: format!("{key} {rate}"), reads: rate.to_string(), absent: format!("{key} 0"), key: Some(key) }
}

/// Where it stands how often a limit bit.
pub(super) fn counter(limit: &Limit) -> Counter {
    match limit {
        // Times that a charge did not fit; the kernel then reclaims, and kills if that is not enough.
        Limit::Memory { .. } => Counter::Whole("memory.failcnt"),
        Limit::Tasks { .. } => Counter::Line("pids.events", "max"),
        Limit::Processors { .. } => Counter::Line("cpu.stat", "nr_throttled"),
        // The kernel does not count what it held back, but what it let through under the throttle.
        Limit::Io { device, .. } => Counter::Device("blkio.throttle.io_serviced", *device),
    }
}

/// How many processes the kernel has killed in the group for want of memory.
pub(super) const OOM_KILLS: Counter = Counter::Line("memory.oom_control", "oom_kill");

/// How much memory is charged.
pub(super) const MEMORY_USED: Counter = Counter::Whole("memory.usage_in_bytes");

/// How many tasks are charged.
pub(super) const TASKS_USED: Counter = Counter::Whole("pids.current");
