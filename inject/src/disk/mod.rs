//! Disks that hosts have to themselves, and what goes wrong with disks.
//!
//! An [`OwnDisk`] is the machine's files with the host's own changes over them: all that a host writes is on a file
//! system of its own, which is as large as asked, outlives the host's processes, and is gone with the mount namespace
//! in which it was made. Faults take such a disk, or a directory of somebody else's:
//!
//! | fault | on a disk of memory | on a disk of ext4 | elsewhere |
//! | --- | --- | --- | --- |
//! | [`DiskFull`] | its size is lowered | a balloon | a balloon, which leaves a reserve |
//! | [`DirectoryFull`] | an overlay | an overlay | an overlay over a process's directory |
//! | [`InodeExhaustion`] | its count is lowered | files without names | files without names |
//! | [`BitRot`] | bits flipped in files | bits flipped in files | not here |
//! | [power loss](OwnDisk::lose_power) | not here: memory has no page cache to lose | yes | not here |

mod cover;
mod enter;
mod full;
mod given;
mod ground;
mod inodes;
mod layers;
mod mkfs;
mod own;
mod power;
mod rot;
mod space;
mod store;
mod uncover;

pub use cover::DirectoryFull;
pub use full::DiskFull;
pub use inodes::InodeExhaustion;
pub use own::OwnDisk;
pub use rot::BitRot;
pub use space::{Space, directory_of};
pub use store::DiskKind;
pub use uncover::Covered;
