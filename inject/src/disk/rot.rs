//! A disk that rots: bits of what a host has written flip, and stay so.

use super::own::OwnDisk;
use crate::Injection;
use crate::error::{Error, Result};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat,
};
use rustix::io::{ReadWriteFlags, pread, pwritev2};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, FileTimes};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Bits that were flipped in the files that a host has written.
///
/// It is over when it has begun. What was flipped is written through the page cache and then to the disk, so that the
/// host sees it at once, and after a loss of power; times of files stay.
#[derive(Debug)]
pub struct BitRot {
    flipped: u64,
}

impl BitRot {
    /// How it is done.
    pub const MECHANISM: &'static str = "bits flipped in files";

    /// Flips this many bits of regular files that a host has written on its own disk, each anywhere with the same
    /// chance: by the seed, so that the same files rot in the same places. Files at the paths `but_not` stay. Where a
    /// file cannot be written (a program that runs), its bits are left out; [`bit`](Injection::bit) says how many were
    /// flipped.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn of(disk: &OwnDisk, bits: u32, seed: u64, but_not: &[PathBuf]) -> Result<Self> {
        let failed = |error| Error::os("look for files on a host's disk", error);
        let mut files = written(disk).map_err(failed)?;
        files.retain(|(path, _)| !but_not.iter().any(|other| other.strip_prefix("/") == Ok(path)));
        let mut flipped = 0;
        for (number, bit) in draw(&files, bits, seed) {
            let (path, _) = &files[number];
            flipped += u64::from(flip(disk.root(), path, bit).is_ok());
        }
        Ok(Self { flipped })
    }
}

impl Injection for BitRot {
    fn mechanism(&self) -> &'static str {
        Self::MECHANISM
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
fn draw(files: &[(PathBuf, u64)], bits: u32, seed: u64) -> BTreeSet<(usize, u64)> {
    let total: u64 = files.iter().map(|(_, bytes)| bytes * 8).sum();
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
        let mut bit = (u128::from(mixed(mixed(seed) ^ number)) * u128::from(total) >> 64) as u64;
        for (file, (_, bytes)) in files.iter().enumerate() {
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

/// Flips one bit of a file below the host's root.
fn flip(root: BorrowedFd<'_>, path: &Path, bit: u64) -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // The host's own links and mounts lead nowhere else.
    let file = openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)?;
    let file = File::from(file);
    let before = file.metadata()?;
    let mut byte = [0];
    if pread(&file, &mut byte, bit / 8)? != 1 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    byte[0] ^= 1 << (bit % 8);
    // Only this page goes to the disk: what else the host has not synced is its own business.
    pwritev2(&file, &[IoSlice::new(&byte)], bit / 8, ReadWriteFlags::DSYNC)?;
    // A time that shows it would be no rot.
    file.set_times(FileTimes::new().set_accessed(before.accessed()?).set_modified(before.modified()?))
}

/// Regular files with content that a host has written, by their paths from its root and their bytes; in order.
fn written(disk: &OwnDisk) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for (at, upper) in disk.changes()? {
        walk(upper.as_fd(), &at, &mut files)?;
    }
    files.sort_unstable();
    files.dedup_by(|one, other| one.0 == other.0);
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
    use std::path::PathBuf;

    #[test]
    fn the_same_seed_draws_the_same_bits_none_twice_and_no_more_than_there_are() {
        let files = [(PathBuf::from("a"), 1), (PathBuf::from("b"), 1000)];
        assert_eq!(draw(&files, 20, 7), draw(&files, 20, 7));
        assert_ne!(draw(&files, 20, 7), draw(&files, 20, 8));
        assert_eq!(draw(&files, 20, 7).len(), 20);
        assert_eq!(draw(&files[..1], 20, 7), (0..8).map(|bit| (0, bit)).collect());
        assert!(draw(&[], 20, 7).is_empty());
        assert!(draw(&files, 20, 7).iter().all(|(file, bit)| *bit < files[*file].1 * 8));
    }
}
