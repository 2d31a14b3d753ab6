//! How much a disk holds, and how much is left.

use super::content::PAGE_BYTES;

/// 64 GiB.
const PAGES: u64 = (64 << 30) / PAGE_BYTES as u64;
const INODES: u64 = 4 << 20;

/// Space of a disk. Half of it was taken before the world began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Space {
    /// Taken by hosts' own files.
    pub(crate) pages: u64,
    pub(crate) inodes: u64,
    /// Taken by somebody else: faults.
    pub(crate) pages_gone: u64,
    pub(crate) inodes_gone: u64,
    /// How often something found no page, or no inode.
    pub(crate) refused_pages: u64,
    pub(crate) refused_inodes: u64,
}

impl Space {
    /// All pages.
    pub(crate) const fn pages_total() -> u64 {
        PAGES
    }

    /// All inodes.
    pub(crate) const fn inodes_total() -> u64 {
        INODES
    }

    /// Pages that are free.
    pub(crate) fn pages_free(&self) -> u64 {
        (PAGES / 2).saturating_sub(self.pages + self.pages_gone)
    }

    /// Inodes that are free.
    pub(crate) fn inodes_free(&self) -> u64 {
        (INODES / 2).saturating_sub(self.inodes + self.inodes_gone)
    }
}
