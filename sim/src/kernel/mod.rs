//! The simulated kernel: hosts, processes, threads, descriptors, network, time.
//!
//! It runs on the carrier only, on its own stack and with the carrier's own TLS, so whatever it calls reaches the real
//! libc. It is entered through `abi` alone. It never iterates a hash map, never reads a real clock, and draws only from
//! streams of its own purpose. It contains no `unsafe`.

mod beat;
mod buggify;
mod burn;
mod clock;
mod clocks;
mod control;
pub(crate) mod disk;
mod dispatch;
mod entropy;
mod epoll;
mod event;
mod eventfd;
mod file;
mod futex;
mod host;
mod keys;
mod lack;
mod limits;
pub(crate) mod machine;
pub(crate) mod net;
mod netlink;
mod pipe;
mod poll;
mod process;
mod random;
mod readwrite;
mod sched;
mod signal;
mod slots;
mod stacks;
mod thread;
mod timerfd;
mod timers;
mod unix;
mod wall;
mod weather;

pub(crate) use clock::Clock;
pub(crate) use dispatch::{Kernel, Next};
pub(crate) use entropy::mix;
pub(crate) use file::{DupTo, FileId};
pub(crate) use futex::MATCH_ANY;
pub(crate) use process::{Disposition, ProcessId};
pub(crate) use random::random_stream;
pub(crate) use signal::Delivery;
pub(crate) use thread::ThreadId;
pub(crate) use timerfd::Setting;

/// What a try of a call answers: a value, or why there is none.
pub(crate) type Step = Result<i64, Stop>;

/// Why a try of a call gave no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// The call fails with this errno.
    Errno(i32),
    /// The thread waits; the call is tried again when it is woken.
    Block,
}

impl From<i32> for Stop {
    fn from(errno: i32) -> Stop {
        Stop::Errno(errno)
    }
}

/// A call, by its name: a literal of the hook that makes it. The event stream has a number for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
}

/// Whether a call interrupted by a handler with `SA_RESTART` is restarted.
///
/// signal(7), "Interruption of system calls and library functions by signal handlers": never for poll, epoll_wait,
/// select, nanosleep, sigtimedwait and futex waits with a timeout.
pub(crate) fn restartable(call: Call) -> bool {
    !matches!(
        call.name,
        "epoll_wait"
            | "epoll_pwait"
            | "poll"
            | "ppoll"
            | "select"
            | "pselect"
            | "nanosleep"
            | "clock_nanosleep"
            | "pause"
            | "sigwait"
            | "sigtimedwait"
            | "usleep"
            | "sleep"
    )
}
