//! What is on a disk, for people who look at it after the world's end.

use super::{Disk, Entry, InodeId, What};
use crate::world::DiskEntry;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

impl Disk {
    /// Everything that was made or changed on it, directories before what is in them.
    pub(crate) fn entries(&self) -> Vec<(PathBuf, DiskEntry)> {
        let mut found = Vec::new();
        self.walk(self.root(), Path::new("/"), &mut found);
        found
    }

    fn walk(&self, directory: InodeId, path: &Path, found: &mut Vec<(PathBuf, DiskEntry)>) {
        let Some(names) = self.inode(directory).directory().map(|directory| &directory.current) else { return };
        for (name, entry) in names {
            let Entry::Inode(inode) = entry else { continue };
            let path = path.join(OsStr::from_bytes(name));
            match &self.inode(*inode).what {
                What::Directory(directory) => {
                    if directory.beneath.is_none() {
                        found.push((path.clone(), DiskEntry::Directory));
                    }
                    self.walk(*inode, &path, found);
                }
                What::Regular(regular) => {
                    let mut bytes = vec![0; usize::try_from(regular.content().bytes()).unwrap_or(0)];
                    regular.content().read(0, &mut bytes);
                    found.push((path, DiskEntry::File(bytes)));
                }
                What::Link(target) => found.push((path, DiskEntry::Link(OsStr::from_bytes(target).into()))),
                What::Socket(_) => {}
            }
        }
    }
}
