//! The test binary as a *worker*: a fork server for the cases of one test.
//!
//! The supervisor executes the binary again with a fixed layout, libtest calls the test, and the test becomes this.
//! Each case runs in a child forked from the same pristine process. Nothing here allocates once it serves, so that a
//! case finds the same heap whether it is the first or the hundredth.
//!
//! ```text
//! protocol.rs   descriptors and messages between supervisor and worker
//! case.rs       the child: one case
//! recorder.rs   what the kernel lets out goes into the flight recorder
//! panics.rs     panics of test body and clients: kept instead of printed twice
//! ```

mod case;
pub(crate) mod panics;
pub(crate) mod protocol;
mod recorder;

use crate::__private::TestBody;
use crate::blackbox::BlackBox;
use crate::definition::TestDefinition;
use crate::supervisor;
use crate::system;
use protocol::Message;
use std::io;
use windtunnel_inject::sys as inject;
use windtunnel_sim::worker::{self, Forked};

/// How this process was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// By the user: this is the supervisor.
    Supervisor,
    /// By a supervisor, to serve cases.
    Worker,
    /// By itself, in its own place, to run one case under a debugger.
    Debugged,
    /// By a supervisor, to serve cases of the real world.
    Real,
}

impl Role {
    /// Values of `CHAOS_WORKER`. Of equal length, so that the layout of both is equal.
    pub(crate) const WORKER: &str = "1";
    pub(crate) const DEBUGGED: &str = "2";
    /// Set instead of `CHAOS_WORKER` in a worker of the real world, in which nothing is made up.
    pub(crate) const REAL_ENV: &str = "CHAOS_REAL";

    pub(crate) fn of_this_process() -> Self {
        if std::env::var_os(Self::REAL_ENV).is_some() {
            return Self::Real;
        }
        match std::env::var(worker::ENV) {
            Ok(value) if value == Self::DEBUGGED => Self::Debugged,
            Ok(_) => Self::Worker,
            Err(_) => Self::Supervisor,
        }
    }
}

/// Serves cases of the simulated world until the supervisor closes the pipe.
pub(crate) fn serve(body: TestBody) -> ! {
    let recorder = open_recorder();
    if let Err(reason) = worker::prepare() {
        recorder.findings().impossible(reason);
        protocol::send(Message::Unfit);
        worker::exit(1);
    }
    serve_with(worker::fork, || case::run(recorder, body))
}

/// Serves cases of the real world until the supervisor closes the pipe.
pub(crate) fn serve_real(body: TestBody) -> ! {
    let recorder = open_recorder();
    // libtest's main thread is there too, and waits for this one: the child may use what it likes.
    let fork = || {
        Ok(match inject::fork()? {
            inject::Forked::Child => Forked::Child,
            inject::Forked::Parent(pid) => Forked::Parent(pid.cast_signed()),
        })
    };
    serve_with(fork, || case::run_real(recorder, body))
}

/// Each case is a process of its own, which this one is forked into.
fn serve_with(fork: impl Fn() -> io::Result<Forked>, case: impl FnOnce()) -> ! {
    protocol::send(Message::Ready);
    let mut last: Option<libc::pid_t> = None;
    while protocol::next_order() {
        // Only now: until the supervisor has heard of its end, the pid must not belong to anybody else.
        if let Some(pid) = last.take() {
            system::reap(pid);
        }
        match fork() {
            Ok(Forked::Child) => {
                case();
                worker::exit(0);
            }
            Ok(Forked::Parent(pid)) => {
                protocol::send(Message::Started(pid));
                protocol::send(Message::Ended(system::wait_for_end(pid)));
                last = Some(pid);
            }
            Err(error) => protocol::send(Message::NotForked(error.raw_os_error().unwrap_or(0))),
        }
    }
    worker::exit(0)
}

/// Runs the one case that was ordered, in this process, and reports.
pub(crate) fn debug(definition: &TestDefinition, location: &std::panic::Location<'_>, body: TestBody) -> ! {
    let recorder = open_recorder();
    if let Err(reason) = worker::prepare() {
        recorder.findings().impossible(reason);
    } else {
        case::run(recorder, body);
    }
    let failed = supervisor::report_debugged(definition, location, recorder);
    worker::exit(if failed { 101 } else { 0 })
}

fn open_recorder() -> &'static BlackBox {
    match BlackBox::open(protocol::BLACKBOX_FD) {
        Ok(recorder) => Box::leak(Box::new(recorder)),
        Err(error) => {
            eprintln!("failed to map the flight recorder: {error}");
            worker::exit(1)
        }
    }
}
