//! Disks in trouble: full, out of inodes, slow, failing, rotting.
//!
//! Faults overlap as they like: what they take adds up, and the slowest counts. What has rotted stays so when the fault
//! ends.

use super::sync::Throttle;
use crate::kernel::Kernel;
use crate::kernel::disk::{InodeId, PAGE_BYTES};
use crate::weather::DiskTrouble;
use crate::world::HostId;
use std::collections::BTreeMap;

/// What is wrong with a host's disk.
#[derive(Default)]
pub(crate) struct Troubles {
    in_force: BTreeMap<u64, Trouble>,
    last: u64,
    /// How many reads and syncs have failed, and bits have rotted.
    failed: u64,
    rotted: u64,
}

/// One fault.
struct Trouble {
    kind: DiskTrouble,
    /// Pages or inodes that it takes.
    taken: u64,
}

impl Kernel {
    /// Brings a disk into trouble; answers which one it is, and what had come of its kind before.
    pub(crate) fn trouble_disk(&mut self, id: HostId, kind: DiskTrouble) -> (u64, u64) {
        let before = self.disk_bitten(id, kind);
        let host = &mut self.hosts[id];
        let space = &mut host.disk.space;
        let mut taken = 0;
        match kind {
            DiskTrouble::Full { free_bytes } => {
                taken = space.pages_free().saturating_sub(free_bytes / PAGE_BYTES as u64);
                space.pages_gone += taken;
            }
            DiskTrouble::NoInodes { free } => {
                taken = space.inodes_free().saturating_sub(free);
                space.inodes_gone += taken;
            }
            DiskTrouble::Rotting { bits } => self.rot(id, bits),
            DiskTrouble::Slow { .. } | DiskTrouble::Failing { .. } => {}
        }
        let troubles = &mut self.hosts[id].troubles;
        troubles.last += 1;
        let number = troubles.last;
        troubles.in_force.insert(number, Trouble { kind, taken });
        self.set_throttle(id);
        (number, before)
    }

    /// Ends a trouble.
    pub(crate) fn end_trouble(&mut self, id: HostId, number: u64) {
        let host = &mut self.hosts[id];
        let Some(trouble) = host.troubles.in_force.remove(&number) else { return };
        match trouble.kind {
            DiskTrouble::Full { .. } => host.disk.space.pages_gone -= trouble.taken,
            DiskTrouble::NoInodes { .. } => host.disk.space.inodes_gone -= trouble.taken,
            DiskTrouble::Slow { .. } | DiskTrouble::Failing { .. } | DiskTrouble::Rotting { .. } => {}
        }
        self.set_throttle(id);
    }

    /// How often troubles of a kind have bitten on a host so far.
    pub(crate) fn disk_bitten(&self, id: HostId, kind: DiskTrouble) -> u64 {
        let host = &self.hosts[id];
        match kind {
            DiskTrouble::Full { .. } => host.disk.space.refused_pages,
            DiskTrouble::NoInodes { .. } => host.disk.space.refused_inodes,
            DiskTrouble::Slow { .. } => host.device.throttled,
            DiskTrouble::Failing { .. } => host.troubles.failed,
            DiskTrouble::Rotting { .. } => host.troubles.rotted,
        }
    }

    fn set_throttle(&mut self, id: HostId) {
        let host = &mut self.hosts[id];
        let mut throttle = Throttle::default();
        for trouble in host.troubles.in_force.values() {
            if let DiskTrouble::Slow { bytes_per_second, delay } = trouble.kind {
                throttle.bytes_per_second = match throttle.bytes_per_second {
                    0 => bytes_per_second,
                    other => other.min(bytes_per_second),
                };
                throttle.delay_ns += u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX / 4);
            }
        }
        host.device.throttle(throttle);
    }

    /// Whether a read or a sync fails on a host now. Nothing is drawn while no disk fails.
    pub(super) fn disk_fails(&mut self, id: HostId, what: Operation) -> bool {
        let host = &mut self.hosts[id];
        if host.troubles.in_force.is_empty() {
            return false;
        }
        let mut passes = 1.0;
        for trouble in host.troubles.in_force.values() {
            if let DiskTrouble::Failing { reads, syncs } = trouble.kind {
                passes *= 1.0 - if what == Operation::Read { reads } else { syncs };
            }
        }
        let fails = passes < 1.0 && host.disk_errors.chance(1.0 - passes);
        host.troubles.failed += u64::from(fails);
        fails
    }

    /// Flips bits of files on the disk, anywhere with the same chance.
    fn rot(&mut self, id: HostId, bits: u32) {
        let host = &mut self.hosts[id];
        let sizes: Vec<(InodeId, u64)> = host.disk.durable_files().collect();
        let total: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
        for _ in 0..if total == 0 { 0 } else { bits } {
            let drawn = host.disk_errors.below(total * 8);
            let (mut byte, bit) = (drawn / 8, (drawn % 8) as u8);
            for (inode, bytes) in &sizes {
                if byte < *bytes {
                    host.troubles.rotted += u64::from(host.disk.rot(*inode, byte, bit));
                    break;
                }
                byte -= bytes;
            }
        }
    }
}

/// What a disk can fail to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    Read,
    Sync,
}
