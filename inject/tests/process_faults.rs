//! What is done to a single process without any privilege: paused, slowed down, short of memory, threads, descriptors.

mod common;
mod victims;

use common::is_in_force_and_gone_at_once;
use rustix::process::Signal;
use std::fs::File;
use std::time::Duration;
use victims::{Scratch, Victim, holds_within, processor_share, runs_again};
use windtunnel_inject::error::ErrorKind;
use windtunnel_inject::process::{CpuBurn, MemoryPressure, MemoryWatch, OomKill, Paused, TaskLeak};
use windtunnel_inject::target::Process;
use windtunnel_inject::{Injection, Target};

/// Within so long something has happened that happens at once on a machine with time for it.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_paused_process_stands_still_until_it_is_healed() {
    let scratch = Scratch::new("paused");
    let (victim, journal) = (Victim::busy(), scratch.journal());
    let pause = || Paused::apply(&journal, &victim.process).expect("paused");
    is_in_force_and_gone_at_once(pause);
    let mut paused = pause();
    assert_eq!(processor_share(victim.pid(), Duration::from_millis(100)), 0.0);
    assert_eq!(paused.bit().expect("counted"), 1);
    paused.heal().expect("healed");
    runs_again(&victim.process);
}

#[test]
fn who_lets_a_paused_process_go_on_is_noticed_and_one_that_was_stopped_before_stays_so() {
    let scratch = Scratch::new("continued");
    let (victim, journal) = (Victim::sleeping(), scratch.journal());
    let mut paused = Paused::apply(&journal, &victim.process).expect("paused");
    victim.process.signal(Signal::CONT).expect("somebody else's");
    let error = paused.read_back().expect_err("it goes on");
    assert!(matches!(error.kind, ErrorKind::Unlike { .. }), "{error}");
    drop(paused);
    victim.process.signal(Signal::STOP).expect("somebody else's");
    holds_within(SOON, "stopped", || {
        windtunnel_inject::process::proc::Stat::of(victim.pid()).expect("a victim").state == 'T'
    });
    let refused = Paused::apply(&journal, &victim.process).expect_err("stopped already");
    assert!(matches!(refused.kind, ErrorKind::Unlike { .. }), "{refused}");
}

#[test]
fn a_process_that_ends_while_it_is_paused_needs_no_healing() {
    let scratch = Scratch::new("ends");
    let (mut victim, journal) = (Victim::sleeping(), scratch.journal());
    let mut paused = Paused::apply(&journal, &victim.process).expect("paused");
    victim.process.kill().expect("killed");
    victim.end();
    let error = paused.read_back().expect_err("gone");
    assert!(matches!(error.kind, ErrorKind::TargetGone), "{error}");
    paused.heal().expect("nothing to heal");
}

#[test]
fn stopping_in_turn_takes_the_share_of_the_processor_that_was_asked_for() {
    let scratch = Scratch::new("stopping");
    let (victim, journal) = (Victim::busy(), scratch.journal());
    let mut burn = CpuBurn::by_stopping(&journal, &victim.process, 700_000).expect("stopping");
    burn.read_back().expect("in force");
    // Others share these processors, and whoever stops it may be late: the best of several seconds counts.
    let mut seconds = (0..5).map(|_| {
        let before = burn.bit().expect("counted");
        let share = processor_share(victim.pid(), Duration::from_secs(1));
        (share, burn.bit().expect("counted") - before)
    });
    let is_right = |(share, bit): &(f64, u64)| *share < 0.4 && *share > 0.0 && (2..=12).contains(bit);
    let right = seconds.find(|second| {
        eprintln!("with 70 % taken, a share of {:.2} in {} periods of 100 ms", second.0, second.1);
        is_right(second)
    });
    burn.heal().expect("healed");
    runs_again(&victim.process);
    assert!(right.is_some(), "in none of five seconds was it stopped for about 70 % of the time");
}

#[test]
fn a_process_without_memory_left_gets_enomem_until_healed() {
    let scratch = Scratch::new("memory");
    let (ask, mut tell) = std::os::unix::net::UnixStream::pair().expect("a stream");
    let (victim, journal) = (allocating(ask), scratch.journal());
    assert!(allocates(&mut tell), "64 MiB can be had before");
    let mut pressure = MemoryPressure::of_process(&journal, &victim.process, 8 << 20).expect("pressed");
    pressure.read_back().expect("in force");
    assert!(!allocates(&mut tell), "64 MiB, with 8 left");
    pressure.heal().expect("healed");
    assert!(allocates(&mut tell));
}

/// One that tries to have 64 MiB whenever it is asked, and tells.
fn allocating(stream: std::os::unix::net::UnixStream) -> Victim {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    Victim::ending_with(&[stream.as_fd()], || {
        let mut word = [0];
        while (&stream).read_exact(&mut word).is_ok() {
            let mut memory: Vec<u8> = Vec::new();
            let got = memory.try_reserve_exact(64 << 20).is_ok();
            drop(memory); // before telling: whoever hears it measures how much there is
            (&stream).write_all(&[u8::from(got)]).expect("told");
        }
        0
    })
}

fn allocates(stream: &mut std::os::unix::net::UnixStream) -> bool {
    use std::io::{Read, Write};
    let mut word = [0];
    stream.write_all(b"?").expect("asked");
    stream.read_exact(&mut word).expect("told");
    word[0] == 1
}

#[test]
fn a_process_that_grows_past_the_watched_limit_is_killed() {
    let scratch = Scratch::new("watch");
    let journal = scratch.journal();
    let mut victim = Victim::start(|| {
        std::thread::sleep(Duration::from_millis(100));
        let memory = vec![7_u8; 64 << 20];
        std::hint::black_box(&memory);
        std::thread::sleep(Duration::from_secs(60));
    });
    let mut watch = MemoryWatch::apply(&journal, &victim.process, 32 << 20).expect("watched");
    watch.read_back().expect("in force");
    assert!(victim.process.ends_within(Duration::from_secs(5)));
    assert_eq!(victim.end(), 128 + 9);
    holds_within(SOON, "counted", || watch.bit().expect("counted") == 1);
    watch.heal().expect("healed");
}

#[test]
fn the_largest_of_a_tree_is_killed_by_hand() {
    let mut victim = Victim::sleeping();
    let mut kill = OomKill::by_hand(&victim.process).expect("killed");
    assert_eq!((victim.end(), kill.bit().expect("counted")), (128 + 9, 1));
    let again = OomKill::by_hand(&victim.process).expect_err("gone");
    assert!(matches!(again.kind, ErrorKind::TargetGone), "{again}");
}

#[test]
fn a_process_gets_so_many_more_descriptors_and_then_emfile() {
    let scratch = Scratch::new("descriptors");
    let journal = scratch.journal();
    let (ask, mut tell) = std::os::unix::net::UnixStream::pair().expect("a stream");
    let victim = opening(ask);
    let mut leak = TaskLeak::descriptors(&journal, &victim.process, 3).expect("leaked");
    leak.read_back().expect("in force");
    assert_eq!(opens(&mut tell), (3, 24), "three, and then EMFILE");
    assert_eq!(leak.bit().expect("counted"), 1);
    leak.heal().expect("healed");
    assert_eq!(opens(&mut tell), (10, 0));
}

/// One that opens up to ten files whenever it is asked, keeps them, and tells how many it got and the error after that.
fn opening(stream: std::os::unix::net::UnixStream) -> Victim {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    Victim::ending_with(&[stream.as_fd()], || {
        let mut word = [0];
        let mut files = Vec::new();
        while (&stream).read_exact(&mut word).is_ok() {
            let before = files.len();
            let error = (0..10).find_map(|_| match File::open("/dev/null") {
                Ok(file) => {
                    files.push(file);
                    None
                }
                Err(error) => error.raw_os_error(),
            });
            let answer = [files.len() - before, usize::try_from(error.unwrap_or(0)).expect("an errno")];
            (&stream).write_all(&answer.map(|number| u8::try_from(number).expect("small"))).expect("told");
        }
        0
    })
}

fn opens(stream: &mut std::os::unix::net::UnixStream) -> (u8, u8) {
    use std::io::{Read, Write};
    let mut answer = [0; 2];
    stream.write_all(b"?").expect("asked");
    stream.read_exact(&mut answer).expect("told");
    (answer[0], answer[1])
}

#[test]
fn threads_of_root_are_not_limited_by_its_user_and_those_of_others_are() {
    let scratch = Scratch::new("threads");
    let journal = scratch.journal();
    let victim = Victim::sleeping();
    let leak = TaskLeak::threads_of_user(&journal, &victim.process, 1_000_000);
    if rustix::process::geteuid().is_root() {
        let error = leak.expect_err("root");
        assert!(matches!(error.kind, ErrorKind::Lacking { .. }), "{error}");
        return;
    }
    let mut leak = leak.expect("a limit");
    leak.read_back().expect("in force");
    assert_eq!(leak.bit().expect("counted"), 0);
    drop(leak);
    // With none left, for one that may do so itself: this user's other processes have no such limit.
    let (ask, mut tell) = std::os::unix::net::UnixStream::pair().expect("a stream");
    let victim = spawning(ask);
    let mut leak = TaskLeak::threads_of_user(&journal, &victim.process, 0).expect("a limit");
    assert!(!allocates(&mut tell), "a thread more than it may have");
    assert_eq!(leak.bit().expect("counted"), 1);
    leak.heal().expect("healed");
    assert!(allocates(&mut tell), "a thread, after healing");
}

/// One that starts a thread whenever it is asked, and tells whether it could.
fn spawning(stream: std::os::unix::net::UnixStream) -> Victim {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    Victim::ending_with(&[stream.as_fd()], || {
        let mut word = [0];
        while (&stream).read_exact(&mut word).is_ok() {
            let got = std::thread::Builder::new().spawn(|| {}).map(|thread| thread.join().is_ok());
            (&stream).write_all(&[u8::from(got.unwrap_or(false))]).expect("told");
        }
        0
    })
}

#[test]
fn a_target_that_is_gone_says_so() {
    let scratch = Scratch::new("gone");
    let journal = scratch.journal();
    let mut victim = Victim::ending(|| 0);
    let process = Process::open(victim.pid()).expect("unreaped");
    victim.end();
    let target = Target::Process(process.clone());
    let gone = [
        Paused::apply(&journal, &process).err(),
        CpuBurn::apply(&journal, &target, 500_000, 1).err(),
        MemoryPressure::apply(&journal, &target, 1 << 20).err(),
        TaskLeak::tasks(&journal, &target, 1).err(),
        TaskLeak::descriptors(&journal, &process, 1).err(),
        OomKill::apply(&journal, &target).err(),
    ];
    for error in gone {
        let error = error.expect("nobody to strike");
        assert!(matches!(error.kind, ErrorKind::TargetGone), "{error}");
    }
}
