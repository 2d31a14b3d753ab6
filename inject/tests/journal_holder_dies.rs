//! Who applies faults is killed or stopped at each step of applying and healing them: nothing is left.

#[path = "common/due.rs"]
mod due;
mod victims;

use rustix::process::{Pid, Signal, kill_current_process_group, setpgid};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use victims::{Scratch, Victim, holds_within};
use windtunnel_inject::cgroup::{Group, Limit, Limited};
use windtunnel_inject::journal::{Change, Journal, Settings, Undo};
use windtunnel_inject::process::identity::Identity;
use windtunnel_inject::process::limit::{Lowered, Resource};
use windtunnel_inject::process::proc::{self, Stat};
use windtunnel_inject::process::{CpuBurn, Paused};
use windtunnel_inject::recover::recover_in;
use windtunnel_inject::step;
use windtunnel_inject::target::Process;
use windtunnel_inject::{Error, Injection};

/// Who sends its group a signal at a step: the guardian and helpers, which it forks, take steps of their own.
static HOLDER: AtomicU32 = AtomicU32::new(0);

fn strike(_name: &'static str) {
    if std::process::id() == HOLDER.load(Ordering::Relaxed) {
        due::comes(|signal| _ = kill_current_process_group(signal));
    }
}

/// Applies one of each kind of change, and heals half of them by hand, half by dropping. What it makes has its process
/// id in its name.
fn apply_and_heal(directory: &Path, victim: u32, scratch: &Path) {
    let settings = Settings { directory: directory.to_owned(), stopped_max: Some(Duration::from_millis(100)) };
    let journal = Journal::open_with(settings).expect("a journal");
    let victim = Process::open(victim).expect("a victim");
    let mut lowered = Lowered::apply(&journal, &victim, Resource::Descriptors, 7).expect("a limit");
    let mut burn = CpuBurn::by_stopping(&journal, &victim, 500_000).expect("stopping");
    burn.heal().expect("healed");
    let paused = Paused::apply(&journal, &victim);
    let file = make_file(&journal, scratch);
    if let Ok(group) = Group::make(&journal, "dies") {
        let member = Victim::sleeping();
        group.add(member.pid()).expect("a member");
        let limited = Limited::apply(&group, &Limit::Tasks { count: 5 }).expect("a limit");
        let below = Limited::apply(&group, &Limit::Tasks { count: 3 }).expect("another over it");
        drop((limited, below));
        group.remove().expect("removed");
    }
    lowered.heal().expect("healed");
    drop((file, paused));
}

/// A file has an inode before it has a name, so what is to be removed can be written down first.
fn make_file(journal: &Journal, directory: &Path) -> Change {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
    let file = open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR).expect("a file");
    let found = fs::File::from(file.try_clone().expect("its descriptor")).metadata().expect("its inode");
    let path = directory.join("balloon");
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let undo = Undo::RemoveFile { path: path.clone(), device: found.dev(), inode: found.ino() };
    let named =
        || linkat(CWD, link, CWD, path, AtFlags::SYMLINK_FOLLOW).map_err(|error| Error::os("name a file", error));
    journal.change(undo, named).expect("a file").1
}

/// What the machine looks like, as far as the above could change it.
fn seen(victim: &Victim, scratch: &Path) -> String {
    let limit = Resource::Descriptors.of(&victim.process).expect("a limit");
    let stopped = Stat::of(victim.pid()).expect("a victim").state == 'T';
    let files = fs::read_dir(scratch).expect("a directory").count();
    format!("limit {limit:?}, stopped {stopped}, files {files}")
}

/// Helpers of this holder, and those that have lost theirs. One that has ended does nothing any more, be its parent
/// stopped or its new one, init, in no hurry to know.
fn helpers_of(holder: &Identity) -> usize {
    let executable = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let own = executable(std::process::id());
    let is_helper = |pid: &u32| {
        let name = proc::read(*pid, "comm").unwrap_or_default();
        name.starts_with("wt:") && name != "wt:guardian\n" && executable(*pid) == own
    };
    let is_holders = |pid: &u32| {
        let stat = Stat::of(*pid).ok().filter(|stat| !stat.has_ended());
        stat.is_some_and(|stat| stat.parent == holder.pid || executable(stat.parent) != own)
    };
    proc::all().into_iter().filter(is_helper).filter(is_holders).count()
}

fn is_gone(holder: &Identity) -> bool {
    helpers_of(holder) == 0 && groups_of(holder).is_empty()
}

fn groups_of(holder: &Identity) -> Vec<String> {
    let name = format!("windtunnel-{}-{}-", holder.pid, holder.start_ticks);
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let points = mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    let own = proc::read(std::process::id(), "cgroup").expect("groups");
    let paths: Vec<&str> = own.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    let parents = points.flat_map(|point| paths.iter().map(move |path| format!("{point}{path}")));
    let entries = parents.filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).filter(|path| path.contains(&name)).collect()
}

/// A process that applies and heals and is struck at this step.
fn holder(at: u32, is_stop: bool, scratch: &Scratch, changed: &Path, victim: &Victim) -> Victim {
    let (directory, victim) = (scratch.journals(), victim.pid());
    Victim::ending(move || {
        setpgid(None, None::<Pid>).expect("a process group of its own");
        due::at(at, if is_stop { Signal::STOP } else { Signal::KILL });
        HOLDER.store(std::process::id(), Ordering::Relaxed);
        step::watch(strike);
        apply_and_heal(&directory, victim, changed);
        0
    })
}

struct Scene {
    scratch: Scratch,
    changed: std::path::PathBuf,
    victim: Victim,
    before: String,
}

impl Scene {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let changed = scratch.path().join("changed");
        fs::create_dir(&changed).expect("a directory");
        let victim = Victim::sleeping();
        let before = seen(&victim, &changed);
        Self { scratch, changed, victim, before }
    }

    /// Waits until all is as before, and sees that nothing is written down any more.
    fn is_as_before(&self, at: u32, identity: &Identity) -> Duration {
        let what = format!("as before step {at}: {}, now {}", self.before, seen(&self.victim, &self.changed));
        let took = holds_within(Duration::from_secs(3), &what, || {
            seen(&self.victim, &self.changed) == self.before && is_gone(identity)
        });
        let report = recover_in(&self.scratch.journals()).expect("recovered");
        assert!(report.is_clean(), "{report}");
        holds_within(Duration::from_secs(3), "journals are gone", || self.scratch.journal_names().is_empty());
        took
    }
}

#[test]
fn nothing_is_left_when_the_holder_and_its_process_group_are_killed_at_any_step() {
    let scene = Scene::new("killed");
    let mut slowest = Duration::ZERO;
    for at in 1.. {
        let mut holder = holder(at, false, &scene.scratch, &scene.changed, &scene.victim);
        let identity = Identity::of(holder.pid()).expect("a holder");
        let code = holder.end();
        slowest = slowest.max(scene.is_as_before(at, &identity));
        if code == 0 {
            assert!(at > 20, "only {at} steps");
            eprintln!("{} steps, slowest to recover: {slowest:?}", at - 1);
            return;
        }
        assert_eq!(code, 128 + 9, "at step {at}");
    }
}

#[test]
fn nothing_is_left_when_the_holder_is_stopped_at_any_step_and_it_can_go_on_or_die() {
    let scene = Scene::new("stopped");
    for at in 1.. {
        let mut holder = holder(at, true, &scene.scratch, &scene.changed, &scene.victim);
        let identity = Identity::of(holder.pid()).expect("a holder");
        let state = || Stat::of(holder.pid()).expect("a holder").state;
        holds_within(Duration::from_secs(10), "stopped, or at its end", || matches!(state(), 'T' | 'Z'));
        if state() == 'Z' {
            assert_eq!(holder.end(), 0);
            assert!(at > 20, "only {at} steps");
            return;
        }
        let what = format!("undone while it is stopped at step {at}");
        // A helper that is not written down yet does nothing, and waits for three seconds.
        holds_within(Duration::from_secs(5), &what, || {
            let now = seen(&scene.victim, &scene.changed);
            now == scene.before && is_gone(&identity)
        });
        if at % 2 == 0 {
            holder.process.signal(Signal::CONT).expect("it goes on");
            let code = holder.end();
            assert!(code == 0 || code == 1, "code {code} at step {at}");
        } else {
            holder.process.kill().expect("it dies");
            assert_eq!(holder.end(), 128 + 9);
        }
        scene.is_as_before(at, &identity);
    }
}
