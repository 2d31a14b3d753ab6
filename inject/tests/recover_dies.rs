//! Who recovers what dead processes left is killed or stopped at each of its own steps: whoever recovers next finishes
//! it, and what is somebody else's stays.

mod common;
#[path = "common/due.rs"]
mod due;
#[path = "common/foreign.rs"]
mod foreign;
#[path = "common/victim.rs"]
mod victim;
mod victims;

use foreign::Foreign;
use rustix::process::{Pid, Rlimit, Signal, prlimit};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use victim::Picture;
use victims::{Scratch, Victim, holds_within};
use windtunnel_inject::cgroup::{Controller, Frozen, Group, Layout, Limit, Limited};
use windtunnel_inject::clock::ForeignClocks;
use windtunnel_inject::disk::DirectoryFull;
use windtunnel_inject::error::ErrorKind;
use windtunnel_inject::journal::{Journal, Undo};
use windtunnel_inject::process::Paused;
use windtunnel_inject::process::limit::{Lowered, Resource};
use windtunnel_inject::process::proc::{self, Stat};
use windtunnel_inject::recover::recover_in;
use windtunnel_inject::snapshot::{Part, Snapshot};
use windtunnel_inject::step;
use windtunnel_inject::sys::end_now;
use windtunnel_inject::target::Process;
use windtunnel_inject::{Result, Target};

/// For what comes within milliseconds on a machine that has nothing else to do.
const SOON: Duration = Duration::from_secs(10);
/// A journal with everything in it is not undone in fewer steps.
const STEPS_MIN: u32 = 30;

/// What becomes of a process that recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It recovers, and ends with 0 if nothing is left.
    None,
    KilledAt(u32),
    StoppedAt(u32),
}

/// What somebody else has, whom faults struck, and who is struck anew each time.
struct Scene {
    scratch: Scratch,
    foreign: Foreign,
    /// Somebody else's process, and what its memory looks like.
    victim: Victim,
    picture: Picture,
    /// Another one, whose limit somebody changes after us.
    changed: Victim,
    /// Somebody else's control group, if this user may make one.
    group: Option<PathBuf>,
}

/// What is ours, and is to end.
struct Ours {
    member: Victim,
    helper: Victim,
    /// Who has left all this. Its number is part of what its groups are called.
    holder: u32,
}

impl Scene {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        fs::create_dir(scratch.path().join("files")).expect("a directory");
        rustix::mount::mount("somebody", "/mnt", "tmpfs", rustix::mount::MountFlags::empty(), c"size=4096")
            .expect("a mount");
        let (victim, changed) = (Victim::sleeping(), Victim::sleeping());
        let picture = Picture::of(victim.pid());
        let group = make_group().inspect_err(|error| eprintln!("without control groups: {error}")).ok();
        Self { scratch, foreign: Foreign::put_in_place(), victim, picture, changed, group }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join("files").join(name)
    }

    /// A process makes each kind of change and dies, and its guardian with it. Somebody else changes some of it since,
    /// and the last line of the journal was being written.
    fn leave(&self) -> Ours {
        let (member, helper) = (Victim::sleeping(), Victim::sleeping());
        for name in ["ours", "theirs"] {
            fs::write(self.file(name), name).expect("a file");
        }
        let mut holder = Victim::ending(|| {
            let journal = self.scratch.journal();
            self.change_everything(&journal, &member, &helper).expect("all changes");
            let guardian = Process::open(journal.guardian().expect("a guardian")).expect("a guardian");
            guardian.kill().expect("killed");
            assert!(guardian.ends_within(SOON));
            // Who covers a directory would see to that itself.
            for below in proc::tree(std::process::id()).into_iter().skip(1).filter_map(|pid| Process::open(pid).ok()) {
                below.kill().expect("ours");
                assert!(below.ends_within(SOON));
            }
            // Nothing is dropped: as if it were killed here.
            end_now(0)
        });
        let pid = holder.pid();
        assert_eq!(holder.end(), 0);
        // Not before the new one is there is the old one's inode free.
        fs::write(self.file("new"), "somebody's").expect("another file");
        fs::rename(self.file("new"), self.file("theirs")).expect("of the same name");
        set_descriptors(&self.changed, 33);
        let journal = self.scratch.journals().join(&self.scratch.journal_names()[0]);
        let mut torn = fs::File::options().append(true).open(journal).expect("a journal");
        torn.write_all(br#"{"line":"change","id":99,"#).expect("the beginning of a line");
        Ours { member, helper, holder: pid }
    }

    /// Each kind of change that can be undone. They stay in force. Who is paused first and then has a wrong clock can
    /// be without that only once it goes on.
    fn change_everything(&self, journal: &Journal, member: &Victim, helper: &Victim) -> Result<()> {
        for name in ["ours", "theirs"] {
            let found = fs::metadata(self.file(name)).expect("a file");
            keep(journal, Undo::RemoveFile { path: self.file(name), device: found.dev(), inode: found.ino() })?;
        }
        let (victim, changed) = (self.victim.again(), self.changed.again());
        for (process, count) in [(&changed, 9), (&victim, 9), (&victim, 7)] {
            std::mem::forget(Lowered::apply(journal, process, Resource::Descriptors, count)?);
        }
        if let Some(group) = &self.group {
            let existing = Group::existing(journal, group)?;
            std::mem::forget(Limited::apply(&existing, &Limit::Tasks { count: 5 })?);
            let around = Group::around(journal, &victim)?;
            std::mem::forget((Limited::apply(&around, &Limit::Tasks { count: 9 })?, around, existing));
            let group = Group::make(journal, "left")?;
            group.add(member.pid())?;
            std::mem::forget((Frozen::apply(&group)?, group));
        } else {
            keep(journal, Undo::Kill { process: member.again().identity()? })?;
        }
        keep(journal, Undo::Kill { process: helper.again().identity()? })?;
        let target = Target::Process(victim.clone());
        std::mem::forget(DirectoryFull::apply(journal, &target, Path::new("/mnt"))?);
        std::mem::forget(Paused::apply(journal, &victim)?);
        let clocks = ForeignClocks::new(journal, SOON)?;
        clocks.follow(&Target::Process(victim))?;
        match clocks.skew(1_000_000_000, false) {
            Ok(fault) => std::mem::forget(fault),
            Err(error) if matches!(error.kind, ErrorKind::Lacking { .. }) => eprintln!("without a clock: {error}"),
            Err(error) => return Err(error),
        }
        std::mem::forget(clocks);
        Ok(())
    }

    /// A process that recovers.
    fn recoverer(&self, fate: Fate) -> Victim {
        let (directory, told) = (self.scratch.journals(), self.scratch.path().join("report"));
        Victim::ending(move || {
            match fate {
                Fate::None => {}
                Fate::KilledAt(at) => due::at(at, Signal::KILL),
                Fate::StoppedAt(at) => due::at(at, Signal::STOP),
            }
            step::watch(|_| due::comes(due::to_itself));
            let report = recover_in(&directory).expect("a report");
            fs::write(told, report.to_string()).expect("a file");
            i32::from(!report.is_clean())
        })
    }

    /// What the last one that was not killed has found.
    fn report(&self) -> String {
        fs::read_to_string(self.scratch.path().join("report")).unwrap_or_default()
    }

    /// Recovers without being disturbed, and sees that this was enough.
    #[track_caller]
    fn is_recovered(&mut self, at: u32, mut ours: Ours, before: &Seen) {
        assert_eq!(self.recoverer(Fate::None).end(), 0, "step {at}: {}", self.report());
        assert!(self.scratch.journal_names().is_empty(), "step {at}: {:?}", self.scratch.journal_names());
        assert_eq!(ours.member.end(), 128 + 9, "step {at}: who was in a group of ours");
        assert_eq!(ours.helper.end(), 128 + 9, "step {at}: a helper of ours");
        let now = self.seen();
        assert_eq!(now.text, before.text, "step {at}");
        assert_eq!(now.machine.diff(&before.machine), "", "step {at}");
        assert_eq!(self.picture.differs(&Picture::of(self.victim.pid())), [""; 0], "step {at}");
        assert_eq!(groups_of(ours.holder), [""; 0], "step {at}");
        self.foreign.read_back().expect("somebody's table");
        // As it was for the next one.
        set_descriptors(&self.changed, 64);
    }

    /// What is to be the same before and after.
    fn seen(&self) -> Seen {
        let limits = [&self.victim, &self.changed].map(|of| Resource::Descriptors.of(&of.process).expect("a limit").0);
        let state = Stat::of(self.victim.pid()).expect("a victim").state;
        let mut files: Vec<_> = fs::read_dir(self.scratch.path().join("files")).expect("files").flatten().collect();
        files.sort_by_key(fs::DirEntry::file_name);
        let files: Vec<String> = files.iter().map(|file| fs::read_to_string(file.path()).expect("a text")).collect();
        let groups = proc::read(self.victim.pid(), "cgroup").expect("its groups");
        let tasks = self.group.as_ref().map(|group| fs::read_to_string(group.join("pids.max")).expect("a value"));
        let machine = Snapshot::of(&[Part::Nftables, Part::Network, Part::Mounts]);
        let is_stopped = state == 'T';
        Seen { text: format!("{limits:?}, stopped {is_stopped}, {files:?}, {tasks:?}\n{groups}"), machine }
    }

    /// The same, as it is when somebody has changed what he changes.
    fn to_be_seen(&self) -> Seen {
        fs::write(self.file("theirs"), "somebody's").expect("a file");
        set_descriptors(&self.changed, 33);
        let seen = self.seen();
        set_descriptors(&self.changed, 64);
        seen
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            let _ = fs::remove_dir(group);
        }
    }
}

struct Seen {
    text: String,
    machine: Snapshot,
}

/// Somebody else's group, with a value of his own in it.
fn make_group() -> Result<PathBuf> {
    let layout = Layout::of(std::process::id())?;
    let lacking = || windtunnel_inject::Error::gone("find a hierarchy that counts tasks");
    let own = &layout.controlling(Controller::Pids).ok_or_else(lacking)?.own;
    let group = own.join(format!("somebody-{}", std::process::id()));
    let os = |error| windtunnel_inject::Error::os("make somebody's group", error);
    fs::create_dir(&group).map_err(os)?;
    fs::write(group.join("pids.max"), "100").map_err(os).inspect_err(|_| drop(fs::remove_dir(&group)))?;
    Ok(group)
}

/// The directories of the groups that a holder has made.
fn groups_of(holder: u32) -> Vec<String> {
    let layout = Layout::of(std::process::id()).expect("this process is in groups");
    let entries = layout.hierarchies.iter().filter_map(|hierarchy| fs::read_dir(&hierarchy.own).ok()).flatten();
    let paths = entries.flatten().map(|entry| entry.path().display().to_string());
    paths.filter(|path| path.contains(&format!("windtunnel-{holder}-"))).collect()
}

/// Somebody else's change.
fn set_descriptors(of: &Victim, count: u64) {
    let (_, maximum) = Resource::Descriptors.of(&of.process).expect("a limit");
    let pid = Pid::from_raw(of.pid().cast_signed());
    prlimit(pid, rustix::process::Resource::Nofile, Rlimit { current: Some(count), maximum }).expect("a limit");
}

/// A change that was made already and stays.
fn keep(journal: &Journal, undo: Undo) -> Result<()> {
    journal.change(undo, || Ok(())).map(|((), change)| std::mem::forget(change))
}

#[test]
fn who_recovers_may_be_killed_at_any_step() {
    common::in_namespaces(|| {
        let mut scene = Scene::new("recover-killed");
        let before = scene.to_be_seen();
        for at in 1.. {
            let ours = scene.leave();
            let code = scene.recoverer(Fate::KilledAt(at)).end();
            scene.is_recovered(at, ours, &before);
            if code == 0 {
                assert!(at > STEPS_MIN, "only {at} steps");
                println!("{} steps", at - 1);
                return;
            }
            assert_eq!(code, 128 + 9, "at step {at}");
        }
    });
}

#[test]
fn who_recovers_may_be_stopped_at_any_step_while_others_recover() {
    common::in_namespaces(|| {
        let mut scene = Scene::new("recover-stopped");
        let before = scene.to_be_seen();
        for at in 1.. {
            let ours = scene.leave();
            let mut stopped = scene.recoverer(Fate::StoppedAt(at));
            let state = || Stat::of(stopped.pid()).expect("a child").state;
            holds_within(SOON, "stopped, or at its end", || matches!(state(), 'T' | 'Z'));
            let has_ended = state() == 'Z';
            let mut other = scene.recoverer(Fate::None);
            assert!(other.process.ends_within(SOON), "step {at}: it waits for one that is stopped");
            assert_eq!(other.end(), 0, "step {at}: {}", scene.report());
            if has_ended {
                assert_eq!(stopped.end(), 0);
            } else if at % 2 == 0 {
                stopped.process.signal(Signal::CONT).expect("it goes on");
                assert_eq!(stopped.end(), 0, "step {at}");
            } else {
                stopped.process.kill().expect("ours");
                stopped.end();
            }
            scene.is_recovered(at, ours, &before);
            if has_ended {
                assert!(at > STEPS_MIN, "only {at} steps");
                return;
            }
        }
    });
}
