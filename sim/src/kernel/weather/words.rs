//! What the log says of faults.

use crate::kernel::dispatch::Kernel;
use crate::weather::{DiskTrouble, FaultKind, Lack, LinkTrouble, NameAnswer};
use crate::world::HostId;
use std::time::Duration;

impl Kernel {
    fn name_hosts(&self, hosts: &[HostId]) -> String {
        let names: Vec<&str> = hosts.iter().map(|host| self.hosts[*host].name.as_str()).collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
    }

    /// A fault in words, without its times.
    pub(super) fn describe_fault(&self, kind: &FaultKind) -> String {
        match kind {
            FaultKind::Links { links, trouble } => {
                let (from, to) = (self.name_hosts(&links.from), self.name_hosts(&links.to));
                let what = describe_links(trouble);
                if links.both_ways {
                    format!("{what} between {from} and {to}")
                } else {
                    format!("{what} from {from} to {to}")
                }
            }
            FaultKind::Skew { by_ns, slewed, .. } => {
                let (sign, by) = (if *by_ns < 0 { '-' } else { '+' }, Duration::from_nanos(by_ns.unsigned_abs()));
                format!("clock {sign}{by:?}{}", if *slewed { " slewed" } else { "" })
            }
            FaultKind::Drift { ppm, .. } => format!("clocks that drift by {ppm:+} ppm"),
            FaultKind::Hijack { name, answer, .. } => match answer {
                NameAnswer::Address(ip) => format!("`{name}` is {ip}"),
                NameAnswer::Host(host) => format!("`{name}` is {}", self.hosts[*host].name),
                NameAnswer::NoSuchName => format!("there is no `{name}`"),
                NameAnswer::Failure => format!("the name server fails over `{name}`"),
                NameAnswer::Nothing => format!("the name server is silent about `{name}`"),
                NameAnswer::Late(by) => format!("the name server needs {by:?} for `{name}`"),
            },
            FaultKind::Burn { load, .. } => format!("processors that are busy for {} of their time", percent(*load)),
            FaultKind::Lack { lack, .. } => match lack {
                Lack::Memory { share } => format!("{} of the memory taken", percent(*share)),
                Lack::Tasks { count } => format!("{count} tasks that never end"),
                Lack::Threads { count } => format!("{count} threads that never end"),
                Lack::Descriptors { count } => format!("{count} descriptors that are never closed"),
            },
            FaultKind::Disk { trouble, .. } => describe_trouble(*trouble),
            FaultKind::Crash { .. } => "crash".to_owned(),
            FaultKind::Kill { .. } => "kill".to_owned(),
            FaultKind::Pause { .. } => "pause".to_owned(),
        }
    }
}

fn describe_trouble(trouble: DiskTrouble) -> String {
    match trouble {
        DiskTrouble::Full { free_bytes } => format!("a disk with {free_bytes} bytes left"),
        DiskTrouble::NoInodes { free } => format!("a disk with {free} inodes left"),
        DiskTrouble::Slow { bytes_per_second, delay } if delay.is_zero() => {
            format!("a disk of {bytes_per_second} bytes per second")
        }
        DiskTrouble::Slow { bytes_per_second, delay } => {
            format!("a disk of {bytes_per_second} bytes per second, {delay:?} later")
        }
        DiskTrouble::Failing { reads, syncs } => {
            format!("a disk that fails {} of its reads and {} of its syncs", percent(reads), percent(syncs))
        }
        DiskTrouble::Rotting { bits } => format!("{bits} bits that flip on the disk"),
    }
}

/// For people: to the hundredth.
fn percent(share: f64) -> String {
    format!("{}%", (share * 1e4).round() / 1e2)
}

fn describe_links(trouble: &LinkTrouble) -> String {
    match trouble {
        LinkTrouble::Partition => "partition".to_owned(),
        LinkTrouble::Slow { latency, or, jitter, .. } => {
            let or: String = or.iter().map(|other| format!(" or {other:?}")).collect();
            let jitter = if jitter.is_zero() { String::new() } else { format!(" and {jitter:?} of jitter") };
            format!("{latency:?}{or} of latency{jitter}")
        }
        LinkTrouble::Lossy { probability, .. } => format!("loss of {}", percent(*probability)),
        LinkTrouble::Doubling { probability } => format!("duplication of {}", percent(*probability)),
        LinkTrouble::Overtaking { probability, by } => format!("reordering of {} by {by:?}", percent(*probability)),
        LinkTrouble::Flipping { probability } => format!("corruption of {}", percent(*probability)),
        LinkTrouble::Narrow { bytes_per_second, .. } => format!("bandwidth of {bytes_per_second} bytes per second"),
    }
}
