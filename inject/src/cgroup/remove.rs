//! Removing a cgroup, whoever is in it.

use super::lend;
use crate::journal::{Members, Outcome};
use crate::step::reached;
use crate::target::Process;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long members may take to end or leave. A process in uninterruptible sleep ends after its input or output.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Removes these directories, which are one group in several hierarchies, after their members have left.
pub(crate) fn undo(directories: &[PathBuf], members: &Members) -> Outcome {
    let there: Vec<&PathBuf> = directories.iter().filter(|directory| directory.is_dir()).collect();
    if there.is_empty() {
        return Outcome::TargetGone;
    }
    let deadline = Instant::now() + LEAVE_WITHIN;
    loop {
        for directory in &there {
            empty(directory, members, directories);
        }
        reached("a group's members are sent away");
        // rmdir(2) answers EBUSY as long as somebody is in it, be it on its way out.
        let errors: Vec<io::Error> = there.iter().filter_map(|directory| remove(directory).err()).collect();
        match errors.into_iter().next() {
            None => return Outcome::Recovered,
            Some(error) if Instant::now() > deadline => {
                return Outcome::failed(format!("remove {}: {error}", there[0].display()));
            }
            Some(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Sees to it that the members of a group and of those below it leave.
pub(super) fn empty(directory: &Path, members: &Members, directories: &[PathBuf]) {
    // A process that is frozen in v1 does not even die.
    let _ = write(directory, "freezer.state", "THAWED");
    reached("a group is thawed");
    match members {
        Members::Kill => {
            let _ = write(directory, "cgroup.kill", "1");
            every(directory, &mut |directory| kill_members(directory));
        }
        Members::MoveTo(back) => {
            let _ = write(directory, "cgroup.freeze", "0");
            let back = directories.iter().zip(back).find(|(of, _)| *of == directory).map(|(_, back)| back);
            let Some(back) = back else { return };
            every(directory, &mut |directory| {
                for pid in members_of(directory) {
                    let _ = write(back, "cgroup.procs", &pid.to_string());
                    reached("a group's member is sent back");
                }
            });
        }
    }
}

/// Kills who is in this directory, but nobody who has a member's number since.
fn kill_members(directory: &Path) {
    for pid in members_of(directory) {
        let Ok(process) = Process::open(pid) else { continue };
        if members_of(directory).contains(&pid) {
            let _ = process.kill();
        }
    }
}

/// The processes in this group, not in those below it; none, if the kernel does not say.
pub(super) fn members_of(directory: &Path) -> Vec<u32> {
    read_members(directory).unwrap_or_default()
}

/// The processes in this group, not in those below it.
pub(crate) fn read_members(directory: &Path) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(directory.join("cgroup.procs"))?;
    // 0: a process that this PID namespace has no number for.
    Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|&pid| pid != 0).collect())
}

/// Calls this with each group below, and at last with this one.
fn every(directory: &Path, action: &mut dyn FnMut(&Path)) {
    for below in children(directory) {
        every(&below, action);
    }
    action(directory);
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

/// Removes a group and those below it. One that is gone is no error.
fn remove(directory: &Path) -> io::Result<()> {
    for below in children(directory) {
        remove(&below)?;
    }
    match lend::remove(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => {
            reached("a group's directory is removed");
            Ok(())
        }
    }
}

/// Writes a value into a file of a group.
pub(super) fn write(directory: &Path, file: &str, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    // Without O_CREAT: in a cgroup no file can be made, and where the group has no such file it lacks the ability.
    fs::OpenOptions::new().write(true).open(directory.join(file))?.write_all(text.as_bytes())
}
