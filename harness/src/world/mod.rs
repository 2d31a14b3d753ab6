//! The world that a case runs in, steered from inside it: simulated, or real.
//!
//! One function for each thing that a test can do to its world, whichever it is. What they mean is said in
//! [`windtunnel_sim::control`], whose names and types these are.
//!
//! ```text
//! real/  hosts that are processes in namespaces, faults by the real kernel
//! ```

pub(crate) mod real;

use crate::blackbox::{BlackBox, Finding, Verdict};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use windtunnel_sim::control::{self, FaultAccount};
use windtunnel_sim::weather::{Fault, WeatherReport};
use windtunnel_sim::world::{FaultId, HostId, HostState, Limits, Position, Program, Usage};

/// Which world this process is in: the real one if there is one, and else the simulated one.
macro_rules! either {
    ($world:ident => $real:expr, $sim:expr) => {
        match real::world() {
            Some($world) => $real,
            None => $sim,
        }
    };
}

pub(crate) fn inside() -> bool {
    real::world().is_some() || control::inside()
}

/// Whether this is the real world.
pub(crate) fn is_real() -> bool {
    real::world().is_some()
}

pub(crate) fn position() -> Position {
    either!(world => world.position(), control::position())
}

pub(crate) fn host_name() -> String {
    either!(world => world.host_name(), control::host_name())
}

pub(crate) fn add_host(name: &str) -> Result<HostId, String> {
    either!(world => world.add_host(name), Ok(control::add_host(name)))
}

pub(crate) fn limit(host: HostId, limits: Limits) {
    either!(world => world.limit(host, limits), control::limit(host, limits));
}

/// Starts a host's program: a function of this executable, or in the real world a command.
pub(crate) fn start(host: HostId, program: &Program, command: Option<&str>) -> Result<(), String> {
    either!(world => world.start(host, program, command), control::start(host, program))
}

pub(crate) fn start_client(host: HostId, run: Box<dyn FnOnce() + Send>) -> Result<(), String> {
    either!(world => world.start_client(host, run), control::start_client(host, run))
}

pub(crate) fn restart(host: HostId) -> Result<(), String> {
    either!(world => world.restart(host), control::restart(host))
}

pub(crate) fn usage(host: HostId) -> Usage {
    either!(world => world.usage(host), control::usage(host))
}

pub(crate) fn open_files(host: HostId) -> Vec<(i32, String)> {
    either!(world => world.open_files(host), control::open_files(host))
}

pub(crate) fn terminate(host: HostId) {
    either!(world => world.terminate(host), control::terminate(host));
}

pub(crate) fn kill(host: HostId) {
    either!(world => world.kill(host), control::kill(host));
}

pub(crate) fn crash(host: HostId) {
    either!(world => world.crash(host), control::crash(host));
}

pub(crate) fn begin_crash_states(host: HostId) {
    either!(_world => real::not_here(CRASH_STATES), control::begin_crash_states(host));
}

pub(crate) fn next_crash_state(host: HostId) -> bool {
    either!(_world => real::not_here(CRASH_STATES), control::next_crash_state(host))
}

const CRASH_STATES: &str = "`crash_states` goes through what a simulated disk may keep, and a real disk keeps what it \
                            keeps: leave it out when `cx.is_real()`";

pub(crate) fn pause(host: HostId) {
    either!(world => world.pause(host), control::pause(host));
}

pub(crate) fn resume(host: HostId) {
    either!(world => world.resume(host), control::resume(host));
}

pub(crate) fn state(host: HostId) -> HostState {
    either!(world => world.state(host), control::state(host))
}

pub(crate) fn addresses(host: HostId) -> (Ipv4Addr, Ipv6Addr) {
    either!(_world => windtunnel_sim::world::addresses(host), control::addresses(host))
}

pub(crate) fn distance(from: HostId, to: HostId, one_way: Duration) {
    either!(world => world.distance(from, to, one_way), control::distance(from, to, one_way));
}

pub(crate) fn partition(from: &[HostId], to: &[HostId], both_ways: bool) -> FaultId {
    either!(world => world.partition(from, to, both_ways), control::partition(from, to, both_ways))
}

pub(crate) fn slow(from: &[HostId], to: &[HostId], both_ways: bool, latency: Duration, jitter: Duration) -> FaultId {
    either!(
        world => world.slow(from, to, both_ways, latency, jitter),
        control::slow(from, to, both_ways, latency, jitter)
    )
}

pub(crate) fn lossy(from: &[HostId], to: &[HostId], both_ways: bool, probability: f64) -> FaultId {
    either!(
        world => world.lossy(from, to, both_ways, probability),
        control::lossy(from, to, both_ways, probability)
    )
}

pub(crate) fn heal(fault: FaultId) -> FaultAccount {
    either!(world => world.heal(fault), control::heal(fault))
}

pub(crate) fn begin_weather(faults: &[Fault]) {
    either!(world => world.begin_weather(faults), control::begin_weather(faults));
}

pub(crate) fn end_weather() -> WeatherReport {
    either!(world => world.end_weather(), control::end_weather())
}

pub(crate) fn mark(label: &str) {
    either!(world => world.mark(label), control::mark(label));
}

/// Something that the test waits for: until this is dropped. The simulated world knows by itself.
pub(crate) struct Waiting(String);

#[derive(Clone, Copy)]
pub(crate) enum Turn {
    Begins,
    Over,
}

impl Waiting {
    pub(crate) fn begin(what: String) -> Self {
        either!(world => world.waits(what.clone(), Turn::Begins), ());
        Self(what)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        either!(world => world.waits(std::mem::take(&mut self.0), Turn::Over), ());
    }
}

pub(crate) fn random_u64(purpose: &str) -> u64 {
    either!(world => world.random_u64(purpose), control::random_u64(purpose))
}

/// Tells what the test body, or a client, came to. Does not return when the world has ended for another reason before.
pub(crate) fn conclude(blackbox: &BlackBox, verdict: Verdict<'_>) {
    either!(world => world.conclude(verdict), blackbox.findings().push(&Finding::Verdict(verdict)));
}

pub(crate) fn finish() -> ! {
    either!(world => world.finish(), control::finish())
}
