//! Files whose content is another on one host.

use crate::error::{Error, Result};
use rustix::mount::{MountFlags, mount, mount_bind, unmount};
use std::fs;
use std::path::{Path, PathBuf};

/// A directory that every machine has and no service needs, covered for a moment.
const WORKPLACE: &str = "/proc/fs";

/// Covers these files, as far as they exist, with others of this content: in this mount namespace only.
pub(super) fn place(files: &[(PathBuf, String)]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", WORKPLACE, "tmpfs", flags, Some(c"mode=0755"))
        .map_err(|error| Error::os("mount a place for files", error))?;
    for (number, (path, text)) in files.iter().enumerate() {
        let source = Path::new(WORKPLACE).join(number.to_string());
        let failed = |error: std::io::Error| Error::os(format!("cover {}", path.display()), error);
        fs::write(&source, text).map_err(failed)?;
        match mount_bind(&source, path) {
            // Nobody can miss what is not there.
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
    unmount(WORKPLACE, rustix::mount::UnmountFlags::DETACH).map_err(|error| Error::os("leave the place", error))
}
