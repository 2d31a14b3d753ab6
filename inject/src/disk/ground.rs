//! Where a fault stands: a directory of the file system it strikes, which is another one after a loss of power.

use crate::lock::lock;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

/// The root directory of a host's store, as it is mounted now.
#[derive(Debug)]
pub(super) struct Ground(Mutex<Arc<OwnedFd>>);

impl Ground {
    pub(super) fn of(directory: &Arc<OwnedFd>) -> Self {
        Self(Mutex::new(Arc::clone(directory)))
    }

    pub(super) fn move_to(&self, directory: &Arc<OwnedFd>) {
        *lock(&self.0) = Arc::clone(directory);
    }

    fn now(&self) -> Arc<OwnedFd> {
        Arc::clone(&lock(&self.0))
    }
}

/// A fault's hold on a directory.
#[derive(Debug)]
pub(super) struct Footing {
    directory: Arc<OwnedFd>,
    /// `None`: what is struck is nobody's disk that could be mounted again.
    ground: Option<Arc<Ground>>,
}

impl Footing {
    pub(super) fn on(ground: &Arc<Ground>) -> Self {
        Self { directory: ground.now(), ground: Some(Arc::clone(ground)) }
    }

    pub(super) fn fixed(directory: OwnedFd) -> Self {
        Self { directory: Arc::new(directory), ground: None }
    }

    /// Goes to where the ground is now. Whether it had moved, so that what was done there is gone.
    pub(super) fn follow(&mut self) -> bool {
        let Some(ground) = &self.ground else { return false };
        let now = ground.now();
        let moved = !Arc::ptr_eq(&now, &self.directory);
        self.directory = now;
        moved
    }
}

impl AsFd for Footing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}
