//! Scripts with a story each, in files by subject.

#![expect(clippy::undocumented_unsafe_blocks, reason = "SAFETY: scripts pass locals of the type and size they say")]

mod clocks;
mod epoll;
mod eventfd;
mod file_contents;
mod files;
mod futex;
mod inotify;
mod locks;
mod netlink;
mod pipes;
mod poll;
mod ports;
mod processes;
mod signals;
mod tcp;
mod timerfd;
mod udp;
mod unix;
mod unix_messages;

use std::time::{Duration, Instant};

/// Runs what may block and says whether it took at least as long as it should, which holds on a busy machine, too.
fn at_least<R>(t: &crate::transcript::Transcript, ms: u64, what: impl FnOnce() -> R) -> R {
    let began = Instant::now();
    let result = what();
    let short = began.elapsed() < Duration::from_millis(ms);
    t.say(format_args!("{} {ms} ms", if short { "took less than" } else { "took at least" }));
    result
}

/// A while, in which other threads get to where they block.
fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}
