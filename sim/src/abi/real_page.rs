//! Pages of shared memory that the world writes and a real process goes by, of its clocks and of its calls.

use crate::carrier::real;
use libc::c_int;
use std::io;
use std::sync::atomic::{AtomicPtr, Ordering};

/// How long a page is, in words of 64 bits.
pub(super) const PAGE_WORDS: usize = 512;

/// What is wrong with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadPage {
    /// It cannot be mapped: the error's number.
    NotMapped(c_int),
    /// It is of another layout.
    Unknown,
}

impl BadPage {
    /// The error, for who hands in a page of `what`.
    pub(crate) fn into_io(self, what: &str) -> io::Error {
        match self {
            BadPage::NotMapped(error) => io::Error::from_raw_os_error(error),
            BadPage::Unknown => {
                let text = format!(
                    "this is no page of {what}, or one of another version of windtunnel: build both from one source"
                );
                io::Error::new(io::ErrorKind::InvalidData, text)
            }
        }
    }
}

/// The page that this process goes by, if there is one. Set once, never unmapped.
pub(super) struct Installed<T: Sync + 'static>(AtomicPtr<T>);

impl<T: Sync> Installed<T> {
    /// None.
    pub(super) const fn none() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// The page.
    #[inline]
    pub(super) fn get(&self) -> Option<&'static T> {
        // SAFETY: null or what `set` was given.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Has all threads of the process go by this page from now on.
    pub(super) fn set(&self, page: &'static T) {
        self.0.store(std::ptr::from_ref(page).cast_mut(), Ordering::Release);
    }
}

/// Maps a page of shared memory for good, if it is one that is known. `T` is made of atomics, and `PAGE_WORDS` long.
pub(super) fn map<T>(fd: c_int, is_known: impl FnOnce(&T) -> bool) -> Result<&'static T, BadPage> {
    const { assert!(size_of::<T>() == PAGE_WORDS * 8) };
    let bytes = PAGE_WORDS * 8;
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    // SAFETY: a new mapping of a file, where the kernel likes.
    let address =
        unsafe { real::raw_syscall(libc::SYS_mmap, [0, bytes, prot, libc::MAP_SHARED as usize, fd as usize, 0]) };
    if address < 0 {
        return Err(BadPage::NotMapped(-address as c_int));
    }
    // SAFETY: mapped for good, aligned to pages, atomics throughout. A file that is shorter would end the process at
    // the first look; the world's is sealed.
    let page = unsafe { &*(address as *const T) };
    if !is_known(page) {
        // SAFETY: mapped just now, and seen by nobody else.
        unsafe { real::raw_syscall(libc::SYS_munmap, [address as usize, bytes, 0, 0, 0, 0]) };
        return Err(BadPage::Unknown);
    }
    Ok(page)
}
