//! The real world: hosts are processes in namespaces of their own, and faults are the real kernel's.
//!
//! One per process, which is the case of a [`keeper`](windtunnel_inject::keeper): the test body runs on its main
//! thread, in a network of its own as host `test`, clients on threads in networks of theirs. Everything else of the
//! world is done by threads in the world's own network, in which the switch is.
//!
//! ```text
//! hosts.rs    hosts: their programs' starts and ends
//! network.rs  the network between them, and what is wrong with it
//! clients.rs  threads that are hosts
//! engine.rs   a thread for what the test's own threads could not do, being on a host
//! console.rs  what hosts write
//! usage.rs    what a program has, by /proc
//! clocks.rs   clocks of functions and of commands
//! groups.rs   control groups, and what is done by them
//! throttle.rs disks that are held to a rate
//! faults.rs   faults, by hand and by plan
//! weather.rs  a plan, carried out
//! ending.rs   how a world ends
//! ```

mod clients;
mod clocks;
mod console;
mod ending;
mod engine;
mod faults;
mod groups;
mod hosts;
mod network;
mod throttle;
mod usage;
mod weather;

use super::Turn;
use crate::blackbox::{BlackBox, Kind, RecordRef};
use crate::chaos::Shared;
use ending::Finish;
use engine::Engine;
use faults::ByHand;
use hosts::Hosts;
use network::Network;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use weather::Weather;
use windtunnel_inject::journal::Journal;
use windtunnel_inject::keeper::Keeper;
use windtunnel_sim::world::Position;

pub(crate) use console::{TestPipes, record_last_words};
pub(crate) use ending::{Outside, run};
pub(crate) use groups::WorldGroup;
use network::files_of;

static WORLD: OnceLock<World> = OnceLock::new();

/// This process's real world, if it has one.
pub(crate) fn world() -> Option<&'static World> {
    WORLD.get()
}

/// A real world.
pub(crate) struct World {
    began: Instant,
    /// Counts what happens: lines that are written, labels, faults that begin and end.
    events: AtomicU64,
    blackbox: &'static BlackBox,
    shared: Arc<Shared>,
    keeper: Arc<Keeper>,
    /// Of what ends with the world.
    journal: Journal,
    /// Whether this process is in a group of the world's, below which hosts can have theirs.
    has_groups: bool,
    network: Network,
    engine: Engine,
    hosts: Hosts,
    by_hand: ByHand,
    weather: Weather,
    random: Mutex<BTreeMap<String, ChaCha8Rng>>,
    /// What the test waits for.
    waits: Mutex<Vec<String>>,
    finish: Finish,
}

/// Ends the case: a test asked for what only a simulated world has.
pub(crate) fn not_here(what: &str) -> ! {
    panic!("not in the real world: {what}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of one thread ends the case; nothing in here is left half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Where the world stands: real time since it began.
    pub(crate) fn position(&self) -> Position {
        let now_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Position { event: self.events.load(Ordering::Relaxed), now_ns }
    }

    fn event(&self) -> Position {
        let event = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        let position = Position { event, ..self.position() };
        self.blackbox.progress().reached(position.into(), "", lock(&self.waits).last().map_or("", String::as_str));
        position
    }

    fn record_at(&self, at: Position, kind: Kind, host: &str, bytes: &[u8]) {
        self.blackbox.tape().append(RecordRef { at: at.into(), kind, host, bytes });
    }

    /// Says something of a host among what it writes.
    fn note(&self, host: &str, text: &str) {
        self.record_at(self.event(), Kind::Note, host, text.as_bytes());
    }

    /// Puts a label into the log of the host that calls.
    pub(crate) fn mark(&self, label: &str) {
        self.note(&self.host_name(), label);
        self.weather_hears(label);
    }

    /// The test waits for something from now on, and until it says that it is over.
    pub(crate) fn waits(&self, what: String, turn: Turn) {
        {
            let mut waits = lock(&self.waits);
            match turn {
                Turn::Begins => waits.push(what),
                Turn::Over => waits.retain(|waited| *waited != what),
            }
        }
        self.event();
    }

    /// A random number from the stream of this purpose: the one that the simulated world draws.
    pub(crate) fn random_u64(&self, purpose: &str) -> u64 {
        let mut streams = lock(&self.random);
        let seed = self.shared.seed();
        let stream =
            streams.entry(purpose.to_owned()).or_insert_with(|| windtunnel_sim::world::random_stream(seed, purpose));
        rand_core::Rng::next_u64(stream)
    }

    /// Waits until this holds, for a while.
    fn until(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + within;
        while !holds() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}
