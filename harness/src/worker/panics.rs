//! Panics of the test body and of clients, which run in the original image: kept with their place and stack.
//!
//! Hosts run in images of their own, whose statics this hook is not in; they print as any process does.

use crate::blackbox::{At, Location, Verdict};
use crate::system::Executable;
use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::OnceLock;

/// Deep enough for a panic in async code; a recursion's stack need not be whole.
const FRAMES_MAX: usize = 128;

/// A panic that was caught.
#[derive(Debug)]
pub(crate) struct Panic {
    at: At,
    host: String,
    message: String,
    location: Option<Location<'static>>,
    frames: Vec<u64>,
}

static EXECUTABLE: OnceLock<Executable> = OnceLock::new();

thread_local! {
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Keeps panics from now on. Call before the world begins.
pub(super) fn install() {
    EXECUTABLE.get_or_init(Executable::of_this_process);
    std::panic::set_hook(Box::new(keep));
}

fn keep(panic: &PanicHookInfo<'_>) {
    let message = message(panic.payload());
    let host = if crate::world::inside() { crate::world::host_name() } else { String::new() };
    let at = if crate::world::inside() { crate::world::position().into() } else { At::default() };
    // As std's own hook prints it, so that it stands among what the host wrote.
    match panic.location() {
        Some(location) => eprintln!("thread '{host}' panicked at {location}:\n{message}"),
        None => eprintln!("thread '{host}' panicked:\n{message}"),
    }
    let location = panic.location().map(Location::from);
    let frames = frames();
    LAST.with(|last| *last.borrow_mut() = Some(Panic { at, host, message, location, frames }));
}

/// Runs something that may panic.
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Panic> {
    // Unwind safety: whoever catches ends the case.
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        // None when it was resumed (`resume_unwind` calls no hook), for example out of a tokio task.
        let hooked = LAST.with(|last| last.borrow_mut().take());
        hooked.unwrap_or_else(|| Panic {
            at: crate::world::position().into(),
            host: crate::world::host_name(),
            message: message(&*payload),
            location: None,
            frames: Vec::new(),
        })
    })
}

impl Panic {
    pub(crate) fn into_verdict(self) -> Verdict<'static> {
        let Self { at, host, message, location, frames } = self;
        Verdict::Panicked { at, host: host.into(), message: message.into(), location, frames: frames.into() }
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a value that is no text").to_owned()
}

fn frames() -> Vec<u64> {
    let mut frames = Vec::with_capacity(FRAMES_MAX);
    let executable = EXECUTABLE.get();
    backtrace::trace(|frame| {
        let address = frame.ip() as u64;
        frames.push(executable.map_or(address, |executable| executable.to_offset(address)));
        frames.len() < FRAMES_MAX
    });
    frames
}
