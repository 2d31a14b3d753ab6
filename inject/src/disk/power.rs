//! Power loss: what a host's disk has not been told to keep is gone.

use super::own::OwnDisk;
use super::store::DiskKind;
use crate::error::{Error, Result};
use crate::step::reached;
use crate::sys::cut_power_of_ext4;

impl OwnDisk {
    /// Loses power: everything that has not reached the device is lost, as it would be on a machine whose plug was
    /// pulled, and the disk is mounted again, which recovers the journal.
    ///
    /// The host's processes are to be killed before; those that live on get `EIO` from all that they have open here,
    /// and never see the disk again. What was synced (fsync(2) of the file, and of the directory for a new name) is
    /// kept; of the rest, what the kernel happened to have written. `/tmp` and `/run` are empty, as after any start of
    /// a machine.
    ///
    /// Faults in force on this disk are so again when they are next [read back](crate::Injection::read_back).
    ///
    /// # Errors
    /// Not here, because memory has no page cache of its own to lose: a disk of [memory](DiskKind::Memory).
    pub fn lose_power(&mut self) -> Result<()> {
        if self.kind() == DiskKind::Memory {
            return Err(Error::lacking(
                "lose the power of a host's disk",
                "a disk of memory has nothing that is written but not yet on a device",
                "make it of ext4, which needs root",
            ));
        }
        reached("a disk is to lose its power");
        cut_power_of_ext4(self.store()).map_err(|error| Error::os("cut the power of a host's disk", error))?;
        reached("a disk has lost its power");
        self.mount_again()
    }
}
