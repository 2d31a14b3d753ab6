//! Hosts' disks: the keeper has them, since they outlive the processes on them, and does what goes wrong with them.

use super::protocol::Answer;
use super::start::Keeper;
use crate::cgroup::Device;
use crate::disk::{BitRot, DiskFull, DiskKind, InodeExhaustion, OwnDisk};
use crate::error::{Error, Result};
use crate::injection::Injection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// How large a host's disk is: sparse, so it takes memory as it is written.
const DISK_BYTES: u64 = 1 << 30;
/// mke2fs's share, an inode for each 16 KiB (`inode_ratio` of mke2fs.conf(5)). A count of memory's is lowered at once.
const USUAL_INODES: u64 = DISK_BYTES >> 14;
/// On ext4 each inode that a fault takes is a file to be made, in 6 µs where nothing else is to be done, and twice that
/// where processors are busy: few enough to have them all within 100 ms.
const INODES_TO_BE_TAKEN: u64 = 1 << 12;

/// How many files fit on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inodes {
    /// As many as on any disk of its size: 65,536.
    Usual,
    /// On ext4 fewer, 4,096, so that [taking them](Keeper::take_inodes) is done in a moment.
    ToBeTaken,
}

/// What the keeper is asked to do to a disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum DiskOrder {
    /// Make one for a host.
    Make {
        host: String,
        inodes: Inodes,
    },
    /// Have it lose its power: nothing runs on it.
    LosePower {
        host: String,
    },
    /// Take its space, but for so much.
    Fill {
        host: String,
        left_bytes: u64,
    },
    /// Take its inodes, but for so many.
    TakeInodes {
        host: String,
        left: u64,
    },
    /// Flip so many bits of what is on it.
    Rot {
        host: String,
        bits: u32,
        seed: u64,
    },
    /// Look after a fault, count what it has bitten on, or heal it.
    ReadBack(u64),
    Bit(u64),
    Heal(u64),
}

/// The keeper's own side.
#[derive(Default)]
pub(super) struct Disks {
    disks: BTreeMap<String, OwnDisk>,
    /// With the hosts whose disks they strike.
    faults: BTreeMap<u64, (String, Box<dyn Injection>)>,
    begun: u64,
}

impl Disks {
    /// A host's disk.
    ///
    /// # Errors
    /// None has been made.
    pub(super) fn of(&self, host: &str) -> Result<&OwnDisk> {
        self.disks.get(host).ok_or_else(|| unknown(host))
    }

    fn fault(&mut self, id: u64) -> Result<&mut Box<dyn Injection>> {
        let (_, fault) = self.faults.get_mut(&id).ok_or_else(|| Error::gone("find a fault of a disk"))?;
        Ok(fault)
    }

    pub(super) fn carry_out(&mut self, order: DiskOrder) -> Result<Answer> {
        match order {
            DiskOrder::Make { host, inodes } => {
                let disk = make(inodes)?;
                let answer = Answer::Disk(disk.kind(), disk.device());
                self.disks.insert(host, disk);
                Ok(answer)
            }
            DiskOrder::LosePower { host } => {
                let disk = self.disks.get_mut(&host).ok_or_else(|| unknown(&host))?;
                disk.lose_power()?;
                // What is in force stays so: the host is not to find room when it starts again.
                for (_, fault) in self.faults.values_mut().filter(|(of, _)| *of == host) {
                    fault.read_back()?;
                }
                Ok(Answer::Disk(disk.kind(), disk.device()))
            }
            DiskOrder::Fill { host, left_bytes } => {
                let full = DiskFull::of(self.of(&host)?, left_bytes)?;
                Ok(self.keep(host, Box::new(full)))
            }
            DiskOrder::TakeInodes { host, left } => {
                let taken = InodeExhaustion::of(self.of(&host)?, left)?;
                Ok(self.keep(host, Box::new(taken)))
            }
            DiskOrder::Rot { host, bits, seed } => {
                let rot = BitRot::of(self.of(&host)?, bits, seed)?;
                Ok(self.keep(host, Box::new(rot)))
            }
            DiskOrder::ReadBack(id) => self.fault(id)?.read_back().map(|()| Answer::Done),
            DiskOrder::Bit(id) => self.fault(id)?.bit().map(Answer::Count),
            DiskOrder::Heal(id) => {
                self.fault(id)?.heal()?;
                self.faults.remove(&id);
                Ok(Answer::Done)
            }
        }
    }

    fn keep(&mut self, host: String, fault: Box<dyn Injection>) -> Answer {
        self.begun += 1;
        let mechanism = fault.mechanism().to_owned();
        self.faults.insert(self.begun, (host, fault));
        Answer::Fault { id: self.begun, mechanism }
    }
}

fn unknown(host: &str) -> Error {
    Error::gone(format!("find the disk of {host}"))
}

/// One that can lose its power where the machine and this user's privilege allow it, and else of memory.
fn make(inodes: Inodes) -> Result<OwnDisk> {
    let root = Path::new("/");
    let on_ext4 = match inodes {
        Inodes::Usual => USUAL_INODES,
        Inodes::ToBeTaken => INODES_TO_BE_TAKEN,
    };
    OwnDisk::make(root, DiskKind::Ext4, DISK_BYTES, on_ext4)
        .or_else(|_| OwnDisk::make(root, DiskKind::Memory, DISK_BYTES, USUAL_INODES))
}

impl Keeper {
    /// Makes a disk of 1 GiB for a host, which its programs are on from their next start on. Answers what it is made
    /// of, and the device beneath it if there is one.
    ///
    /// # Errors
    /// The kernel has no overlayfs for this user, or no memory.
    pub fn make_disk(&self, host: &str, inodes: Inodes) -> Result<(DiskKind, Option<Device>)> {
        self.order_for_disk(DiskOrder::Make { host: host.to_owned(), inodes })
    }

    fn order_for_disk(&self, order: DiskOrder) -> Result<(DiskKind, Option<Device>)> {
        match self.order_disk(order)? {
            Answer::Disk(kind, device) => Ok((kind, device)),
            other => Err(other.unexpected()),
        }
    }

    /// Has a host's disk lose its power, while none of its programs runs. Faults that the keeper has in force on it
    /// are so again when this returns. Answers as [`make_disk`](Self::make_disk): the device is another one.
    ///
    /// # Errors
    /// It is of memory, or in use; a fault could not be put in force again.
    pub fn lose_power(&self, host: &str) -> Result<(DiskKind, Option<Device>)> {
        self.order_for_disk(DiskOrder::LosePower { host: host.to_owned() })
    }

    /// Leaves so much space on a host's disk.
    ///
    /// # Errors
    /// As [`DiskFull::of`].
    pub fn fill_disk(self: &Arc<Self>, host: &str, left_bytes: u64) -> Result<Box<dyn Injection>> {
        self.begin_on_disk(DiskOrder::Fill { host: host.to_owned(), left_bytes })
    }

    /// Leaves so many inodes on a host's disk.
    ///
    /// # Errors
    /// As [`InodeExhaustion::of`].
    pub fn take_inodes(self: &Arc<Self>, host: &str, left: u64) -> Result<Box<dyn Injection>> {
        self.begin_on_disk(DiskOrder::TakeInodes { host: host.to_owned(), left })
    }

    /// Flips so many bits of what a host has written to its disk, for good.
    ///
    /// # Errors
    /// As [`BitRot::of`].
    pub fn rot_disk(self: &Arc<Self>, host: &str, bits: u32, seed: u64) -> Result<Box<dyn Injection>> {
        self.begin_on_disk(DiskOrder::Rot { host: host.to_owned(), bits, seed })
    }

    fn begin_on_disk(self: &Arc<Self>, order: DiskOrder) -> Result<Box<dyn Injection>> {
        match self.order_disk(order)? {
            Answer::Fault { id, mechanism } => {
                // A few words for each fault of a plan, in a process that ends with it.
                let mechanism = mechanism.leak();
                Ok(Box::new(OnDisk { keeper: Arc::clone(self), id, mechanism, over: None }))
            }
            other => Err(other.unexpected()),
        }
    }
}

/// A fault that the keeper has in force.
struct OnDisk {
    keeper: Arc<Keeper>,
    id: u64,
    mechanism: &'static str,
    /// What it had bitten on when it was healed.
    over: Option<u64>,
}

impl Injection for OnDisk {
    fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    fn read_back(&mut self) -> Result<()> {
        self.keeper.order_disk(DiskOrder::ReadBack(self.id)).map(drop)
    }

    fn bit(&mut self) -> Result<u64> {
        if let Some(bit) = self.over {
            return Ok(bit);
        }
        match self.keeper.order_disk(DiskOrder::Bit(self.id))? {
            Answer::Count(count) => Ok(count),
            other => Err(other.unexpected()),
        }
    }

    fn heal(&mut self) -> Result<()> {
        if self.over.is_none() {
            // What cannot be counted is healed all the same.
            let bit = self.bit().unwrap_or(0);
            self.keeper.order_disk(DiskOrder::Heal(self.id))?;
            self.over = Some(bit);
        }
        Ok(())
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = self.heal();
    }
}
