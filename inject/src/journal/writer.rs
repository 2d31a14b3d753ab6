//! The journal of one process, as faults use it.

use super::directory::{Directory, default_path};
use super::file::Line;
use super::undo::{Outcome, Undo};
use crate::error::{Error, Result};
use crate::guardian::Guardian;
use crate::lock::lock;
use crate::process::identity::Identity;
use crate::process::proc;
use crate::recover::Undone;
use crate::step::reached;
use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a journal is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// In which directory.
    pub directory: PathBuf,
    /// How long the process may stand still, stopped by a signal, before its guardian undoes everything. `None`: as
    /// long as it likes. A process under a debugger does not count as stopped.
    pub stopped_max: Option<Duration>,
}

impl Default for Settings {
    /// In [this user's directory](default_path), and ten seconds.
    fn default() -> Self {
        Self { directory: default_path(), stopped_max: Some(Duration::from_secs(10)) }
    }
}

/// The journal of this process. Clones are the same journal; when the last one and all [changes](Change) are gone,
/// whatever is left is undone, the file is removed, and the guardian ends.
///
/// It belongs to the process that opened it: in a child that was forked it refuses, and undoes nothing.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    /// None of a world, whose changes end with it.
    directory: Option<Directory>,
    holder: Identity,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    opened: Option<Opened>,
    outstanding: BTreeMap<u64, Undo>,
    last: u64,
}

/// Made before the first change.
#[derive(Debug)]
struct Opened {
    name: String,
    file: File,
    guardian: Guardian,
}

impl Journal {
    /// A journal for this process, in this user's directory.
    ///
    /// # Errors
    /// The directory cannot be made, or somebody else can write in it.
    pub fn open() -> Result<Self> {
        Self::open_with(Settings::default())
    }

    /// A journal for this process. Its file and its guardian come with the first change.
    ///
    /// # Errors
    /// The directory cannot be made, or somebody else can write in it.
    pub fn open_with(settings: Settings) -> Result<Self> {
        let directory = Directory::open(&settings.directory)?;
        let holder = Identity::of(std::process::id())?;
        Ok(Self(Arc::new(Inner { settings, directory: Some(directory), holder, state: Mutex::default() })))
    }

    /// A journal for what ends with this process in any case: limits of processes in a PID namespace that ends with it,
    /// groups below one that another journal has written down. Nothing is written, and nobody guards.
    ///
    /// # Errors
    /// `/proc` does not say who this process is.
    pub fn of_world() -> Result<Self> {
        let holder = Identity::of(std::process::id())?;
        Ok(Self(Arc::new(Inner { settings: Settings::default(), directory: None, holder, state: Mutex::default() })))
    }

    /// Makes the file and starts the guardian now, and not with the first change, which is quicker then.
    ///
    /// # Errors
    /// The file cannot be written, or no process can be made.
    pub fn prepare(&self) -> Result<()> {
        self.0.ensure_open(&mut self.0.lock())
    }

    /// Makes a change that `undo` undoes: writes that down, syncs it, and only then calls `change`. If that fails, what
    /// it did half is undone.
    ///
    /// # Errors
    /// It cannot be written down, so nothing was done; or `change` failed.
    pub fn change<T>(&self, undo: Undo, change: impl FnOnce() -> Result<T>) -> Result<(T, Change)> {
        let id = self.0.write_down(undo)?;
        reached("written down");
        let mut made = Change { journal: self.0.clone(), id: Some(id) };
        match change() {
            Ok(value) => {
                reached("changed");
                Ok((value, made))
            }
            Err(error) => {
                // What is still there stays written down, for the guardian.
                let _ = made.undo();
                Err(error)
            }
        }
    }

    /// The guardian's process id, once there is one.
    pub fn guardian(&self) -> Option<u32> {
        self.0.lock().opened.as_ref().map(|opened| opened.guardian.pid())
    }

    /// Undoes what is not undone yet, newest first, and tells what came of it. What failed stays written down.
    pub fn undo_all(&self) -> Vec<Undone> {
        self.0.undo_all()
    }

    /// Who keeps it.
    pub fn holder(&self) -> Identity {
        self.0.holder
    }
}

/// A change that was made, and is undone when dropped.
#[derive(Debug)]
#[must_use = "it is undone when dropped"]
pub struct Change {
    journal: Arc<Inner>,
    /// Its number in the journal, until it is undone.
    id: Option<u64>,
}

impl Change {
    /// Undoes it, and says what came of it. Undoing it again does nothing more.
    ///
    /// # Errors
    /// It is still there.
    pub fn undo(&mut self) -> Result<Outcome> {
        let Some(id) = self.id else { return Ok(Outcome::Recovered) };
        reached("to be undone");
        match self.journal.undo(id)? {
            Outcome::Failed { reason } => Err(Error::os("undo a fault", std::io::Error::other(reason))),
            outcome => {
                self.id = None;
                Ok(outcome)
            }
        }
    }

    /// Whether it has been undone.
    pub fn is_undone(&self) -> bool {
        self.id.is_none()
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        // Nobody is there to tell; what fails stays written down.
        let _ = self.undo();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Whether this is the process that opened it, and not a child that was forked from it.
    fn is_ours(&self) -> bool {
        std::process::id() == self.holder.pid
    }

    fn write_down(&self, undo: Undo) -> Result<u64> {
        reached("to be written down");
        let mut state = self.lock();
        self.ensure_open(&mut state)?;
        let id = state.last + 1;
        // A world's is not written.
        if let Some(opened) = &mut state.opened {
            write(&mut opened.file, &Line::Change { id, undo: undo.clone() })?;
        }
        state.last = id;
        state.outstanding.insert(id, undo);
        Ok(id)
    }

    /// Makes the file, if there is none yet, and a guardian, if there is none that lives.
    fn ensure_open(&self, state: &mut State) -> Result<()> {
        if !self.is_ours() {
            let missing = format!("this journal is process {}'s", self.holder.pid);
            return Err(Error::lacking("write into the journal", missing, "open one in this process"));
        }
        if state.opened.as_ref().is_some_and(|opened| opened.guardian.is_alive()) {
            return Ok(());
        }
        let Some(directory) = &self.directory else { return Ok(()) };
        // First who guards: it removes a file also of a process that died while making it.
        match state.opened.take() {
            Some(Opened { name, file, .. }) => {
                let guardian = Guardian::start(directory, &name, self.settings.stopped_max)?;
                state.opened = Some(Opened { name, file, guardian });
            }
            None => {
                let name = self.new_name();
                let guardian = Guardian::start(directory, &name, self.settings.stopped_max)?;
                reached("guarded");
                match self.create(directory, &name) {
                    Ok(file) => state.opened = Some(Opened { name, file, guardian }),
                    Err(error) => {
                        guardian.dismiss();
                        return Err(error);
                    }
                }
            }
        }
        reached("journal made");
        Ok(())
    }

    /// A name for this process's journal that no other has.
    fn new_name(&self) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}.journal", self.holder.name())
    }

    /// Makes the file under a passing name, so that it has a holder and says so before anybody can find it.
    fn create(&self, directory: &Directory, name: &str) -> Result<File> {
        let passing = passing(name);
        let boot_id = proc::boot_id()?;
        let make = || -> Result<File> {
            let what = || format!("make a journal in {}", directory.path().display());
            let os = |error| Error::os(what(), error);
            let mut file = directory.file(&passing, OFlags::CREATE | OFlags::EXCL).map_err(os)?;
            reached("journal has a passing name");
            // A POSIX lock: it is this process's alone, forks do not inherit it, and it goes when the process does. It
            // also goes when the process closes any descriptor of this file, so nobody here opens it again.
            fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| os(error.into()))?;
            write(&mut file, &Line::Opened { boot_id, holder: self.holder })?;
            reached("journal written");
            directory.rename(&passing, name).map_err(os)?;
            Ok(file)
        };
        let made = make();
        if made.is_err() {
            let _ = directory.remove(&passing);
        }
        made
    }

    fn undo(&self, id: u64) -> Result<Outcome> {
        if !self.is_ours() {
            return Ok(Outcome::Recovered); // by its owner, when the time comes
        }
        let mut state = self.lock();
        let Some(undo) = state.outstanding.get(&id).cloned() else { return Ok(Outcome::Recovered) };
        let mut later = state.outstanding.range(id + 1..);
        let inherited = later.find_map(|(&heir, later)| Some((heir, later.inherit(&undo)?)));
        let outcome = if let Some((heir, inherited)) = inherited {
            if let Some(opened) = &mut state.opened {
                write(&mut opened.file, &Line::Change { id: heir, undo: inherited.clone() })?;
            }
            state.outstanding.insert(heir, inherited);
            Outcome::Inherited
        } else {
            undo.undo()
        };
        reached("undone");
        if outcome.is_final() {
            state.outstanding.remove(&id);
        }
        if let Some(opened) = &mut state.opened {
            // Not synced, and no harm if it is not written: undoing twice is undoing once.
            let _ = Line::Done { id, outcome: outcome.clone() }.append(&mut opened.file);
        }
        drop(state);
        reached("struck out");
        Ok(outcome)
    }

    fn undo_all(&self) -> Vec<Undone> {
        let ids: Vec<u64> = self.lock().outstanding.keys().rev().copied().collect();
        let one = |id| {
            let undo = self.lock().outstanding.get(&id).cloned()?;
            let outcome = self.undo(id).unwrap_or_else(Outcome::failed);
            Some(Undone { undo, outcome })
        };
        ids.into_iter().filter_map(one).collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        self.undo_all();
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(opened) = state.opened.take() else { return };
        // What could not be undone is tried again by the guardian when this process ends.
        if state.outstanding.is_empty() {
            if let Some(directory) = &self.directory {
                let _ = directory.remove(&opened.name);
            }
            reached("journal removed");
            opened.guardian.dismiss();
        }
    }
}

/// What a journal is called until it says whose it is.
pub(crate) fn passing(name: &str) -> String {
    format!(".{name}")
}

/// Writes a line and waits until it is on disk.
fn write(file: &mut File, line: &Line) -> Result<()> {
    let written = line.append(file).and_then(|()| file.sync_data());
    written.map_err(|error| Error::os("write into the journal", error))
}
