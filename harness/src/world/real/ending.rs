//! A real world's beginning and end.

use super::console::OPEN;
use super::engine::Engine;
use super::faults::ByHand;
use super::hosts::Hosts;
use super::network::Network;
use super::weather::Weather;
use super::{WORLD, World};
use crate::blackbox::{BlackBox, EndedAs, Ending, Finding, Kind};
use crate::chaos::Shared;
use crate::system;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use windtunnel_inject::cgroup::join;
use windtunnel_inject::disk::OwnDisk;
use windtunnel_inject::journal::Journal;
use windtunnel_inject::keeper::Keeper;
use windtunnel_sim::world::Exit;

/// How long what hosts have written may take to arrive when their programs have been ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Who ends the world. The first counts; the others wait for the end.
#[derive(Default)]
pub(super) struct Finish(AtomicBool);

/// What a world is given from outside.
pub(crate) struct Outside {
    pub(crate) keeper: Keeper,
    /// For the test itself.
    pub(crate) disk: OwnDisk,
    /// Directories of the world's control group, if it has one.
    pub(crate) groups: Vec<PathBuf>,
}

/// Runs a case's test body as host `test` of a new world; the exit code of the case's process.
pub(crate) fn run(outside: Outside, blackbox: &'static BlackBox, shared: Arc<Shared>, body: impl FnOnce()) -> i32 {
    let Outside { keeper, disk, groups } = outside;
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
        finish: Finish::default(),
    };
    let world = WORLD.get_or_init(|| world);
    if let Err(reason) = world.become_test_host(&disk) {
        blackbox.findings().impossible(reason);
        return 1;
    }
    body();
    world.finish()
}

impl World {
    /// Makes the calling thread that of the host `test`, and this process's output that host's.
    fn become_test_host(&'static self, disk: &OwnDisk) -> Result<(), String> {
        let host = self.add_host("test")?;
        for (fd, kind) in [(libc::STDOUT_FILENO, Kind::Output), (libc::STDERR_FILENO, Kind::ErrorOutput)] {
            let (pipe, written) = std::io::pipe().map_err(|error| format!("no pipe for the test's output: {error}"))?;
            system::become_descriptor(&written, fd).map_err(|error| format!("no output for the test: {error}"))?;
            self.listen("test".to_owned(), kind, pipe).map_err(|error| error.to_string())?;
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

    /// The world itself is not what the test believes it to be.
    pub(super) fn broken(&'static self, reason: &str) -> ! {
        self.claim_the_end();
        self.blackbox.findings().impossible(reason);
        self.end_as(EndedAs::Finished)
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
        self.claim_the_end();
        self.end_as(outcome)
    }

    /// Returns to the first only: what goes wrong because the world ends is not to be told.
    fn claim_the_end(&self) {
        while self.finish.0.swap(true, Ordering::AcqRel) {
            std::thread::park();
        }
    }

    fn end_as(&'static self, outcome: EndedAs<'static>) -> ! {
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
