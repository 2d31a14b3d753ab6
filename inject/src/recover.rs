//! Finishing what dead processes left: what their guardians would have done, had these not died as well.

use crate::error::{Error, Result};
use crate::journal::file::{self, Contents, Line};
use crate::journal::{Directory, Outcome, Undo, default_path};
use crate::lock::lock;
use crate::process::identity::Identity;
use crate::process::proc::{self, Stat};
use crate::step::reached;
use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;

/// What was found, and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Journals of processes that still run, or that somebody is undoing right now: not touched.
    pub in_use: Vec<String>,
    /// What dead processes had left, newest first.
    pub undone: Vec<Undone>,
    /// Journals that cannot be read, and why: somebody has to look.
    pub unreadable: Vec<(String, String)>,
}

/// One change, and what came of undoing it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Undone {
    /// The change.
    pub undo: Undo,
    /// What came of it.
    pub outcome: Outcome,
}

impl Report {
    /// Whether nothing is left for somebody to look at.
    pub fn is_clean(&self) -> bool {
        self.unreadable.is_empty() && self.undone.iter().all(|undone| undone.outcome.is_final())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for Undone { undo, outcome } in &self.undone {
            writeln!(f, "{outcome:?}: {undo:?}")?;
        }
        for (name, why) in &self.unreadable {
            writeln!(f, "cannot read {name}: {why}")?;
        }
        write!(f, "{} undone, {} in use", self.undone.len(), self.in_use.len())
    }
}

/// Undoes what dead processes of this user left in force. Safe at any time: what belongs to a process that still runs
/// is not touched.
///
/// # Errors
/// This user's journals cannot be looked at.
pub fn recover() -> Result<Report> {
    recover_in(&default_path())
}

/// As [`recover`], with the journals of this directory. One that does not exist has none.
///
/// # Errors
/// The directory cannot be looked at, or somebody else can write in it.
pub fn recover_in(path: &Path) -> Result<Report> {
    // A process's own locks do not keep its own threads apart (fcntl_locking(2)).
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = lock(&ONE_AT_A_TIME);
    let mut report = Report::default();
    if !path.exists() {
        return Ok(report);
    }
    let directory = Directory::open(path)?;
    let own = format!("{}-", Identity::of(std::process::id())?.name());
    let names = directory.names().map_err(|error| Error::os(format!("list {}", path.display()), error))?;
    for name in names {
        if name.trim_start_matches('.').starts_with(&own) {
            // Closing any descriptor of it would give up the lock by which others see that this process lives.
            report.in_use.push(name);
        } else if name.ends_with(".journal")
            && let Err(error) = recover_one(&directory, &name, &mut report)
        {
            report.unreadable.push((name, error.to_string()));
        }
    }
    Ok(report)
}

fn recover_one(directory: &Directory, name: &str, report: &mut Report) -> io::Result<()> {
    reached("a journal is to be recovered from");
    let mut file = match directory.file(name, OFlags::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    reached("a journal to recover from is open");
    if fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        report.in_use.push(name.to_owned());
        return Ok(());
    }
    reached("a journal to recover from is locked");
    if Contents::read(&mut file)?.is_some_and(|contents| is_alive(&contents)) {
        report.in_use.push(name.to_owned());
        return Ok(());
    }
    report.undone.extend(finish(directory, name, &mut file)?);
    Ok(())
}

/// Whether the holder runs although it does not hold its lock: it has executed another program.
fn is_alive(contents: &Contents) -> bool {
    let holder = &contents.holder;
    proc::boot_id().is_ok_and(|boot_id| boot_id == contents.boot_id)
        && holder.is_comparable()
        && Stat::of(holder.pid).is_ok_and(|stat| stat.start_ticks == holder.start_ticks && !stat.has_ended())
}

/// Undoes what a dead process left and removes its journal, unless something is left to look at. The caller has it
/// locked.
pub(crate) fn finish(directory: &Directory, name: &str, file: &mut File) -> io::Result<Vec<Undone>> {
    if file.metadata()?.nlink() == 0 {
        return Ok(Vec::new()); // somebody else has finished it
    }
    file::mend(file)?;
    let undone = undo_outstanding(file, |file, id, one| {
        reached("undone for the dead");
        // At once, so that whoever finishes this after us tells what came of each as it was. On a full disk it stands
        // nowhere that this is undone; then it is undone again, which does nothing.
        let _ = Line::Done { id, outcome: one.outcome.clone() }.append(file);
        reached("struck out for the dead");
    })?;
    if undone.iter().all(|undone| undone.outcome.is_final()) {
        reached("the journal of the dead is to be removed");
        directory.remove(name)?;
        reached("the journal of the dead is removed");
    }
    Ok(undone)
}

/// Undoes what stands in a journal and is not undone, newest first, and tells of each at once, with its number there.
pub(crate) fn undo_outstanding(
    file: &mut File,
    mut tell: impl FnMut(&mut File, u64, &Undone),
) -> io::Result<Vec<Undone>> {
    let Some(contents) = Contents::read(file)? else { return Ok(Vec::new()) };
    let is_this_boot = proc::boot_id().is_ok_and(|boot_id| boot_id == contents.boot_id);
    let mut undo = |id: u64, undo: Undo| {
        let is_gone = !is_this_boot && !undo.survives_boot();
        reached("to be undone for the dead");
        let outcome = if is_gone { Outcome::TargetGone } else { undo.undo_for_the_dead() };
        let one = Undone { undo, outcome };
        tell(file, id, &one);
        (id, one)
    };
    let undone: Vec<_> = contents.outstanding.into_iter().rev().map(|(id, change)| undo(id, change)).collect();
    // What failed once more: a process that was stopped while a thread of it was on a detour of ours (`clock`) gets out
    // of that only when it goes on, which may have been undone after its clock.
    let again = |(id, one): (u64, Undone)| if one.outcome.is_final() { one } else { undo(id, one.undo).1 };
    Ok(undone.into_iter().map(again).collect())
}
