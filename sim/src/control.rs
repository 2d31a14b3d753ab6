//! Steering a world from inside: callable on simulated threads only, on any runtime, without blocking.
//!
//! Every function but [`inside`] panics when the calling thread belongs to no world.

use crate::abi::{call, look, simulated};
use crate::kernel::net::{Draws, Harm, delay_ns};
use crate::kernel::{Kernel, Stop, ThreadId};
use crate::weather::{Fault, Links, Spread, WeatherReport};
use crate::world::{FaultId, HostId, HostState, Limits, Outcome, Position, Program, Usage};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// What a fault did while it was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultAccount {
    /// Segments and datagrams that it dropped, delayed or held.
    pub affected: u64,
}

/// Whether the calling thread belongs to a world.
#[must_use]
pub fn inside() -> bool {
    simulated()
}

/// Runs on the kernel for the calling thread, as an event when it changes the world.
fn command<T>(name: &'static str, changes: bool, mut f: impl FnMut(&mut Kernel, ThreadId) -> T) -> T {
    assert!(inside(), "windtunnel: `{name}` was called outside a simulated world; call it in a #[chaos_test] body");
    let mut result = None;
    let run = |k: &mut Kernel, me: ThreadId| {
        result = Some(f(k, me));
        Ok(0)
    };
    if changes {
        call(name, run)
    } else {
        look(name, run)
    };
    result.expect("a command answers at its first try")
}

/// Where the world stands.
#[must_use]
pub fn position() -> Position {
    command("position", false, |k, _| k.position())
}

/// Name of the host that the calling thread runs on.
#[must_use]
pub fn host_name() -> String {
    command("host_name", false, |k, me| k.host_of(k.threads[me].process).name.clone())
}

/// Adds a host, which is down until a program is started on it. It gets an IPv4 and an IPv6 address; its name resolves.
///
/// # Panics
/// When the name is taken or no host name.
pub fn add_host(name: &str) -> HostId {
    command("add_host", true, |k, _| k.add_host(name)).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Starts a program on a host, in a fresh image.
///
/// # Errors
/// A sentence when the host runs already or memory is lacking.
pub fn start(host: HostId, program: &Program) -> Result<(), String> {
    command("start", true, |k, _| k.start_program(host, program.clone()))
}

/// Runs a closure as a host's program, in the test's own image. The host is down again when it returns.
///
/// # Errors
/// A sentence when the host runs already.
pub fn start_client(host: HostId, run: Box<dyn FnOnce()>) -> Result<(), String> {
    let mut run = Some(run);
    command("start_client", true, |k, _| match run.take() {
        Some(run) => k.start_client(host, run),
        None => Ok(()),
    })
}

/// Starts a host's last program again, in a fresh image.
///
/// # Errors
/// A sentence when the host runs or never ran a program.
pub fn restart(host: HostId) -> Result<(), String> {
    command("restart", true, |k, _| match k.hosts[host].program.clone() {
        Some(program) => k.start_program(host, program),
        None => Err(format!("host {} has no program to restart", k.hosts[host].name)),
    })
}

/// Limits what programs of a host may have, from its next start on.
pub fn limit(host: HostId, limits: Limits) {
    command("limit", true, |k, _| k.hosts[host].lacks.limits = limits);
}

/// What a host's program has now; nothing when it is down.
#[must_use]
pub fn usage(host: HostId) -> Usage {
    command("usage", false, |k, _| k.usage(host))
}

/// What a host's program has open now, by descriptor, in words; nothing when it is down.
#[must_use]
pub fn open_files(host: HostId) -> Vec<(i32, String)> {
    command("open_files", false, |k, _| k.open_files(host))
}

/// Sends SIGTERM to a host's program.
pub fn terminate(host: HostId) {
    command("terminate", true, |k, _| k.terminate_host(host));
}

/// Kills a host's program: the kernel closes its sockets.
pub fn kill(host: HostId) {
    command("kill", true, |k, _| k.kill_host(host));
}

/// Power loss: the program never runs again and nobody is told.
pub fn crash(host: HostId) {
    command("crash", true, |k, _| k.crash_host(host));
}

/// Power loss, to go through everything that it can leave of the host's disk with [`next_crash_state`].
pub fn begin_crash_states(host: HostId) {
    command("begin_crash_states", true, |k, _| k.begin_crash_states(host));
}

/// Gives a host the next disk that its crash could have left: every sector that was not synced as it was at some
/// moment, every change of a directory done or not, as far as a file system allows. A host that was started meanwhile
/// loses power once more, and what it has written is forgotten. False when it has had all of them.
pub fn next_crash_state(host: HostId) -> bool {
    command("next_crash_state", true, |k, _| k.next_crash_state(host))
}

/// Suspends a host's program, as SIGSTOP does.
pub fn pause(host: HostId) {
    command("pause", true, |k, _| k.pause_host(host));
}

/// Lets a paused program go on.
pub fn resume(host: HostId) {
    command("resume", true, |k, _| k.resume_host(host));
}

/// A host's condition.
#[must_use]
pub fn state(host: HostId) -> HostState {
    command("state", false, |k, _| k.host_state(host))
}

/// How often a host was started.
#[must_use]
pub fn starts(host: HostId) -> u32 {
    command("starts", false, |k, _| k.hosts[host].starts)
}

/// A host's addresses.
#[must_use]
pub fn addresses(host: HostId) -> (Ipv4Addr, Ipv6Addr) {
    command("addresses", false, |k, _| (k.hosts[host].v4, k.hosts[host].v6))
}

/// Sets what a segment takes from one host to another in good weather; what faults add comes on top.
pub fn distance(from: HostId, to: HostId, one_way: Duration) {
    command("distance", true, |k, _| k.net.links.set_distance(from, to, delay_ns(one_way)));
}

/// Cuts all links between two groups, in both directions or from the first to the second only.
pub fn partition(from: &[HostId], to: &[HostId], both_ways: bool) -> FaultId {
    command("partition", true, |k, _| k.net_harm(Harm::Cut, &links(from, to, both_ways), Draws::ByHand))
}

fn links(from: &[HostId], to: &[HostId], both_ways: bool) -> Links {
    Links { from: from.to_vec(), to: to.to_vec(), both_ways }
}

/// Adds latency to all links between two groups: `latency` plus up to `jitter`.
pub fn slow(from: &[HostId], to: &[HostId], both_ways: bool, latency: Duration, jitter: Duration) -> FaultId {
    command("slow", true, |k, _| {
        let (latency_ns, jitter_ns, spread) = (delay_ns(latency), delay_ns(jitter), Spread::Uniform);
        k.net_harm(
            Harm::Slow { latency_ns, or_ns: Vec::new(), jitter_ns, spread },
            &links(from, to, both_ways),
            Draws::ByHand,
        )
    })
}

/// Loses segments and datagrams between two groups with this probability.
pub fn lossy(from: &[HostId], to: &[HostId], both_ways: bool, probability: f64) -> FaultId {
    command("lossy", true, |k, _| {
        k.net_harm(Harm::Lossy { probability, correlation: 0.0 }, &links(from, to, both_ways), Draws::ByHand)
    })
}

/// Ends a fault and says what it did. Healing twice is harmless.
pub fn heal(fault: FaultId) -> FaultAccount {
    FaultAccount { affected: command("heal", true, |k, _| k.net_heal(fault)) }
}

/// Begins weather: from now on the kernel carries this plan of faults out, until [`end_weather`].
///
/// # Panics
/// When there is weather already; when a fault names a host that does not exist, is to fell or pause host `test`, or
/// has a probability that is none.
pub fn begin_weather(faults: &[Fault]) {
    // A copy made by the kernel, because what it keeps may outlive the caller's heap.
    let begun = command("begin_weather", true, |k, _| k.begin_weather(faults.to_vec()));
    begun.unwrap_or_else(|problem| panic!("{problem}"));
}

/// Ends the weather: heals what is in force at once, cancels what has not begun, and says what became of each fault.
///
/// Paused programs go on. Hosts that are down are left down and named in the report, for the caller to [`restart`]
/// them. Without weather the report is empty.
pub fn end_weather() -> WeatherReport {
    command("end_weather", true, |k, _| k.end_weather())
}

/// What has become of the weather's faults so far; `None` without weather. Changes nothing.
#[must_use]
pub fn weather_so_far() -> Option<WeatherReport> {
    command("weather_so_far", false, |k, _| k.weather_so_far())
}

/// Puts a label into the event stream and the log.
pub fn mark(label: &str) {
    command("mark", true, |k, me| k.mark(me, label));
}

/// A random number from a stream of the test's own; each purpose has one.
#[must_use]
pub fn random_u64(purpose: &str) -> u64 {
    command("random", true, |k, _| {
        let value = k.random_for_test(purpose);
        k.log.returned(&value.to_le_bytes());
        value
    })
}

/// Ends the world.
pub fn finish() -> ! {
    assert!(inside(), "windtunnel: `finish` was called outside a simulated world");
    call("finish", |k, _| {
        k.end(Outcome::Finished);
        Err(Stop::Block)
    });
    unreachable!("the world is over")
}
