//! What is done to a group: limits, freezing, kills; each read back, felt by its members, counted, and gone again.

mod common;
mod victims;

use common::is_in_force_and_gone_at_once;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use victims::{Scratch, Victim, group, holds_within, processor_share, runs_again};
use windtunnel_inject::cgroup::{Controller, Device, Frozen, Group, Layout, Limit, Limited, Rates};
use windtunnel_inject::error::ErrorKind;
use windtunnel_inject::process::{Balloon, CpuBurn, MemoryPressure, OomKill, Paused, TaskLeak, proc};
use windtunnel_inject::{Injection, Target};

/// Within so long something has happened that happens at once on a machine with time for it.
const SOON: Duration = Duration::from_secs(5);

/// A group, unless this user may not have one or it lacks the controller.
fn group_with(scratch: &Scratch, controller: Controller) -> Option<Group> {
    let journal = scratch.journal();
    journal.prepare().expect("a journal");
    let group = group(&journal, "test")?;
    if let Err(error) = group.directory(controller) {
        eprintln!("skipped: {error}");
        return None;
    }
    Some(group)
}

fn applied_and_healed<I: Injection>(apply: impl Fn() -> I, felt: impl FnOnce(&mut I)) {
    is_in_force_and_gone_at_once(&apply);
    let mut injection = apply();
    injection.read_back().expect("in force");
    felt(&mut injection);
    injection.heal().expect("healed");
    injection.heal().expect("healing what is healed does nothing");
}

#[test]
fn a_group_is_removed_with_its_members_and_all_its_directories() {
    let scratch = Scratch::new("removed");
    let journal = scratch.journal();
    let Some(group) = group(&journal, "removed") else { return };
    let mut member = Victim::sleeping();
    group.add(member.pid()).expect("a member");
    assert_eq!(group.members(), [member.pid()]);
    let directories: Vec<PathBuf> = group.directories().map(Path::to_owned).collect();
    assert!(directories.iter().all(|directory| directory.is_dir()));
    // Somebody made another group below: it goes too.
    fs::create_dir(directories[0].join("below")).expect("a group");
    group.remove().expect("removed");
    assert!(!directories.iter().any(|directory| directory.exists()));
    assert_eq!(member.end(), 128 + 9);
}

#[test]
fn a_quota_leaves_a_busy_group_so_much_and_its_throttling_is_counted() {
    let scratch = Scratch::new("quota");
    let Some(group) = group_with(&scratch, Controller::Cpu) else { return };
    let victim = Victim::busy();
    group.add(victim.pid()).expect("a member");
    applied_and_healed(
        || CpuBurn::by_quota(&group, 800_000, 1).expect("burning"),
        |burn| {
            let share = processor_share(victim.pid(), Duration::from_secs(1));
            let bit = burn.bit().expect("counted");
            eprintln!("with 80 % taken, a share of {share:.2}; throttled {bit} times");
            assert!(share < 0.35 && bit >= 3, "{share}, {bit}");
        },
    );
}

/// A quota of what four processors are left would leave one process all that it can use.
#[test]
fn a_group_that_is_frozen_in_turn_has_so_much_of_each_processor_and_can_be_paused_and_killed_meanwhile() {
    let scratch = Scratch::new("turns");
    let Some(group) = group_with(&scratch, Controller::Freezer) else { return };
    let mut victim = Victim::busy();
    group.add(victim.pid()).expect("a member");
    let mut burn = CpuBurn::by_freezing(&group, 800_000).expect("burning");
    burn.read_back().expect("in force");
    // The best of a few seconds: a busy machine takes a share of its own.
    let shares: Vec<f64> = (0..3).map(|_| processor_share(victim.pid(), Duration::from_secs(1))).collect();
    let share = shares.iter().copied().fold(0.0, f64::max);
    let bit = burn.bit().expect("counted");
    eprintln!("with 80 % taken, shares of {shares:.2?}; stood still {bit} times");
    assert!((0.02..0.3).contains(&share) && bit > 20, "{shares:?}, {bit}");
    // What is paused stays so, however often the group goes on.
    let mut pause = Paused::apply(&scratch.journal(), &victim.process).expect("paused");
    let share = processor_share(victim.pid(), Duration::from_millis(300));
    assert!(share < 0.01, "{share} while it is paused");
    pause.heal().expect("it goes on");
    burn.heal().expect("it is left alone");
    let share = processor_share(victim.pid(), Duration::from_millis(300));
    assert!(share > 0.3, "{share} once nothing is taken any more");
    let mut burn = CpuBurn::by_freezing(&group, 800_000).expect("burning again");
    victim.process.kill().expect("killed");
    assert_eq!(victim.end(), 128 + 9);
    burn.heal().expect("nobody is there");
}

#[test]
fn burners_take_their_share_within_the_group() {
    let scratch = Scratch::new("burners");
    let Some(group) = group_with(&scratch, Controller::Cpu) else { return };
    applied_and_healed(
        || CpuBurn::by_burners(&group, 500_000, 1).expect("burning"),
        |burn| {
            let members = group.members();
            assert_eq!(members.len(), 1);
            let share = processor_share(members[0], Duration::from_millis(500));
            let bit = burn.bit().expect("counted");
            eprintln!("asked to burn 50 %, burnt {share:.2} in {bit} bursts");
            assert!(share < 0.6 && bit > 1, "{share}, {bit}");
        },
    );
    holds_within(SOON, "no burner is left", || group.members().is_empty());
}

#[test]
fn a_value_that_somebody_else_set_before_comes_back() {
    let scratch = Scratch::new("before");
    let Some(group) = group_with(&scratch, Controller::Pids) else { return };
    let (_, directory) = group.directory(Controller::Pids).expect("a controller");
    let file = directory.join("pids.max");
    fs::write(&file, "77").expect("set by somebody else");
    let limited = Limited::apply(&group, &Limit::Tasks { count: 3 }).expect("a limit");
    assert_eq!(fs::read_to_string(&file).expect("a value"), "3\n");
    drop(limited);
    assert_eq!(fs::read_to_string(&file).expect("a value"), "77\n");
    // And one that somebody else set since stays.
    let mut limited = Limited::apply(&group, &Limit::Tasks { count: 3 }).expect("a limit");
    fs::write(&file, "55").expect("set by somebody else");
    let error = limited.read_back().expect_err("changed");
    assert!(matches!(error.kind, ErrorKind::Unlike { .. }), "{error}");
    limited.heal().expect("nothing of ours is there");
    assert_eq!(fs::read_to_string(&file).expect("a value"), "55\n");
}

#[test]
fn a_group_without_tasks_left_forks_no_more_and_that_is_counted() {
    let scratch = Scratch::new("tasks");
    let Some(group) = group_with(&scratch, Controller::Pids) else { return };
    let (ask, mut tell) = UnixStream::pair().expect("a stream");
    let victim = asked(ask, || std::thread::Builder::new().spawn(|| {}).is_ok_and(|thread| thread.join().is_ok()));
    group.add(victim.pid()).expect("a member");
    assert!(does(&mut tell));
    applied_and_healed(
        || TaskLeak::tasks_in_group(&group, 0).expect("leaked"),
        |leak| {
            assert!(!does(&mut tell), "a thread more than it may have");
            assert!(leak.bit().expect("counted") >= 1);
        },
    );
    assert!(does(&mut tell));
}

/// A process that does this whenever it is asked, and tells whether it worked.
fn asked(stream: UnixStream, work: impl Fn() -> bool) -> Victim {
    Victim::ending_with(&[stream.as_fd()], || {
        let mut word = [0];
        while (&stream).read_exact(&mut word).is_ok() {
            (&stream).write_all(&[u8::from(work())]).expect("told");
        }
        0
    })
}

fn does(stream: &mut UnixStream) -> bool {
    let mut word = [0];
    stream.write_all(b"?").expect("asked");
    stream.read_exact(&mut word).expect("told");
    word[0] == 1
}

/// A process that takes this much more memory whenever it is asked, and keeps it.
fn growing(stream: UnixStream, bytes: usize) -> Victim {
    let memory = std::cell::RefCell::new(Vec::new());
    asked(stream, move || {
        memory.borrow_mut().push(std::hint::black_box(vec![7_u8; bytes]));
        true
    })
}

#[test]
fn memory_pressure_kills_who_takes_more_than_is_left() {
    let scratch = Scratch::new("pressure");
    let Some(group) = group_with(&scratch, Controller::Memory) else { return };
    let (ask, mut tell) = UnixStream::pair().expect("a stream");
    let mut victim = growing(ask, 16 << 20);
    group.add(victim.pid()).expect("a member");
    assert!(does(&mut tell));
    applied_and_healed(
        || MemoryPressure::in_group(&group, 8 << 20).expect("pressed"),
        |pressure| {
            tell.write_all(b"?").expect("asked");
            assert_eq!(victim.end(), 128 + 9, "killed for want of memory");
            assert!(pressure.bit().expect("counted") > 0);
            assert_eq!(group.oom_kills().expect("counted"), 1);
        },
    );
}

#[test]
fn a_balloon_takes_memory_of_the_group_and_gives_it_back() {
    let scratch = Scratch::new("balloon");
    let Some(group) = group_with(&scratch, Controller::Memory) else { return };
    let before = group.memory_used_bytes().expect("counted");
    applied_and_healed(
        || Balloon::apply(&group, 32 << 20).expect("taken"),
        |balloon| {
            assert_eq!(balloon.bit().expect("counted"), 32 << 20);
            let taken = group.memory_used_bytes().expect("counted") - before;
            assert!(taken >= 32 << 20, "{taken}");
        },
    );
    let left = group.memory_used_bytes().expect("counted").saturating_sub(before);
    assert!(left < 4 << 20, "{left} bytes left");
}

#[test]
fn the_kernel_kills_the_largest_in_the_group_and_nobody_else() {
    let scratch = Scratch::new("oom");
    let Some(group) = group_with(&scratch, Controller::Memory) else { return };
    let (ask, mut tell) = UnixStream::pair().expect("a stream");
    let (mut large, small) = (growing(ask, 24 << 20), Victim::sleeping());
    for victim in [&large, &small] {
        group.add(victim.pid()).expect("a member");
    }
    assert!(does(&mut tell));
    let mut kill = OomKill::in_group(&group).expect("killed");
    assert_eq!((kill.bit().expect("counted"), kill.mechanism()), (1, "OOM killer of the group"));
    assert_eq!(large.end(), 128 + 9);
    assert!(small.process.is_alive());
    assert_eq!(proc::read(small.pid(), "oom_score_adj").expect("a score"), "0\n");
    kill.heal().expect("healed");
    assert!(small.process.is_alive());
    assert_eq!(proc::read(small.pid(), "oom_score_adj").expect("a score"), "0\n");
    let (version, directory) = group.directory(Controller::Memory).expect("a controller");
    let file = if version == windtunnel_inject::cgroup::Version::One { "memory.limit_in_bytes" } else { "memory.max" };
    let limit = fs::read_to_string(directory.join(file)).expect("a limit");
    assert!(limit.len() > 15 || limit == "max\n", "{limit}");
}

#[test]
fn a_frozen_group_stands_still_can_be_killed_and_goes_on_when_healed() {
    let scratch = Scratch::new("frozen");
    let Some(group) = group_with(&scratch, Controller::Freezer) else { return };
    let victim = Victim::busy();
    group.add(victim.pid()).expect("a member");
    applied_and_healed(
        || Frozen::apply(&group).expect("frozen"),
        |frozen| {
            assert_eq!(processor_share(victim.pid(), Duration::from_millis(200)), 0.0);
            assert_eq!(frozen.bit().expect("counted"), 1);
        },
    );
    runs_again(&victim.process);
    let mut frozen = Frozen::apply(&group).expect("frozen");
    group.kill();
    assert!(victim.process.ends_within(Duration::from_secs(2)), "killed while frozen");
    frozen.heal().expect("healed");
}

#[test]
fn a_throttled_device_is_slow_for_the_group_and_fast_again() {
    let scratch = Scratch::new("throttled");
    let Some(group) = group_with(&scratch, Controller::Io) else { return };
    let device = match Device::below(scratch.path()) {
        Ok(device) => device,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let path = scratch.path().join("file");
    let (ask, mut tell) = UnixStream::pair().expect("a stream");
    let victim = asked(ask, move || {
        let mut file = fs::File::create(&path).expect("a file");
        file.write_all(&[7; 1 << 20]).and_then(|()| file.sync_all()).is_ok()
    });
    group.add(victim.pid()).expect("a member");
    assert!(does(&mut tell));
    let rates = Rates { write_bytes_per_s: Some(1 << 20), ..Rates::default() };
    let limit = Limit::Io { device, rates };
    applied_and_healed(
        || Limited::apply(&group, &limit).expect("throttled"),
        |limited| {
            let since = Instant::now();
            assert!(does(&mut tell));
            let (took, bit) = (since.elapsed(), limited.bit().expect("counted"));
            eprintln!("1 MiB at 1 MiB/s took {took:?}, {bit} requests");
            assert!(took > Duration::from_millis(600) && bit > 0, "{took:?}, {bit}");
        },
    );
    let (version, directory) = group.directory(Controller::Io).expect("a controller");
    let file =
        if version == windtunnel_inject::cgroup::Version::One { "blkio.throttle.write_bps_device" } else { "io.max" };
    assert_eq!(fs::read_to_string(directory.join(file)).expect("limits"), "", "no line is left");
}

#[test]
fn a_group_around_somebody_elses_process_lets_it_go_back() {
    let scratch = Scratch::new("around");
    let journal = scratch.journal();
    let victim = Victim::busy();
    let before = proc::read(victim.pid(), "cgroup").expect("its groups");
    let burn = CpuBurn::apply(&journal, &Target::Process(victim.process.clone()), 800_000, 1).expect("burning");
    let (mut burn, during) = (burn, proc::read(victim.pid(), "cgroup").expect("its groups"));
    let is_group = burn.mechanism().starts_with("cgroup");
    assert_eq!(is_group, during != before, "{}", burn.mechanism());
    let share = processor_share(victim.pid(), Duration::from_secs(1));
    eprintln!("with 80 % taken by {}, a share of {share:.2}", burn.mechanism());
    assert!(share < 0.35, "{share}");
    burn.heal().expect("healed");
    drop(burn);
    assert!(victim.process.is_alive());
    assert_eq!(proc::read(victim.pid(), "cgroup").expect("its groups"), before);
}

#[test]
fn whoever_may_not_have_groups_is_told_what_would_help() {
    let scratch = Scratch::new("lacking");
    let Err(error) = Group::make(&scratch.journal(), "lacking") else { return };
    assert!(matches!(error.kind, ErrorKind::Lacking { .. }), "{error}");
    assert!(error.to_string().contains("Delegate=yes"), "{error}");
    assert!(Layout::of(std::process::id()).is_ok());
}
