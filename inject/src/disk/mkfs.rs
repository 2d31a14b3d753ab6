//! Writes an empty ext4: <https://docs.kernel.org/filesystems/ext4/>, fs/ext4/ext4.h, linux/jbd2.h.
//!
//! The plainest form that current kernels mount: 4 KiB blocks, a journal, extents, one copy of the superblock, no
//! checksums (they guard against media, and this is memory). What is zero is not written, so an image is as large in
//! memory as what was put into it. Not for images that other programs are to repair: there is no `lost+found`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: u32 = 4096;
/// A bitmap is one block.
const BLOCKS_PER_GROUP_MAX: u32 = BLOCK * 8;
const INODE: u32 = 256;
/// Of a group.
const DESCRIPTOR: u32 = 32;
/// Inodes 1 to 10 belong to the file system.
const RESERVED_INODES: u32 = 10;
const ROOT_INODE: u32 = 2;
const JOURNAL_INODE: u32 = 8;
/// `JBD2_MIN_JOURNAL_BLOCKS`: 4 MiB. Larger for disks on which it does not matter, so that writers wait less for it.
const JOURNAL_BLOCKS_MIN: u32 = 1024;
const JOURNAL_BLOCKS_MAX: u32 = 4096;
/// `ext4_calculate_resv_clusters`: the kernel keeps 2 %, at most 4096 blocks, for itself.
const KEPT_BY_KERNEL_PERCENT: u64 = 2;
const KEPT_BY_KERNEL_BLOCKS_MAX: u64 = 4096;
/// The largest disk, which bounds the group descriptors to what fits before the first bitmap.
const BYTES_MAX: u64 = 1 << 40;
/// Any will do, the same for all: kernels do not mind twins, and disks should be equal from run to run.
const UUID: [u8; 16] = *b"windtunnel-disk!";

/// How the blocks are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    groups: u32,
    blocks_per_group: u32,
    inodes_per_group: u32,
    journal_blocks: u32,
}

impl Layout {
    /// For this many bytes of files and this many files.
    fn of(bytes: u64, inodes: u64) -> Option<Self> {
        if bytes > BYTES_MAX {
            return None;
        }
        let wanted = bytes.div_ceil(BLOCK.into()).max(64);
        let journal_blocks = u32::try_from(wanted / 16).ok()?.clamp(JOURNAL_BLOCKS_MIN, JOURNAL_BLOCKS_MAX);
        let content = wanted + u64::from(journal_blocks) + 2; // superblock, root directory
        let inodes = inodes + u64::from(RESERVED_INODES);
        // Inodes fill half a group at most. More groups need more bitmaps and tables: take the first number that fits.
        let most = u64::from(BLOCKS_PER_GROUP_MAX);
        let fewest = (content / most).max(inodes / (most / 2)) + 1;
        (fewest..=2 * fewest + 1).find_map(|groups| {
            let inodes_per_group = inodes.div_ceil(groups).next_multiple_of((BLOCK / INODE).into());
            let descriptors = groups.div_ceil((BLOCK / DESCRIPTOR).into());
            let tables = groups * (2 + inodes_per_group / u64::from(BLOCK / INODE));
            let used = content + descriptors + tables;
            let kept = (used * KEPT_BY_KERNEL_PERCENT).div_ceil(100 - KEPT_BY_KERNEL_PERCENT) + 1;
            let layout = Self {
                groups: u32::try_from(groups).ok()?,
                blocks_per_group: 0,
                inodes_per_group: u32::try_from(inodes_per_group).ok()?,
                journal_blocks,
            };
            // The first group holds the journal in one piece.
            let blocks_per_group = (used + kept.min(KEPT_BY_KERNEL_BLOCKS_MAX)).div_ceil(groups);
            let blocks_per_group = blocks_per_group.max(u64::from(layout.used(0)) + 8).next_multiple_of(8);
            let blocks_per_group = u32::try_from(blocks_per_group).ok()?;
            (blocks_per_group <= BLOCKS_PER_GROUP_MAX).then_some(Self { blocks_per_group, ..layout })
        })
    }

    fn blocks(&self) -> u32 {
        self.groups * self.blocks_per_group
    }

    fn descriptor_blocks(&self) -> u32 {
        self.groups.div_ceil(BLOCK / DESCRIPTOR)
    }

    fn table_blocks(&self) -> u32 {
        self.inodes_per_group * INODE / BLOCK
    }

    /// Block bitmap, inode bitmap and inode table follow each other.
    fn bitmaps(&self, group: u32) -> u32 {
        group * self.blocks_per_group + if group == 0 { 1 + self.descriptor_blocks() } else { 0 }
    }

    fn table(&self, group: u32) -> u32 {
        self.bitmaps(group) + 2
    }

    fn journal(&self) -> u32 {
        self.table(0) + self.table_blocks()
    }

    fn root_directory(&self) -> u32 {
        self.journal() + self.journal_blocks
    }

    /// Used blocks at the beginning of a group.
    fn used(&self, group: u32) -> u32 {
        let end = if group == 0 { self.root_directory() + 1 } else { self.table(group) + self.table_blocks() };
        end - group * self.blocks_per_group
    }
}

/// Makes an empty ext4 of an empty file, on which `bytes` in `inodes` files can be written.
pub(super) fn ext4(image: &File, bytes: u64, inodes: u64) -> io::Result<()> {
    let layout = Layout::of(bytes, inodes).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("no ext4 of {bytes} bytes and {inodes} inodes"))
    })?;
    image.set_len(u64::from(layout.blocks()) * u64::from(BLOCK))?;
    image.write_all_at(&superblock(&layout), 1024)?;
    let mut descriptors = Block::of(layout.descriptor_blocks());
    for group in 0..layout.groups {
        let at = (group * DESCRIPTOR) as usize;
        let bitmaps = layout.bitmaps(group);
        for (field, value) in [(0, bitmaps), (4, bitmaps + 1), (8, layout.table(group))] {
            descriptors.u32(at + field, value);
        }
        let used_inodes = if group == 0 { RESERVED_INODES } else { 0 };
        descriptors.u16(at + 12, layout.blocks_per_group - layout.used(group));
        descriptors.u16(at + 14, layout.inodes_per_group - used_inodes);
        descriptors.u16(at + 16, u32::from(group == 0)); // directories
        write(image, bitmaps, &bitmap(layout.used(group), layout.blocks_per_group))?;
        write(image, bitmaps + 1, &bitmap(used_inodes, layout.inodes_per_group))?;
    }
    write(image, 1, &descriptors.0)?;
    let table = u64::from(layout.table(0)) * u64::from(BLOCK);
    let put = |number: u32, inode: Block| image.write_all_at(&inode.0, table + u64::from((number - 1) * INODE));
    put(ROOT_INODE, inode(0o040_755, 2, layout.root_directory(), 1))?;
    put(JOURNAL_INODE, inode(0o100_600, 1, layout.journal(), layout.journal_blocks))?;
    write(image, layout.root_directory(), &root_directory())?;
    write(image, layout.journal(), &journal_superblock(layout.journal_blocks))
}

fn write(image: &File, block: u32, bytes: &[u8]) -> io::Result<()> {
    image.write_all_at(bytes, u64::from(block) * u64::from(BLOCK))
}

/// Bytes with little-endian fields.
struct Block(Vec<u8>);

impl Block {
    fn of(blocks: u32) -> Self {
        Self(vec![0; (blocks * BLOCK) as usize])
    }

    fn u16(&mut self, at: usize, value: u32) {
        let value = u16::try_from(value).expect("groups, entries and inodes are bounded below 65,536");
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, at: usize, value: &[u8]) {
        self.0[at..at + value.len()].copy_from_slice(value);
    }
}

/// `struct ext4_super_block`, as of its 1024th byte.
fn superblock(layout: &Layout) -> Vec<u8> {
    let used = layout.groups.checked_sub(1).map_or(0, |others| layout.used(0) + others * layout.used(1));
    let inodes = layout.groups * layout.inodes_per_group;
    let mut block = Block(vec![0; 1024]);
    for (at, value) in [
        (0x00, inodes),
        (0x04, layout.blocks()),
        (0x0C, layout.blocks() - used),
        (0x10, inodes - RESERVED_INODES),
        (0x18, BLOCK.ilog2() - 10),
        (0x1C, BLOCK.ilog2() - 10), // clusters are blocks
        (0x20, layout.blocks_per_group),
        (0x24, layout.blocks_per_group),
        (0x28, layout.inodes_per_group),
        (0x4C, 1), // EXT4_DYNAMIC_REV: what follows counts
        (0x54, RESERVED_INODES + 1),
        (0x5C, 0x0004 | 0x0008 | 0x0020 | 0x0200), // has_journal, ext_attr, dir_index, sparse_super2 without copies
        (0x60, 0x0002 | 0x0040),                   // filetype, extents
        (0x64, 0x0002 | 0x0020 | 0x0040),          // large_file, dir_nlink, extra_isize
        (0xE0, JOURNAL_INODE),
        (0x160, 0x0001), // EXT2_FLAGS_SIGNED_HASH, as on x86
    ] {
        block.u32(at, value);
    }
    for (at, value) in [
        (0x36, 0xFFFF), // no check after some number of mounts
        (0x38, 0xEF53),
        (0x3A, 1), // clean
        (0x3C, 1), // on errors go on: the program is to see them, not the machine's log alone
        (0x58, INODE),
        (0x15C, 32),
        (0x15E, 32),
    ] {
        block.u16(at, value);
    }
    block.bytes(0x68, &UUID);
    block.bytes(0xEC, &UUID); // the seed of directory hashes
    block.0[0xFC] = 1; // half MD4
    block.0
}

/// The first `used` bits set, and those past the end.
fn bitmap(used: u32, of: u32) -> Vec<u8> {
    let mut bytes = vec![0_u8; BLOCK as usize];
    for bit in (0..used).chain(of..BLOCK * 8) {
        bytes[bit as usize / 8] |= 1 << (bit % 8);
    }
    bytes
}

/// `struct ext4_inode` of one extent.
fn inode(mode: u32, links: u32, first: u32, blocks: u32) -> Block {
    let mut inode = Block(vec![0; INODE as usize]);
    inode.u16(0x00, mode);
    inode.u32(0x04, blocks * BLOCK);
    inode.u16(0x1A, links);
    inode.u32(0x1C, blocks * (BLOCK / 512));
    inode.u32(0x20, 0x0008_0000); // EXT4_EXTENTS_FL
    for (at, value) in [(0x28, 0xF30A), (0x2A, 1), (0x2C, 4), (0x38, blocks)] {
        inode.u16(at, value); // extent header: magic, entries, room, and of the one extent the length
    }
    inode.u32(0x3C, first);
    inode.u16(0x80, 32); // i_extra_isize
    inode
}

fn root_directory() -> Vec<u8> {
    let mut block = Block::of(1);
    for (at, length, name) in [(0, 12, &b"."[..]), (12, BLOCK - 12, b"..")] {
        block.u32(at, ROOT_INODE);
        block.u16(at + 4, length);
        block.bytes(at + 6, &[u8::try_from(name.len()).expect("short"), 2]); // EXT4_FT_DIR
        block.bytes(at + 8, name);
    }
    block.0
}

/// `struct journal_superblock_s`, big-endian: an empty journal.
fn journal_superblock(blocks: u32) -> Vec<u8> {
    let mut block = Block::of(1);
    let fields = [
        (0x00, 0xC03B_3998), // JBD2_MAGIC_NUMBER
        (0x04, 4),           // JBD2_SUPERBLOCK_V2
        (0x0C, BLOCK),
        (0x10, blocks),
        (0x14, 1), // the first block of the log
        (0x18, 1), // the first commit's number
        (0x40, 1), // file systems that use it
    ];
    for (at, value) in fields {
        block.bytes(at, &value.to_be_bytes());
    }
    block.bytes(0x30, &UUID);
    block.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_hold_what_is_asked_for() {
        for bytes in [0, 1 << 20, 8 << 20, 200 << 20, 1 << 30, 10 << 30, BYTES_MAX] {
            for inodes in [16, 1000, 65_536, 300_000, 1 << 20] {
                let layout = Layout::of(bytes, inodes).expect("a layout");
                let used: u64 = (0..layout.groups).map(|group| u64::from(layout.used(group))).sum();
                let free = u64::from(layout.blocks()) - used;
                assert!(free * u64::from(BLOCK) >= bytes, "{layout:?} has {free} blocks for {bytes} bytes");
                assert!(u64::from(layout.groups * layout.inodes_per_group - RESERVED_INODES) >= inodes, "{layout:?}");
                assert!((0..2).all(|group| layout.used(group) < layout.blocks_per_group), "{layout:?}");
            }
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert_eq!(Layout::of(BYTES_MAX + 1, 16), None);
    }
}
