//! Trying something in a process of its own, and what came of it.

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{Forked, end_now, fork, wait};
use crate::target::Process;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// How long anything may take: a hundred times as long as on a machine with nothing else to do.
const WITHIN: Duration = Duration::from_secs(20);

/// What came of trying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It was done.
    Works {
        /// By what.
        how: String,
    },
    /// This machine, or this user, lacks something.
    Lacking {
        /// What.
        missing: String,
        /// What would help.
        remedy: String,
    },
}

impl Verdict {
    /// Whether it was done.
    pub fn works(&self) -> bool {
        matches!(self, Self::Works { .. })
    }

    /// What an error says. `remedy` is for errors that name none.
    fn of(error: Error, remedy: &str) -> Self {
        match error.kind {
            ErrorKind::Lacking { missing, remedy } => Self::Lacking { missing, remedy },
            _ => Self::Lacking { missing: error.to_string(), remedy: remedy.to_owned() },
        }
    }
}

/// Where a trial says what came of it, from whichever process.
pub(super) struct Teller<'a> {
    pipe: OwnedFd,
    remedy: &'a str,
}

impl Teller<'_> {
    /// Only what is told first counts.
    pub(super) fn tell(&self, outcome: Result<String>) {
        let verdict = match outcome {
            Ok(how) => Verdict::Works { how },
            Err(error) => Verdict::of(error, self.remedy),
        };
        // A line, to tell one from the next. It fits into the pipe: if nobody reads, nobody wants to know.
        if let Ok(text) = serde_json::to_string(&verdict) {
            let _ = rustix::io::write(&self.pipe, format!("{text}\n").as_bytes());
        }
    }
}

/// Tries this in a process of its own, which ends when it has been tried or takes too long. `remedy` is said when what
/// went wrong does not say itself what would help.
pub(super) fn attempt(remedy: &str, trial: impl FnOnce() -> Result<String>) -> Verdict {
    attempt_telling(remedy, |teller| {
        teller.tell(trial());
        Ok(())
    })
}

/// As [`attempt`], for what is tried in processes further down.
pub(super) fn attempt_telling(remedy: &str, trial: impl FnOnce(&Teller<'_>) -> Result<()>) -> Verdict {
    run(remedy, trial).unwrap_or_else(|error| Verdict::of(error, remedy))
}

fn run(remedy: &str, trial: impl FnOnce(&Teller<'_>) -> Result<()>) -> Result<Verdict> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|error| Error::os("make a pipe", error));
    let ((told, pipe), (noise, noise_pipe)) = (pipe()?, pipe()?);
    match fork().map_err(|error| Error::os("make a process", error))? {
        Forked::Child => {
            // What is written besides is not for the user's terminal.
            let _ = rustix::stdio::dup2_stdout(&noise_pipe);
            let _ = rustix::stdio::dup2_stderr(&noise_pipe);
            let teller = Teller { pipe, remedy };
            match catch_unwind(AssertUnwindSafe(|| trial(&teller))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => teller.tell(Err(error)),
                Err(panic) => {
                    let message =
                        panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(|it| &**it));
                    teller
                        .tell(Err(Error::os("try it", std::io::Error::other(message.unwrap_or("a panic").to_owned()))));
                }
            }
            end_now(0)
        }
        Forked::Parent(pid) => {
            drop((pipe, noise_pipe));
            let child = Process::open(pid)?;
            let in_time = child.ends_within(WITHIN);
            if !in_time {
                child.kill()?;
            }
            wait(pid).map_err(|error| Error::os("wait for a child", error))?;
            let (told, noise) = (text(told), text(noise));
            let first = told.lines().next().and_then(|line| serde_json::from_str(line).ok());
            let missing = match (in_time, noise.lines().find(|line| !line.trim().is_empty())) {
                (false, _) => format!("it was not done within {} s", WITHIN.as_secs()),
                (true, Some(line)) => line.to_owned(),
                (true, None) => "the process that tried it ended without a word".to_owned(),
            };
            Ok(first.unwrap_or(Verdict::Lacking { missing, remedy: remedy.to_owned() }))
        }
    }
}

/// What stands in a pipe: whoever might write more to it does not matter any more.
fn text(pipe: OwnedFd) -> String {
    let mut bytes = Vec::new();
    // Ends with an error if somebody still has the other end.
    let _ = File::from(pipe).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking(verdict: Verdict) -> (String, String) {
        match verdict {
            Verdict::Lacking { missing, remedy } => (missing, remedy),
            Verdict::Works { how } => panic!("it works: {how}"),
        }
    }

    #[test]
    fn what_is_told_first_counts() {
        let verdict = attempt_telling("", |teller| {
            teller.tell(Ok("at once".to_owned()));
            teller.tell(Err(Error::gone("be there")));
            Ok(())
        });
        assert_eq!(verdict, Verdict::Works { how: "at once".to_owned() });
    }

    #[test]
    fn an_error_without_a_remedy_is_given_one() {
        let denied = || Error::os("open it", rustix::io::Errno::ACCESS);
        let (missing, remedy) = lacking(attempt("run as root", || Err(denied())));
        assert!(missing.starts_with("failed to open it: "), "{missing}");
        assert_eq!(remedy, "run as root");
        let (missing, remedy) = lacking(attempt("run as root", || Err(Error::lacking("open it", "a key", "buy one"))));
        assert_eq!((missing.as_str(), remedy.as_str()), ("a key", "buy one"));
    }

    #[test]
    fn a_panic_is_a_reason() {
        let (missing, _) = lacking(attempt("", || panic!("at the disco")));
        assert_eq!(missing, "failed to try it: at the disco");
    }
}
