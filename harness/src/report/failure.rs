//! What went wrong with a case, and the sentence that says so.
//!
//! The sentence begins with the class, since libtest owns the exit code: `panicked`, `returned an error`, `steady state
//! broken`, `not recovered`, `host ended`, `deadlock`, `livelock`, `virtual timeout`, `wall timeout`, `refused`,
//! `died`, `nondeterministic`, `never failed`.

use super::lines::Log;
use crate::blackbox::{At, Location};
use crate::duration::for_people;
use std::time::Duration;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The test body, or a client, panicked.
    Panicked { host: String, message: String, location: Option<Location<'static>> },
    /// The test body returned an error.
    Error { text: String },
    /// A storm was ended because its steady state broke.
    Unsteady { text: String },
    /// A host was not ready again after the storm.
    NotRecovered { text: String },
    /// A host's program ended by itself with this code.
    Exited { host: String, code: i32 },
    /// A host's program was ended by this signal.
    Killed { host: String, signal: i32 },
    /// A program called what is not simulated.
    Refused { host: String, call: String, remedy: String },
    /// Nobody can ever run again.
    Deadlock,
    /// Nobody makes progress.
    Livelock,
    /// The world's clock reached the test's limit.
    VirtualTimeout { limit: Duration },
    /// The case took too long in real time.
    ///
    /// Whom it ran, host and thread; in the real world, where all run at once, no host and what the test waited for.
    WallTimeout { limit: Duration, running: (String, String) },
    /// The case's process died.
    Died { how: Death, last_words: String },
    /// The test body never came to an end, though its process did.
    Vanished,
    /// The case could not begin.
    Impossible { reason: String },
    /// Two runs of the same case differ.
    Nondeterministic { first: Option<Difference> },
    /// `expect_failure`, but every case passed.
    NeverFailed { expected: String, cases: u32 },
}

/// How a process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// By a signal.
    Signal(i32),
    /// With an exit code, but without an ending.
    Code(i32),
}

/// The first event that differs between two runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) at: At,
    pub(crate) recorded: String,
    pub(crate) seen: String,
}

/// Where a thread stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ThreadStack {
    pub(crate) host: String,
    pub(crate) thread: String,
    pub(crate) tid: u32,
    pub(crate) waits_for: String,
    pub(crate) frames: Vec<u64>,
}

/// A failed case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) at: At,
    pub(crate) stacks: Vec<ThreadStack>,
}

impl Failure {
    /// The failure in one sentence. It may go on over several lines when a message does.
    pub(crate) fn sentence(&self, log: &Log) -> String {
        match &self.kind {
            FailureKind::Panicked { host, message, .. } if host == "test" || host.is_empty() => {
                format!("panicked: {message}")
            }
            FailureKind::Panicked { host, message, .. } => format!("client {host} panicked: {message}"),
            FailureKind::Error { text } => format!("returned an error: {text}"),
            FailureKind::Unsteady { text } => format!("steady state broken: the storm was ended at once; {text}"),
            FailureKind::NotRecovered { text } => format!("not recovered: {text}"),
            FailureKind::Exited { host, code } => ended(host, &format!("exit code {code}"), log),
            FailureKind::Killed { host, signal } => ended(host, &signal_text(*signal), log),
            FailureKind::Refused { host, call, remedy } => {
                format!("refused: {host} called {call}, which is not simulated: {remedy}")
            }
            FailureKind::Deadlock => "deadlock: nobody can ever run again".to_owned(),
            FailureKind::Livelock => "livelock: events go on, but nobody makes progress".to_owned(),
            FailureKind::VirtualTimeout { limit } => {
                format!("virtual timeout: the test was not over after {} of virtual time", for_people(*limit))
            }
            FailureKind::WallTimeout { limit, running } => wall_timeout(*limit, running, log),
            FailureKind::Died { how, last_words } => died(*how, last_words),
            FailureKind::Vanished => {
                "ended early: the test's process ended before its body had returned (did it call `std::process::exit`?)"
                    .to_owned()
            }
            FailureKind::Impossible { reason } => format!("impossible: {reason}"),
            FailureKind::Nondeterministic { first: Some(Difference { at, recorded, seen }) } => {
                format!(
                    "nondeterministic: two runs of this case differ at event {}\n  first   {recorded}\n  \
                     second  {seen}",
                    at.event
                )
            }
            FailureKind::Nondeterministic { first: None } => {
                "nondeterministic: two runs of this case have different digests, though no further two runs did"
                    .to_owned()
            }
            FailureKind::NeverFailed { expected, cases } => {
                format!(
                    "never failed: {} passed, but `expect_failure` expects one to fail with {expected:?}",
                    if *cases == 1 { "1 case".to_owned() } else { format!("{cases} cases") }
                )
            }
        }
    }

    /// Where it happened, when the source is known.
    pub(crate) fn location(&self) -> Option<&Location<'static>> {
        match &self.kind {
            FailureKind::Panicked { location, .. } => location.as_ref(),
            _ => None,
        }
    }

    /// The host that it happened on.
    pub(crate) fn host(&self) -> Option<&str> {
        match &self.kind {
            FailureKind::Panicked { host, .. }
            | FailureKind::Exited { host, .. }
            | FailureKind::Killed { host, .. }
            | FailureKind::Refused { host, .. } => Some(host),
            _ => None,
        }
    }

    /// Whether the case depends on real time or on the process, so that a second run may end elsewhere.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self.kind, FailureKind::WallTimeout { .. } | FailureKind::Nondeterministic { .. })
    }
}

fn ended(host: &str, how: &str, log: &Log) -> String {
    match log.last_panic(host) {
        Some((place, message)) => {
            format!("host ended: {host} panicked at {place}: {message} ({how})")
        }
        // What Rust's handler for that ends the process with is an abort.
        None if log.of(host).any(|line| is_overflow(&line.text)) => {
            format!("host ended: {host} overflowed its stack, and ended with {how}")
        }
        None => format!("host ended: {host} ended by itself with {how}"),
    }
}

fn is_overflow(line: &str) -> bool {
    line.starts_with("thread '") && line.ends_with(" has overflowed its stack")
}

fn wall_timeout(limit: Duration, running: &(String, String), log: &Log) -> String {
    let whom = match running {
        (host, waits_for) if host.is_empty() => {
            let waited = Some(waits_for).filter(|what| !what.is_empty());
            let up = Some(log.up().join(", ")).filter(|hosts| !hosts.is_empty());
            let waited = waited.map(|what| format!("; the test waited for {what}"));
            let up = up.map(|hosts| format!("; up: {hosts}"));
            waited.into_iter().chain(up).collect()
        }
        (host, thread) if thread.is_empty() => format!("; last seen on {host}"),
        (host, thread) => format!("; last seen on {host}, thread {thread}"),
    };
    format!("wall timeout: the case took longer than {} of real time{whom}", for_people(limit))
}

fn died(how: Death, last_words: &str) -> String {
    let how = match how {
        Death::Signal(signal) => signal_text(signal),
        Death::Code(code) => format!("exit code {code}"),
    };
    let words = last_words.trim();
    if words.is_empty() {
        format!("died: the process of the case ended with {how}")
    } else {
        format!("died: the process of the case ended with {how}\n{words}")
    }
}

fn signal_text(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT, abort",
        libc::SIGSEGV => "SIGSEGV, an invalid memory access or a stack overflow",
        libc::SIGBUS => "SIGBUS, a bus error",
        libc::SIGILL => "SIGILL, an illegal instruction",
        libc::SIGFPE => "SIGFPE, an arithmetic error",
        libc::SIGTRAP => "SIGTRAP, a breakpoint",
        libc::SIGKILL => "SIGKILL: something killed it, for example for want of memory",
        libc::SIGTERM => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}
