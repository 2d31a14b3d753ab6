//! Where a process may die or be stopped: before and after each change that is seen outside of it.
//!
//! Starting a world, applying a fault and healing it pass here at each step, so that tests can strike at each. A step
//! is named by what has just been done, or by what is to be done next; where one change follows another, one step
//! stands between them. What a process is for, it says first: `keeper begun`.

use std::sync::OnceLock;

static HOOK: OnceLock<fn(&'static str)> = OnceLock::new();

/// From now on, calls this at each step, with its name, in this process and in those that are forked from it. For
/// tests; the first one stays.
pub fn watch(hook: fn(&'static str)) {
    HOOK.get_or_init(|| hook);
}

/// A step is reached. Where nobody watches, that is one load of an atomic.
pub(crate) fn reached(name: &'static str) {
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
}
