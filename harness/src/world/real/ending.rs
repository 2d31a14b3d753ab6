//! A real world's beginning and end.

use super::console::{OPEN, TestPipes};
use super::engine::Engine;
use super::faults::ByHand;
use super::hosts::Hosts;
use super::network::Network;
use super::weather::Weather;
use super::{WORLD, World, lock};
use crate::blackbox::{BlackBox, EndedAs, Ending, Finding, Verdict};
use crate::chaos::Shared;
use crate::system;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use windtunnel_inject::cgroup::join;
use windtunnel_inject::disk::OwnDisk;
use windtunnel_inject::journal::Journal;
use windtunnel_inject::keeper::Keeper;
use windtunnel_sim::world::Exit;

/// How long what hosts have written may take to arrive when their programs have been ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long whoever has found a host dead waits for the kernel to say so: a process's connections end before it does.
const DEATH_RATTLE: Duration = Duration::from_millis(100);
/// How long the end of a process whose host must not end may take to become the world's.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// Whether somebody ends the world. The first counts; the others wait for the end.
#[derive(Default)]
pub(super) struct Finish(Mutex<bool>);

impl Finish {
    fn is_begun(&self) -> bool {
        *lock(&self.0)
    }
}

fn wait_for_the_end() -> ! {
    loop {
        std::thread::park();
    }
}

/// What a world is given from outside.
pub(crate) struct Outside {
    pub(crate) keeper: Keeper,
    /// For the test itself.
    pub(crate) disk: OwnDisk,
    /// Directories of the world's control group, if it has one.
    pub(crate) groups: Vec<PathBuf>,
    /// For what the test itself writes.
    pub(crate) pipes: TestPipes,
}

/// Runs a case's test body as host `test` of a new world; the exit code of the case's process.
pub(crate) fn run(outside: Outside, blackbox: &'static BlackBox, shared: Arc<Shared>, body: impl FnOnce()) -> i32 {
    let Outside { keeper, disk, groups, pipes } = outside;
    let prepare = || {
        join(&groups)?;
        // Threads stay where they began: this one where the machine's files are.
        Ok::<_, windtunnel_inject::Error>((Network::new(shared.seed())?, Journal::of_world()?, Engine::start()?))
    };
    let (network, journal, engine) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            blackbox.findings().impossible(format!("the real world could not be made: {error}"));
            return 1;
        }
    };
    let world = World {
        began: Instant::now(),
        events: AtomicU64::new(0),
        blackbox,
        shared,
        keeper: Arc::new(keeper),
        journal,
        has_groups: !groups.is_empty(),
        network,
        engine,
        hosts: Hosts::default(),
        by_hand: ByHand::default(),
        weather: Weather::default(),
        random: Mutex::new(BTreeMap::new()),
        waits: Mutex::default(),
        finish: Finish::default(),
    };
    let world = WORLD.get_or_init(|| world);
    if let Err(reason) = world.become_test_host(&disk, pipes) {
        blackbox.findings().impossible(reason);
        return 1;
    }
    body();
    world.finish()
}

impl World {
    /// Makes the calling thread that of the host `test`, and this process's output that host's.
    fn become_test_host(&'static self, disk: &OwnDisk, pipes: TestPipes) -> Result<(), String> {
        let host = self.add_host("test")?;
        let fds = [libc::STDOUT_FILENO, libc::STDERR_FILENO];
        for (fd, (kind, pipe, written)) in fds.into_iter().zip(pipes.0) {
            system::become_descriptor(&written, fd).map_err(|error| format!("no output for the test: {error}"))?;
            self.listen_to_test(kind, pipe).map_err(|error| error.to_string())?;
        }
        self.enter_network(host)?;
        let files = super::files_of("test");
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_path(), text.as_bytes())).collect();
        disk.enter(&files).map_err(|error| error.to_string())
    }

    /// Ends the world: the test body is done.
    pub(crate) fn finish(&'static self) -> ! {
        self.finish_as(EndedAs::Finished)
    }

    /// A host has ended that must not.
    pub(super) fn host_failed(&'static self, host: String, exit: Exit) -> ! {
        self.finish_as(EndedAs::of_host(host, exit))
    }

    /// Tells what the test body, or a client, came to, unless the world ends for another reason.
    ///
    /// That a host has ended, a test may find out before this world does, by a connection that is reset. What it makes
    /// of that differs from run to run, and the host's end is the reason.
    pub(crate) fn conclude(&'static self, verdict: Verdict<'_>) {
        if verdict != Verdict::Passed && self.has_lost_a_host(DEATH_RATTLE) {
            Self::until(TOLD_WITHIN, || self.finish.is_begun());
        }
        self.say(verdict);
    }

    fn say(&'static self, verdict: Verdict<'_>) {
        let is_ending = lock(&self.finish.0);
        if *is_ending {
            drop(is_ending);
            wait_for_the_end();
        }
        self.blackbox.findings().push(&Finding::Verdict(verdict));
    }

    /// The world itself is not what the test believes it to be.
    pub(super) fn broken(&'static self, reason: &str) -> ! {
        self.say(Verdict::Impossible(reason.into()));
        self.finish_as(EndedAs::Finished)
    }

    /// A fault of the plan that this machine cannot do. A plan that was drawn goes without it, and the reader hears of
    /// it; one that somebody wrote is meant as it stands.
    pub(super) fn left_out(&'static self, fault: String) {
        if !self.shared.plan_is_drawn() {
            self.broken(&fault);
        }
        self.blackbox.findings().push(&Finding::LeftOut(fault.into()));
    }

    fn finish_as(&'static self, outcome: EndedAs<'static>) -> ! {
        if std::mem::replace(&mut *lock(&self.finish.0), true) {
            wait_for_the_end();
        }
        let at = self.position();
        if let Some(weather) = self.weather_so_far() {
            self.shared.account_afterwards(&weather, at);
        }
        self.end_hosts();
        // This process's own output ends too, so that all readers come to an end.
        if let Ok(nothing) = std::fs::File::options().write(true).open("/dev/null") {
            for fd in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
                // What could still be written is lost either way.
                let _: std::io::Result<()> = system::become_descriptor(&nothing, fd);
            }
        }
        Self::until(LAST_WORDS, || OPEN.load(Ordering::Acquire) == 0);
        self.blackbox.progress().reached(at.into(), "", "");
        let ending = Ending { digest: None, at: at.into(), threads: 0, outcome };
        self.blackbox.findings().push(&Finding::Ending(ending));
        windtunnel_sim::worker::exit(0)
    }
}
