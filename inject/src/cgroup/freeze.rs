//! A group that stands still.

use super::group::{Group, set};
use super::layout::{Controller, Version};
use crate::error::{Error, Result};
use crate::injection::Injection;
use crate::journal::{Change, Restore};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long members may take to stop: each does when it leaves the kernel, or at once where it waits interruptibly.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Stops all processes of a group, without a signal that any of them or their parents could see.
///
/// In version 2 they can still be killed. In version 1 they cannot, until they go on; whoever
/// [kills](Group::kill) or removes the group lets them go on first.
#[derive(Debug)]
pub struct Frozen {
    version: Version,
    /// Where it stands whether all have stopped, and what that line says then.
    settled: (PathBuf, &'static str),
    restore: Restore,
    change: Change,
    members: u64,
}

impl Frozen {
    /// Freezes a group, and waits until it stands still.
    ///
    /// # Errors
    /// The kernel or this user cannot, or somebody in it does not stop.
    pub fn apply(group: &Group) -> Result<Self> {
        let (version, directory) = group.directory(Controller::Freezer)?;
        let (file, text, back) = match version {
            Version::One => ("freezer.state", "FROZEN", "THAWED"),
            Version::Two => ("cgroup.freeze", "1", "0"),
        };
        let restore = Restore::remember(&directory.join(file), None, text, "")?;
        if restore.prior != back {
            let found = format!("{} in {}", restore.prior, restore.file.display());
            return Err(Error::unlike("freeze a group", "one that is not frozen yet", found));
        }
        let settled = match version {
            Version::One => (directory.join(file), "FROZEN"),
            Version::Two => (directory.join("cgroup.events"), "frozen 1"),
        };
        let change = set(group.journal(), restore.clone(), text)?;
        let members = group.members().len() as u64;
        let mut frozen = Self { version, settled, restore, change, members };
        let deadline = Instant::now() + STOP_WITHIN;
        while let Err(error) = frozen.read_back() {
            if Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(frozen)
    }
}

/// Whether all of a group have stopped: whether a file has this line.
fn stands_still((file, line): &(PathBuf, &'static str)) -> bool {
    fs::read_to_string(file).unwrap_or_default().lines().any(|found| found == *line)
}

/// Lets a group that was frozen go on and stand still again, for who does that in turn. In whichever state it is left,
/// it goes on once it is healed.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    restore: Restore,
    settled: (PathBuf, &'static str),
}

impl Turns {
    /// All of the group go on. One that is gone has nobody left.
    pub(crate) fn go_on(&self) {
        let _ = self.restore.write(&self.restore.prior_text);
    }

    /// All of the group stop; waits until they have, or for so long.
    pub(crate) fn stop(&self, within: Duration) {
        const LOOK_EVERY: Duration = Duration::from_micros(100);
        let _ = self.restore.write(&self.restore.ours);
        let since = Instant::now();
        while !stands_still(&self.settled) && since.elapsed() < within {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Frozen {
    /// How that is called which does it in turn.
    pub(crate) fn mechanism_in_turn(&self) -> &'static str {
        match self.version {
            Version::One => "cgroup v1 freezer in turn",
            Version::Two => "cgroup v2 freeze in turn",
        }
    }

    /// What it takes to let the group go on and stop in turn.
    pub(crate) fn turns(&self) -> Turns {
        Turns { restore: self.restore.clone(), settled: self.settled.clone() }
    }
}

impl Injection for Frozen {
    fn mechanism(&self) -> &'static str {
        match self.version {
            Version::One => "cgroup v1 freezer",
            Version::Two => "cgroup v2 freeze",
        }
    }

    fn read_back(&mut self) -> Result<()> {
        let unlike = |found| Err(Error::unlike("keep a group frozen", "frozen", found));
        let now = self.restore.current()?;
        if now != self.restore.ours || self.change.is_undone() {
            return unlike(now);
        }
        if stands_still(&self.settled) { Ok(()) } else { unlike("somebody in it still runs".to_owned()) }
    }

    /// Processes that were stopped.
    fn bit(&mut self) -> Result<u64> {
        Ok(self.members)
    }

    fn heal(&mut self) -> Result<()> {
        self.change.undo().map(|_| ())
    }
}
