//! Controllers in version 2: who has them, and how groups share what one of them has switched on.
//!
//! A group has a controller only while the one above gives it to all below (`cgroup.subtree_control`), and a system
//! gives only what its own services use. So whoever makes a group switches on there what is missing. Others come and
//! rely on it, and when it is switched off their limits are gone without a word: it is switched off by the last. Who
//! that is can be seen by all, and also after anybody was killed, since a group's *name* says for which controllers it
//! needs the one above to be switched on: `windtunnel-…+cpu+io`. What was on before any of ours came is in no name, and
//! stays on.
//!
//! Looking at the names and changing what they are about is done under a lock of the directory above (flock(2)).

use super::group::refused;
use super::layout::{Controller, Hierarchy, Version};
use super::remove::write;
use crate::error::{Error, Result};
use crate::step::reached;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How all groups of ours are called at the beginning.
pub(super) const PREFIX: &str = "windtunnel-";
/// What it stands before in a group's name: no other part of it has one.
const MARK: char = '+';
/// What is given to the groups below.
const GIVEN: &str = "cgroup.subtree_control";
/// How long to wait for a lock. Who has it holds it for some writes into the kernel's files; who was stopped meanwhile
/// may not hold up everybody else, and least of all those who undo what it has done.
const LOCKED_WITHIN: Duration = Duration::from_secs(1);

/// Whether this group has a controller. Each group but the root can be frozen.
pub(super) fn has(directory: &Path, controller: Controller) -> bool {
    controller == Controller::Freezer
        || names(directory, "cgroup.controllers").iter().any(|name| name == of(controller))
}

fn of(controller: Controller) -> &'static str {
    controller.name(Version::Two)
}

fn names(directory: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// What has to be given to a group, of these controllers.
pub(super) fn wanted(controllers: &[Controller]) -> Vec<&'static str> {
    controllers.iter().filter(|one| **one != Controller::Freezer).map(|one| of(*one)).collect()
}

/// Below which groups a new one may get these controllers, best first: the process's own, and those above it.
///
/// A group that has members gives no controllers to those below it ("no internal processes"), except the root. So a
/// process in a leaf, as all are in a tidy system, makes its groups beside itself.
///
/// # Errors
/// All of them have members.
pub(super) fn places(hierarchy: &Hierarchy, wanted: &[&str]) -> Result<Vec<PathBuf>> {
    if wanted.is_empty() {
        return Ok(vec![hierarchy.own.clone()]);
    }
    let above = hierarchy.own.ancestors().take_while(|directory| directory.starts_with(&hierarchy.mount));
    // Only the root of all has no type.
    let is_leaf =
        |directory: &Path| directory.join("cgroup.type").exists() && !names(directory, "cgroup.procs").is_empty();
    let places: Vec<PathBuf> = above.filter(|directory| !is_leaf(directory)).map(Path::to_owned).collect();
    if places.is_empty() {
        return Err(Error::lacking(
            format!("have the controllers {} for a group", wanted.join(" ")),
            format!(
                "{} and all groups above it have members, and so give none to groups below",
                hierarchy.own.display()
            ),
            "move the members into a group below it",
        ));
    }
    Ok(places)
}

/// A directory of groups, while nobody else makes or removes one of ours in it.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    /// None: it could not be locked. Then it is still unlikely that two want the same at the same time.
    _lock: Option<OwnedFd>,
}

impl Place {
    pub(super) fn lock(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), _lock: locked(directory) }
    }

    /// Of these controllers, those that are not given here but for groups of ours.
    pub(super) fn lent(&self, wanted: &[&'static str]) -> Vec<&'static str> {
        let (given, needed) = (names(&self.directory, GIVEN), self.needed(None));
        let is_lent = |name: &&str| !given.iter().any(|given| given == name) || needed.iter().any(|need| need == name);
        wanted.iter().copied().filter(is_lent).collect()
    }

    /// What groups of ours need here, but for that one.
    fn needed(&self, other_than: Option<&Path>) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let groups = entries.flatten().map(|entry| entry.path()).filter(|path| Some(path.as_path()) != other_than);
        groups.flat_map(|group| marks(&group)).collect()
    }

    /// Switches off what nobody here needs any more when this group is gone.
    fn take_back(&self, group: &Path) -> io::Result<()> {
        let (given, needed) = (names(&self.directory, GIVEN), self.needed(Some(group)));
        for name in marks(group) {
            if given.contains(&name) && !needed.contains(&name) {
                match write(&self.directory, GIVEN, &format!("-{name}")) {
                    // A group of somebody else's gives it on.
                    Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {}
                    done => done?,
                }
                reached("a controller is switched off");
            }
        }
        Ok(())
    }
}

/// Gives these controllers to the groups below, and looks whether they have been given.
///
/// # Errors
/// This user may not, or there are none to be had here.
pub(super) fn give(directory: &Path, controllers: &[&str]) -> Result<()> {
    let what = || format!("give {} to the groups below {}", controllers.join(" "), directory.display());
    for name in controllers {
        write(directory, GIVEN, &format!("+{name}")).map_err(|error| refused(what(), error))?;
        reached("a controller is switched on");
    }
    let given = names(directory, GIVEN);
    if controllers.iter().any(|name| !given.iter().any(|given| given == name)) {
        return Err(Error::unlike(what(), controllers.join(" "), given.join(" ")));
    }
    Ok(())
}

/// Takes a group away that has no members and nothing below it, with what was switched on for it.
pub(super) fn remove(group: &Path) -> io::Result<()> {
    let place = (!marks(group).is_empty()).then(|| group.parent()).flatten().map(Place::lock);
    if let Some(place) = &place {
        // What it gives itself cannot be taken from it.
        for name in names(group, GIVEN) {
            write(group, GIVEN, &format!("-{name}"))?;
        }
        place.take_back(group)?;
    }
    Ok(rustix::fs::rmdir(group)?)
}

/// How a group is called that needs these from the one above.
pub(super) fn marked(name: &str, controllers: &[&str]) -> String {
    controllers.iter().fold(name.to_owned(), |name, controller| format!("{name}{MARK}{controller}"))
}

/// What a group needs from the one above, if it is one of ours.
fn marks(group: &Path) -> Vec<String> {
    let name = group.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    // In version 1 the same name has no meaning.
    if !name.starts_with(PREFIX) || !group.join(GIVEN).exists() {
        return Vec::new();
    }
    name.split(MARK).skip(1).map(str::to_owned).collect()
}

fn locked(directory: &Path) -> Option<OwnedFd> {
    let file = open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let deadline = Instant::now() + LOCKED_WITHIN;
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() > deadline {
            return None;
        }
        sleep(Duration::from_millis(1));
    }
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_lent() {
        let place = tempfile::tempdir().expect("a directory");
        let group = |name: &str| {
            let group = place.path().join(name);
            fs::create_dir(&group).expect("a directory");
            fs::write(group.join(GIVEN), "").expect("a file");
            group
        };
        assert_eq!(marked("windtunnel-1-2-3-4-kv", &[]), "windtunnel-1-2-3-4-kv");
        let one = group(&marked("windtunnel-1-2-3-4-kv", &["cpu", "io"]));
        assert_eq!(marks(&one), ["cpu", "io"]);
        assert!(marks(&group("foreign+cpu")).is_empty());

        fs::write(place.path().join(GIVEN), "cpu io memory\n").expect("a file");
        let here = Place::lock(place.path());
        // `memory` was on before any of ours, `pids` is still off.
        assert_eq!(here.lent(&["cpu", "io", "memory", "pids"]), ["cpu", "io", "pids"]);
        assert_eq!(here.needed(None), ["cpu", "io"]);
        assert!(here.needed(Some(&one)).is_empty());
    }

    #[test]
    fn who_cannot_have_the_lock_goes_on_without() {
        let place = tempfile::tempdir().expect("a directory");
        let first = Place::lock(place.path());
        assert!(first._lock.is_some());
        assert!(Place::lock(place.path())._lock.is_none());
        drop(first);
        assert!(Place::lock(place.path())._lock.is_some());
    }
}
