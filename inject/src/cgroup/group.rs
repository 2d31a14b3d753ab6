//! One group, in all hierarchies.

use super::layout::{Controller, Hierarchy, Layout, Version};
use super::lend::{self, PREFIX, Place};
use super::remove;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Change, Journal, Members, Restore, Undo};
use crate::process::proc;
use crate::step::reached;
use crate::target::{Process, Target};
use rustix::io::Errno;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What an unprivileged user can do about not being allowed to have groups.
const REMEDY: &str = "run as root, or in a group that is delegated to this user (systemd-run --user --scope -p \
                      Delegate=yes …)";

/// Puts the calling process, and what it starts from now on, into groups, by their directories.
///
/// # Errors
/// One of them is gone, or this user may not.
pub fn join(directories: &[PathBuf]) -> Result<()> {
    for directory in directories {
        reached("a group is to be joined");
        // 0 is whoever writes (cgroups(7)).
        std::fs::write(directory.join("cgroup.procs"), "0")
            .map_err(|error| Error::os(format!("join {}", directory.display()), error))?;
        reached("a group is joined");
    }
    Ok(())
}

/// A group of processes that limits can be set for: of our own making, or somebody else's.
///
/// One of our own ends with this value, and its members with it.
#[derive(Debug)]
pub struct Group {
    journal: Journal,
    /// A directory for each hierarchy that it is in.
    directories: Vec<(Version, PathBuf)>,
    layout: Layout,
    /// Where in it its own members are, if it has others below it.
    inside: Option<PathBuf>,
    /// None of one that was there already.
    made: Option<Change>,
}

/// What a new group is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Processes.
    Members,
    /// Groups that its members make.
    Groups,
}

impl Group {
    /// Makes a group below the caller's own, in every hierarchy that is mounted. When it is removed, or the caller
    /// ends, its members are killed.
    ///
    /// The directory is called `windtunnel-PID-START-NAMESPACE-N-NAME`, which is nobody else's, and for which
    /// controllers of version 2 it needs the group above: `+cpu+io`.
    ///
    /// # Errors
    /// This user may not make groups, or nothing is mounted: what is lacking, and the remedy.
    pub fn make(journal: &Journal, name: &str) -> Result<Self> {
        let layout = Layout::of(std::process::id())?;
        Self::make_in(journal, layout, name, Holds::Members, |_| Members::Kill)
    }

    /// As [`make`](Self::make), with room for groups that its members make: these are in it, and end with it. Who is to
    /// be a member joins its [entrances](Self::entrances).
    ///
    /// # Errors
    /// As `make`.
    pub fn make_for_groups(journal: &Journal, name: &str) -> Result<Self> {
        let layout = Layout::of(std::process::id())?;
        Self::make_in(journal, layout, name, Holds::Groups, |_| Members::Kill)
    }

    /// Makes a group around a process of somebody else's and all that descend from it, below where they are now. When
    /// it is removed they go back, and whoever came after them with them.
    ///
    /// # Errors
    /// As [`make`](Self::make); the process has ended.
    pub fn around(journal: &Journal, process: &Process) -> Result<Self> {
        process.identity()?;
        let layout = Layout::of(process.pid)?;
        let group = Self::make_in(journal, layout, "around", Holds::Members, Members::MoveTo)?;
        for pid in proc::tree(process.pid) {
            match group.add(pid) {
                Err(Error { kind: ErrorKind::TargetGone, .. }) if pid != process.pid => {}
                added => added?,
            }
        }
        Ok(group)
    }

    /// The group that is there already, by its directory in one of its hierarchies. It is not removed.
    ///
    /// # Errors
    /// The directory is no group.
    pub fn existing(journal: &Journal, directory: &Path) -> Result<Self> {
        Self::existing_in(journal, Layout::of(std::process::id())?, directory)
    }

    /// As [`existing`](Self::existing), where the hierarchies are known.
    ///
    /// # Errors
    /// The directory is no group.
    pub fn existing_in(journal: &Journal, layout: Layout, directory: &Path) -> Result<Self> {
        let missing = || Error::gone(format!("find the group {}", directory.display()));
        if !directory.join("cgroup.procs").is_file() {
            return Err(missing());
        }
        let mounted = |hierarchy: &&Hierarchy| directory.starts_with(&hierarchy.mount);
        let longest = |hierarchy: &&Hierarchy| hierarchy.mount.as_os_str().len();
        let from = layout.hierarchies.iter().filter(mounted).max_by_key(longest).ok_or_else(missing)?;
        let mut directories = vec![(from.version, directory.to_owned())];
        for controller in Controller::ALL {
            let Some(hierarchy) = layout.controlling(controller) else { continue };
            let Some(found) = layout.sibling(directory, controller) else { continue };
            if !directories.iter().any(|(_, known)| *known == found) {
                directories.push((hierarchy.version, found));
            }
        }
        Ok(Self { journal: journal.clone(), directories, layout, inside: None, made: None })
    }

    /// The group of a target: one [around](Self::around) a process, the one that a directory names.
    ///
    /// # Errors
    /// As these; or the target is a namespace, which no group corresponds to.
    pub fn of(journal: &Journal, target: &Target) -> Result<Self> {
        match target {
            Target::Process(process) => Self::around(journal, process),
            Target::Cgroup(directory) => Self::existing(journal, directory),
            Target::Namespace(_) => Err(Error::lacking(
                "find the group of a namespace",
                "processes of one namespace may be in many groups",
                "name a process or a cgroup",
            )),
        }
    }

    /// Strikes a target by its group, where it can have one: the group of a cgroup, one [around](Self::around) a
    /// process. Where it cannot, strikes the process itself. The group around it is what keeps it there.
    ///
    /// # Errors
    /// As [`of`](Self::of), and of striking.
    pub(crate) fn strike<T>(
        journal: &Journal,
        target: &Target,
        by_group: impl FnOnce(&Self) -> Result<T>,
        by_process: impl FnOnce(&Process) -> Result<T>,
    ) -> Result<(T, Option<Self>)> {
        let Target::Process(process) = target else {
            return Ok((by_group(&Self::of(journal, target)?)?, None));
        };
        let around = Self::around(journal, process).and_then(|group| Ok((by_group(&group)?, Some(group))));
        match around {
            Err(Error { kind: ErrorKind::Lacking { .. }, .. }) => Ok((by_process(process)?, None)),
            done => done,
        }
    }

    fn make_in(
        journal: &Journal,
        layout: Layout,
        name: &str,
        holds: Holds,
        // Of the groups that the process is in, in the same order as the new ones.
        members: impl FnOnce(Vec<PathBuf>) -> Members,
    ) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{name}", journal.holder().name());
        let used = |hierarchy: &Hierarchy| -> Vec<Controller> {
            Controller::ALL.into_iter().filter(|one| layout.controlling(*one) == Some(hierarchy)).collect()
        };
        // Only what faults use: a hierarchy for systemd's own purposes is left alone.
        let is_used = |hierarchy: &&Hierarchy| hierarchy.version == Version::Two || !used(hierarchy).is_empty();
        let hierarchies: Vec<&Hierarchy> = layout.hierarchies.iter().filter(is_used).collect();
        if hierarchies.is_empty() {
            return Err(Error::lacking("make a control group", "no cgroup file system is mounted", "mount one"));
        }
        let members = members(hierarchies.iter().map(|hierarchy| hierarchy.own.clone()).collect());
        let make = |place: Option<&Path>, wanted: &[&'static str]| {
            let locked = place.map(Place::lock);
            let lent = locked.as_ref().map(|place| place.lent(wanted)).unwrap_or_default();
            let name = lend::marked(&name, &lent);
            let parent = |hierarchy: &Hierarchy| match hierarchy.version {
                Version::One => hierarchy.own.clone(),
                Version::Two => place.unwrap_or(&hierarchy.own).to_owned(),
            };
            let directories: Vec<(Version, PathBuf)> =
                hierarchies.iter().map(|hierarchy| (hierarchy.version, parent(hierarchy).join(&name))).collect();
            let two = directories.iter().find(|(version, _)| *version == Version::Two).map(|(_, directory)| directory);
            let inside = two.filter(|_| holds == Holds::Groups).map(|directory| directory.join("members"));
            let undo = Undo::RemoveGroup {
                directories: directories.iter().map(|(_, directory)| directory.clone()).collect(),
                members: members.clone(),
            };
            let ((), change) = journal.change(undo, || {
                // Not longer: undoing it takes the lock as well.
                let _locked = locked;
                directories.iter().try_for_each(|(_, directory)| make_directory(directory))?;
                place.map_or(Ok(()), |place| lend::give(place, &lent))?;
                if let (Some(two), Some(inside)) = (two, &inside) {
                    lend::give(two, wanted)?;
                    make_directory(inside)?;
                }
                Ok(())
            })?;
            Ok((directories, inside, change))
        };
        let made = match layout.two() {
            None => make(None, &[]),
            Some(two) => {
                let wanted = lend::wanted(&used(two));
                let mut made = Err(Error::gone("find a place for a group"));
                for place in lend::places(two, &wanted)? {
                    made = make(Some(&place), &wanted);
                    if made.is_ok() {
                        break;
                    }
                }
                made
            }
        };
        let (directories, inside, change) = made?;
        Ok(Self { journal: journal.clone(), directories, layout, inside, made: Some(change) })
    }

    /// The directory in which this is controlled.
    ///
    /// # Errors
    /// The kernel or whoever set it up does not give this controller to the group.
    pub fn directory(&self, controller: Controller) -> Result<(Version, &Path)> {
        let lacking = || {
            let missing = format!("no hierarchy of control groups has the controller {controller:?} for it");
            Error::lacking("limit a group", missing, "mount it, or delegate it to the group (cgroup.subtree_control)")
        };
        let hierarchy = self.layout.controlling(controller).ok_or_else(lacking)?;
        let in_it = |(version, directory): &&(Version, PathBuf)| {
            *version == hierarchy.version && directory.starts_with(&hierarchy.mount)
        };
        let (version, directory) = self.directories.iter().find(in_it).ok_or_else(lacking)?;
        if *version == Version::Two && !lend::has(directory, controller) {
            return Err(lacking());
        }
        Ok((*version, directory))
    }

    /// All its directories.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.directories.iter().map(|(_, directory)| directory.as_path())
    }

    /// The directories by which processes [join] it.
    pub fn entrances(&self) -> Vec<PathBuf> {
        let entrance = |(version, directory): &(Version, PathBuf)| match (version, &self.inside) {
            (Version::Two, Some(inside)) => inside.clone(),
            _ => directory.clone(),
        };
        self.directories.iter().map(entrance).collect()
    }

    /// As a target for faults.
    pub fn target(&self) -> Target {
        Target::Cgroup(self.directories[0].1.clone())
    }

    /// Who writes down what is done to it.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Moves a process into the group, with all its threads, and whatever it forks from now on.
    ///
    /// # Errors
    /// It has ended, or this user may not move it.
    pub fn add(&self, pid: u32) -> Result<()> {
        for directory in self.entrances() {
            let file = directory.join("cgroup.procs");
            let what = || format!("move process {pid} into {}", directory.display());
            match OpenOptions::new().write(true).open(&file).and_then(|mut file| write!(file, "{pid}")) {
                Ok(()) => reached("a group has one more"),
                Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
                    return Err(Error::gone(what()));
                }
                Err(error) => return Err(refused(what(), error)),
            }
        }
        Ok(())
    }

    /// Its processes, in any of its hierarchies.
    pub fn members(&self) -> Vec<u32> {
        let mut members: Vec<u32> = self.directories().flat_map(remove::members_of).collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// Kills everybody in it, and those below it.
    pub fn kill(&self) {
        let directories: Vec<PathBuf> = self.directories().map(Path::to_owned).collect();
        for directory in &directories {
            remove::empty(directory, &Members::Kill, &directories);
        }
    }

    /// Removes it, if it is ours: its members are killed, or go back where they were.
    ///
    /// # Errors
    /// Somebody stays in it, such as a process in uninterruptible sleep.
    pub fn remove(mut self) -> Result<()> {
        self.take_back()
    }

    fn take_back(&mut self) -> Result<()> {
        if let Some(change) = &mut self.made {
            change.undo()?;
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody is there to tell; what fails stays written down.
        let _ = self.take_back();
    }
}

fn make_directory(directory: &Path) -> Result<()> {
    std::fs::create_dir(directory)
        .map_err(|error| refused(format!("make the group {}", directory.display()), error))?;
    reached("a group's directory is made");
    Ok(())
}

/// EACCES, EPERM, EROFS: the group belongs to somebody else, or is shown read-only as in containers.
pub(super) fn refused(what: String, error: io::Error) -> Error {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
            Error::lacking(what, format!("this user may not change the group it is in ({error})"), REMEDY)
        }
        _ => Error::os(what, error),
    }
}

/// Sets a value until it is undone, and reads it back.
pub(super) fn set(journal: &Journal, restore: Restore, text: &str) -> Result<Change> {
    let what = format!("write {text} into {}", restore.file.display());
    let (now, change) = journal.change(Undo::Restore(restore.clone()), || {
        restore.write(text).map_err(|error| refused(what.clone(), error))?;
        restore.current()
    })?;
    if now == restore.ours { Ok(change) } else { Err(Error::unlike(what, restore.ours, now)) }
}
