//! A disk that rots: bits of what a host has written flip, and stay so.

use super::own::OwnDisk;
use crate::Injection;
use crate::error::{Error, Result};
use crate::step::reached;
use crate::sys::start_writeback;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, FileTimes};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bits that were flipped in the files that a host has written.
///
/// It is over when it has begun. What was flipped is written through the page cache, so that the host sees it at once,
/// and sent on to the disk, so that it is there after a loss of power; times of files stay.
#[derive(Debug)]
pub struct BitRot {
    flipped: u64,
}

impl BitRot {
    /// Flips this many bits of regular files that a host has written on its own disk, each anywhere with the same
    /// chance: by the seed, so that the same files rot in the same places. Where a
    /// file cannot be written (a program that runs), its bits are left out; [`bit`](Injection::bit) says how many were
    /// flipped.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn of(disk: &OwnDisk, bits: u32, seed: u64) -> Result<Self> {
        let failed = |error| Error::os("look for files on a host's disk", error);
        let files = written(disk).map_err(failed)?;
        let sizes: Vec<u64> = files.iter().map(|file| file.bytes).collect();
        let mut flipped = 0;
        for (number, bit) in draw(&sizes, bits, seed) {
            reached("a bit is to be flipped");
            flipped += u64::from(flip(&files[number], bit).is_ok());
        }
        reached("bits are flipped");
        Ok(Self { flipped })
    }
}

impl Injection for BitRot {
    fn mechanism(&self) -> &'static str {
        "bits flipped in files"
    }

    /// There is nothing to ask for: the host may have written something else there since.
    fn read_back(&mut self) -> Result<()> {
        Ok(())
    }

    /// Bits that were flipped.
    fn bit(&mut self) -> Result<u64> {
        Ok(self.flipped)
    }

    /// What has rotted stays so.
    fn heal(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Which bits of which files: by the files' numbers, in order, none twice.
fn draw(sizes: &[u64], bits: u32, seed: u64) -> BTreeSet<(usize, u64)> {
    let total: u64 = sizes.iter().map(|bytes| bytes * 8).sum();
    let mut drawn = BTreeSet::new();
    if total == 0 {
        return drawn;
    }
    let wanted = usize::try_from(total).unwrap_or(usize::MAX).min(bits as usize);
    for number in 0_u64.. {
        if drawn.len() >= wanted {
            break;
        }
        // The high half of a product: as even as 64 bits can be (Lemire, 2019).
        let mut bit = ((u128::from(mixed(mixed(seed) ^ number)) * u128::from(total)) >> 64) as u64;
        for (file, bytes) in sizes.iter().enumerate() {
            if bit < bytes * 8 {
                drawn.insert((file, bit));
                break;
            }
            bit -= bytes * 8;
        }
    }
    drawn
}

/// A hash of one word: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Flips one bit of a file.
fn flip(file: &Written, bit: u64) -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // The host's own links lead nowhere else.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = File::from(openat2(&*file.layer, &file.below, flags, Mode::empty(), resolve)?);
    let before = file.metadata()?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8)?;
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8)?;
    reached("a bit is flipped in memory");
    // Only this page, and only begun: what else the host has not synced is its own business, and waiting for a disk
    // that is slow at the moment would hold up all other hosts.
    start_writeback(file.as_fd(), bit / 8, 1)?;
    // A time that shows it would be no rot.
    file.set_times(FileTimes::new().set_accessed(before.accessed()?).set_modified(before.modified()?))
}

/// A regular file with content that a host has written.
#[derive(Debug)]
struct Written {
    /// Its path from the host's root.
    path: PathBuf,
    bytes: u64,
    /// The directory of the store in which it lies, and where below it. Overlays have no pages of their own: what is
    /// written there, the host sees.
    layer: Arc<OwnedFd>,
    below: PathBuf,
}

/// What a host has written, in order of paths.
fn written(disk: &OwnDisk) -> io::Result<Vec<Written>> {
    let mut files = Vec::new();
    for (at, layer) in disk.changes()? {
        let layer = Arc::new(layer);
        let mut below = Vec::new();
        walk(layer.as_fd(), Path::new(""), &mut below)?;
        files.extend(below.into_iter().map(|(below, bytes)| Written {
            path: at.join(&below),
            bytes,
            layer: Arc::clone(&layer),
            below,
        }));
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn walk(directory: BorrowedFd<'_>, at: &Path, files: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        // The host is at work meanwhile: what is gone by now is none of its files.
        let Ok(status) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile if status.st_size > 0 => files.push((at.join(name), status.st_size.unsigned_abs())),
            FileType::Directory => {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below: Option<OwnedFd> = openat(directory, name, flags, Mode::empty()).ok();
                if let Some(below) = below {
                    walk(below.as_fd(), &at.join(name), files)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn the_same_seed_draws_the_same_bits_none_twice_and_no_more_than_there_are() {
        let sizes = [1, 1000];
        assert_eq!(draw(&sizes, 20, 7), draw(&sizes, 20, 7));
        assert_ne!(draw(&sizes, 20, 7), draw(&sizes, 20, 8));
        assert_eq!(draw(&sizes, 20, 7).len(), 20);
        assert_eq!(draw(&sizes[..1], 20, 7), (0..8).map(|bit| (0, bit)).collect());
        assert!(draw(&[], 20, 7).is_empty());
        assert!(draw(&sizes, 20, 7).iter().all(|(file, bit)| *bit < sizes[*file] * 8));
    }
}
