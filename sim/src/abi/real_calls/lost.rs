//! Files whose last sync has failed.
//!
//! Linux takes pages that could not be written for clean: the next fsync(2) has nothing to do and says that all is well
//! (<https://lwn.net/Articles/752063/>). So that it says so here without having written anything, files are remembered
//! for as long as nobody writes to them. What the kernel writes back by itself (after 30 s, `dirty_expire_centisecs`)
//! is not lost here.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// More files than these are not remembered: their next sync is a genuine one.
const FILES_MAX: usize = 64;

/// A place for one file: which one it is, or 0, and what it looked like.
struct Place {
    file: AtomicU64,
    looks: AtomicU64,
}

static PLACES: [Place; FILES_MAX] = [const { Place { file: AtomicU64::new(0), looks: AtomicU64::new(0) } }; FILES_MAX];
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Whether there are such files.
#[inline]
pub(super) fn are_any() -> bool {
    TAKEN.load(Ordering::Relaxed) > 0
}

/// A number for a file, never 0.
fn file(status: &libc::stat) -> u64 {
    (status.st_dev.rotate_left(48) ^ status.st_ino).max(1)
}

/// Changes with every write that the kernel notices, also through mapped memory.
fn looks(status: &libc::stat) -> u64 {
    let written = (status.st_mtime as u64).wrapping_mul(1_000_000_000).wrapping_add(status.st_mtime_nsec as u64);
    written ^ (status.st_size as u64).rotate_left(32)
}

fn place(file: u64) -> Option<&'static Place> {
    PLACES.iter().find(|place| place.file.load(Ordering::Acquire) == file)
}

/// Remembers a file as it is now.
pub(super) fn remember(status: &libc::stat) {
    let free = |place: &Place| {
        let taken = place.file.compare_exchange(0, file(status), Ordering::AcqRel, Ordering::Relaxed).is_ok();
        TAKEN.fetch_add(usize::from(taken), Ordering::Relaxed);
        taken
    };
    let place = place(file(status)).or_else(|| PLACES.iter().find(|place| free(place)));
    if let Some(place) = place {
        place.looks.store(looks(status), Ordering::Release);
    }
}

/// Whether a file's last sync has failed, and nobody has written to it since.
pub(super) fn is_known(status: &libc::stat) -> bool {
    are_any() && place(file(status)).is_some_and(|place| place.looks.load(Ordering::Acquire) == looks(status))
}

/// Somebody has written to it.
pub(super) fn forget(status: &libc::stat) {
    if let Some(place) = place(file(status))
        && place.file.compare_exchange(file(status), 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
}
