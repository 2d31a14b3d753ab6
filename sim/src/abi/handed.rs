//! What the kernel allocates for a call, and the calling thread reads after it.
//!
//! Hooks are code of the original image. On a thread of another image they may use none of Rust's memory: `Vec`,
//! `String` and `Box` would enter the original's global allocator with the TLS of a thread that belongs to another
//! allocator (its caches, its arena), and what one of them gave would be freed into the other. So a hook keeps what it
//! needs on its stack, takes from `libc::malloc` what the program is to free, and for the rest has the kernel allocate,
//! which runs with the carrier's TLS, and keeps it here. `sim/tests/allocators.rs` finds whoever does otherwise.

use super::look;
use std::mem::{ManuallyDrop, take};
use std::ops::{Deref, DerefMut};

/// Filled inside a call's closure, read outside, and freed inside the kernel again.
pub(crate) struct Handed<T: Default>(ManuallyDrop<T>);

impl<T: Default> Handed<T> {
    /// Nothing yet: a default that allocates nothing.
    pub(crate) fn nothing() -> Handed<T> {
        Handed(ManuallyDrop::new(T::default()))
    }
}

impl<T: Default> Deref for Handed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Default> DerefMut for Handed<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Default> Drop for Handed<T> {
    fn drop(&mut self) {
        look("hand back", |_, _| {
            drop(take(&mut *self.0));
            Ok(0)
        });
    }
}
