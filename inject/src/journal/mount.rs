//! Taking away a mount that is ours, and no other.

use super::undo::Outcome;
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::path::Path;

/// Unmounts what is mounted here if it is this mount (statx(2), `STATX_MNT_ID`). It is detached, so that descriptors
/// that are open in it do not keep it in the way (umount2(2), `MNT_DETACH`).
pub(super) fn undo(path: &Path, mount_id: u64) -> Outcome {
    let found = match statx(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID) {
        Ok(found) => found.stx_mnt_id,
        Err(Errno::NOENT | Errno::NOTDIR) => return Outcome::TargetGone,
        Err(error) => return Outcome::failed(format!("look at {}: {error}", path.display())),
    };
    // Another mount: ours is gone, or was never made, or is below one that somebody made since. Only mountinfo knows.
    if found != mount_id {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let is_below = table.lines().any(|line| line.split(' ').next() == Some(&mount_id.to_string()));
        return if is_below { Outcome::Foreign { found: format!("mount {found}") } } else { Outcome::TargetGone };
    }
    match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) => Outcome::Recovered,
        Err(error) => Outcome::failed(format!("unmount {}: {error}", path.display())),
    }
}
