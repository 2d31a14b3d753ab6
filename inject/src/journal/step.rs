//! Where the process may die: each step of applying and healing passes here, so that tests can make it die at each.

use std::sync::OnceLock;

static HOOK: OnceLock<fn(&'static str)> = OnceLock::new();

/// From now on, calls this at each step, with its name. For tests; the first one stays.
pub fn watch(hook: fn(&'static str)) {
    HOOK.get_or_init(|| hook);
}

/// A step is about to be taken.
pub(crate) fn reached(name: &'static str) {
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
}
