//! Locks that outlive a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for a lock. Whoever panicked while holding it left what it protects whole: nothing that can panic comes
/// between changes that belong together.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
