//! The context of a test: [`Chaos`].

use crate::arguments::ArgumentOrders;
use crate::blackbox::{BlackBox, Finding, StormBegan, StormEnded, Verdict};
use crate::client::ClientBuilder;
use crate::duration::IntoDuration;
use crate::fault::{Fault, FaultKind, Faults};
use crate::hosts::{Host, HostBuilder, Hosts, Targets};
use crate::leaks::{Before, Leaks};
use crate::storm::Storm;
use crate::wan::Region;
use crate::weather::Forecast;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use windtunnel_faults::{Part, Plan, Topology};
use windtunnel_sim::weather::WeatherReport;
use windtunnel_sim::world::{HostId, Position};

/// A test's handle on its world: it makes hosts and clients, raises storms, and tells time and chance.
///
/// A test takes it as its parameter, beside those that are [drawn](crate::arguments). It is cheap to clone, and clones
/// may go into clients and tasks.
///
/// ```no_run
/// use windtunnel::prelude::*;
///
/// #[chaos_test]
/// async fn survives_a_partition(cx: Chaos) -> Result<()> {
///     let kv = cx.hosts("kv", 3).main(|| { /* the service's own main */ }).ready(tcp(8080)).start().await?;
///     cx.storm(async || {
///         let cut = cx.partition(&kv[0], &kv[1..]);
///         tokio::time::sleep(std::time::Duration::from_secs(5)).await;
///         cut.heal();
///     })
///     .await;
///     Ok(())
/// }
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Chaos {
    shared: Arc<Shared>,
}

/// What all clones of the context have in common.
pub(crate) struct Shared {
    seed: u64,
    calm: bool,
    /// What every host's environment starts from.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) blackbox: &'static BlackBox,
    planned: Planned,
    /// How the test's arguments differ from what the seed draws.
    pub(crate) arguments: ArgumentOrders,
    state: Mutex<State>,
}

/// What the first storm brings.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// For the rehearsal's hosts, of which some may not be here.
    pub(crate) is_drawn: bool,
    /// The faults do nothing, to see whether anybody notices.
    pub(crate) becalmed: bool,
}

#[derive(Default)]
pub(crate) struct State {
    /// In the order in which they were made.
    pub(crate) hosts: Vec<Host>,
    pub(crate) clients: Vec<(String, HostId)>,
    pub(crate) faults: Faults,
    pub(crate) storm: bool,
    /// In which parts of the world hosts are.
    places: Vec<(HostId, Region)>,
    /// How often a storm has begun.
    pub(crate) storms: u32,
    /// What services had when the first began.
    before: Vec<Before>,
    /// Every host, for plans.
    pub(crate) topology: Topology,
    /// The plan as the kernel carries it out, while it does.
    pub(crate) forecast: Option<Forecast>,
}

/// The host that runs the test body; the kernel makes it first.
const TEST: (&str, HostId) = ("test", HostId(0));

impl Shared {
    /// The hosts and clients of these names.
    #[track_caller]
    fn ids(&self, names: &[String]) -> Vec<HostId> {
        let state = self.state();
        let mut ids = Vec::new();
        for name in names {
            match self.id(&state, name) {
                Some(id) => ids.push(id),
                None => {
                    let known: Vec<&str> = state.topology.members().iter().map(|member| member.name.as_str()).collect();
                    panic!("there is no host `{name}`; there are {}", known.join(", "));
                }
            }
        }
        ids
    }

    /// The number of a host or client.
    fn id(&self, state: &State, name: &str) -> Option<HostId> {
        let hosts = state.hosts.iter().map(|host| (host.name(), host.id()));
        let clients = state.clients.iter().map(|(name, id)| (name.as_str(), *id));
        hosts.chain(clients).chain([TEST]).find(|(known, _)| *known == name).map(|(_, id)| id)
    }

    /// Has the kernel carry the plan out from now on, if this is the first storm.
    ///
    /// # Errors
    /// Why that is impossible, in a sentence.
    pub(crate) fn begin_weather(&self) -> Result<(), String> {
        let mut state = self.state();
        let hosts = state
            .topology
            .members()
            .iter()
            .map(|member| (member.name.clone(), member.group.clone(), member.part == Part::Client));
        let Position { event, now_ns } = crate::world::position();
        let began = StormBegan { at_ns: now_ns, event, hosts: hosts.collect() };
        self.blackbox.findings().push(&Finding::StormBegan(began));
        state.storms += 1;
        if state.storms == 1 {
            let before = |host: &Host| Before { name: host.name().to_owned(), host: host.id(), usage: host.usage() };
            state.before = state.hosts.iter().map(before).collect();
        }
        let Planned { plan, is_drawn, becalmed } = &self.planned;
        if state.storms > 1 || plan.faults.is_empty() {
            return Ok(());
        }
        let id = |name: &str| self.id(&state, name);
        let forecast = match is_drawn {
            true => Forecast::of_drawn(plan, &state.topology, id)?,
            false => Forecast::of(plan, &state.topology, id)?,
        };
        if !becalmed {
            crate::world::begin_weather(&forecast.faults);
        }
        state.forecast = Some(forecast);
        Ok(())
    }

    /// Heals what is in force and accounts for it. Answers the hosts that are down, and those that may not be ready.
    pub(crate) fn end_weather(&self) -> (Vec<Host>, Vec<Host>) {
        let mut state = self.state();
        let report = crate::world::end_weather();
        self.account(state.forecast.take(), &report, crate::world::position());
        let of = |ids: &[HostId]| {
            ids.iter().filter_map(|id| state.hosts.iter().find(|host| host.id() == *id).cloned()).collect()
        };
        (of(&report.left_down), of(&report.restarted))
    }

    /// Writes down what became of the plan.
    pub(crate) fn account(&self, forecast: Option<Forecast>, report: &WeatherReport, at: Position) {
        let (at_ns, event) = (at.now_ns, at.event);
        let faults = forecast.map_or_else(Vec::new, |forecast| forecast.accounts(&report.faults));
        self.blackbox.findings().push(&Finding::StormEnded(StormEnded { at_ns, event, faults }));
    }

    pub(crate) fn plan_is_drawn(&self) -> bool {
        self.planned.is_drawn
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.planned.plan
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Writes down what became of a plan by the world's end, when somebody who never runs again may hold the state.
    pub(crate) fn account_afterwards(&self, report: &WeatherReport, at: Position) {
        if let Ok(mut state) = self.state.try_lock() {
            self.account(state.forecast.take(), report, at);
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic ends the case; nothing here is left half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chaos {
    pub(crate) fn new(
        seed: u64,
        calm: bool,
        environment: Vec<(String, String)>,
        blackbox: &'static BlackBox,
        planned: Planned,
        arguments: ArgumentOrders,
    ) -> Self {
        let state = Mutex::new(State { topology: Topology::new().client(TEST.0), ..State::default() });
        Self { shared: Arc::new(Shared { seed, calm, environment, blackbox, planned, arguments, state }) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Describes a group of `count` hosts that run the same program. Member `i` is named `{group}{i}`: the group `kv`
    /// has `kv0`, `kv1`, `kv2`.
    pub fn hosts(&self, group: &str, count: usize) -> HostBuilder<Hosts> {
        let names = (0..count).map(|index| format!("{group}{index}")).collect();
        HostBuilder::new(&self.shared, group, names)
    }

    /// Describes a single host.
    pub fn host(&self, name: &str) -> HostBuilder<Host> {
        HostBuilder::new(&self.shared, name, vec![name.to_owned()])
    }

    /// Describes a client: a host whose program is part of the test, and may capture and share what the test has.
    pub fn client(&self, name: &str) -> ClientBuilder {
        ClientBuilder::new(&self.shared, name)
    }

    /// Runs `workload` in a storm. When it ends (and no sooner than [`Storm::lasting`] says) every fault is healed,
    /// hosts that were crashed, killed or paused by hand included, and the workload's value is returned.
    ///
    /// ```no_run
    /// # use windtunnel::prelude::*;
    /// # async fn example(cx: Chaos, kv: Hosts) -> Result<()> {
    /// let acknowledged: Vec<u32> = cx
    ///     .storm(async || {
    ///         kv[0].crash();
    ///         vec![1, 2, 3]
    ///     })
    ///     .lasting("30s")
    ///     .await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn storm<F: AsyncFnOnce() -> R, R>(&self, workload: F) -> Storm<'_, F> {
        Storm::new(self, workload)
    }

    /// Whether no service has more descriptors or threads than when the first storm began. Connections that a service
    /// may still be closing, and threads that end when nothing is left to do, take a while: give them that.
    ///
    /// Services that were down then, or are now, are passed over, and so are clients and hosts made since. Memory is
    /// not compared.
    ///
    /// ```no_run
    /// # use windtunnel::prelude::*;
    /// # async fn example(cx: Chaos) -> Result<()> {
    /// cx.storm(async || { /* connect, be cut off, connect again */ }).await;
    /// eventually!(within = "60s", cx.no_leaks());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Who has more, by how much, and what it has open.
    ///
    /// # Panics
    /// No storm has begun yet: there is nothing to compare with.
    #[track_caller]
    pub fn no_leaks(&self) -> std::result::Result<(), Leaks> {
        let state = self.shared.state();
        assert!(state.storms > 0, "`no_leaks` compares with a storm's beginning; call it after `cx.storm(…)`");
        Leaks::since(&state.before)
    }

    /// Ends the case with this verdict.
    pub(crate) fn give_up(&self, verdict: Verdict<'_>) -> ! {
        crate::world::conclude(self.shared.blackbox, verdict);
        crate::world::finish()
    }

    /// Puts a label into the event stream and the logs of the host that calls it.
    pub fn mark(&self, label: &str) {
        crate::world::mark(label);
    }

    /// Says what a segment takes between `one` and `other` in good weather, each way: until the end of the test.
    /// Outside of the rehearsal each takes up to half a millisecond more, and what faults do comes on top. About a
    /// millisecond unless it is said.
    ///
    /// # Panics
    /// A name belongs to no host, or the text is no duration.
    #[track_caller]
    pub fn distance(&self, one: impl Targets, other: impl Targets, one_way: impl IntoDuration) {
        let (one, other) = (self.shared.ids(&one.names()), self.shared.ids(&other.names()));
        self.set_distance(&one, &other, crate::duration::expect(one_way));
    }

    /// Puts hosts into a part of the world, which decides how far they are from those that were put into another. Hosts
    /// that are not placed, clients and the test among them, stay about a millisecond from all.
    ///
    /// ```no_run
    /// # use windtunnel::prelude::*;
    /// use windtunnel::wan::Region;
    /// # fn example(cx: Chaos, kv: Hosts) {
    /// for (host, region) in kv.iter().zip([Region::UsEast, Region::UsWest, Region::Europe]) {
    ///     cx.place(host, region);
    /// }
    /// # }
    /// ```
    ///
    /// # Panics
    /// A name belongs to no host.
    #[track_caller]
    pub fn place(&self, hosts: impl Targets, region: Region) {
        for id in self.shared.ids(&hosts.names()) {
            let mut state = self.shared.state();
            state.places.retain(|(placed, _)| *placed != id);
            let others = state.places.clone();
            state.places.push((id, region));
            drop(state);
            for (other, there) in others {
                self.set_distance(&[id], &[other], region.distance(there));
            }
        }
    }

    fn set_distance(&self, one: &[HostId], other: &[HostId], one_way: Duration) {
        for (from, to) in one.iter().flat_map(|from| other.iter().map(move |to| (*from, *to))) {
            if from != to {
                crate::world::distance(from, to, one_way);
                crate::world::distance(to, from, one_way);
            }
        }
    }

    /// Cuts every link between `one` and `other`, in both directions. Streams stall and go on after healing;
    /// connecting times out as Linux does.
    ///
    /// # Panics
    /// A name belongs to no host.
    #[track_caller]
    pub fn partition(&self, one: impl Targets, other: impl Targets) -> Fault {
        self.fault(one, other, FaultKind::Partition { both_ways: true })
    }

    /// Cuts every link from `from` to `to`: what the latter send still arrives.
    ///
    /// # Panics
    /// A name belongs to no host.
    #[track_caller]
    pub fn partition_one_way(&self, from: impl Targets, to: impl Targets) -> Fault {
        self.fault(from, to, FaultKind::Partition { both_ways: false })
    }

    /// Adds `latency`, and up to `jitter` more, to everything between `one` and `other`.
    ///
    /// # Panics
    /// A name belongs to no host, or a text is no duration.
    #[track_caller]
    pub fn slow(
        &self,
        one: impl Targets,
        other: impl Targets,
        latency: impl IntoDuration,
        jitter: impl IntoDuration,
    ) -> Fault {
        let (latency, jitter) = (crate::duration::expect(latency), crate::duration::expect(jitter));
        self.fault(one, other, FaultKind::Slow { latency, jitter })
    }

    /// Loses each packet between `one` and `other` with this probability. TCP repeats what is lost, later.
    ///
    /// # Panics
    /// A name belongs to no host, or the probability is not between 0 and 1.
    #[track_caller]
    pub fn lossy(&self, one: impl Targets, other: impl Targets, probability: f64) -> Fault {
        assert!((0.0..=1.0).contains(&probability), "a probability lies between 0 and 1, not at {probability}");
        self.fault(one, other, FaultKind::Lossy { probability })
    }

    #[track_caller]
    fn fault(&self, from: impl Targets, to: impl Targets, kind: FaultKind) -> Fault {
        Fault::begin(&self.shared, &self.shared.ids(&from.names()), &self.shared.ids(&to.names()), &kind)
    }

    /// The case's seed.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// Whether this is the calm rehearsal: the weather is good, and faults are for the cases that follow.
    pub fn is_calm(&self) -> bool {
        self.shared.calm
    }

    /// Whether this is the real world: hosts are processes, and faults are the real kernel's.
    pub fn is_real(&self) -> bool {
        crate::world::is_real()
    }

    /// Virtual time since the case began; in the real world, real time.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(crate::world::position().now_ns)
    }

    /// A value drawn by the seed, from a stream that only this function uses: an integer or a `bool` evenly, an `f64`
    /// from 0 up to 1.
    ///
    /// ```no_run
    /// # fn example(cx: windtunnel::Chaos) {
    /// let key = cx.random::<u64>() % 10;
    /// # }
    /// ```
    pub fn random<T: Random>(&self) -> T {
        T::from_u64(crate::world::random_u64("test"))
    }

    /// One of these, drawn by the seed; nothing of nothing.
    pub fn pick<'a, T>(&self, choices: &'a [T]) -> Option<&'a T> {
        let drawn = self.random::<u64>();
        // The bias of the remainder is below 2^-32 for any slice that fits into a test.
        let index = drawn.checked_rem(choices.len() as u64)?;
        choices.get(index as usize)
    }
}

impl Debug for Chaos {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chaos")
            .field("seed", &self.shared.seed)
            .field("calm", &self.shared.calm)
            .finish_non_exhaustive()
    }
}

/// A type that [`Chaos::random`] draws.
pub trait Random {
    /// Makes a value of 64 random bits.
    fn from_u64(bits: u64) -> Self;
}

macro_rules! random_integers {
    ($($integer:ty),*) => {$(
        impl Random for $integer {
            fn from_u64(bits: u64) -> Self {
                // The upper bits; all of them for 64.
                (bits >> (64 - <$integer>::BITS)) as Self
            }
        }
    )*};
}
random_integers!(u8, u16, u32, u64, i8, i16, i32, i64);

impl Random for usize {
    fn from_u64(bits: u64) -> Self {
        bits as Self
    }
}

impl Random for bool {
    fn from_u64(bits: u64) -> Self {
        bits >> 63 == 1
    }
}

impl Random for f64 {
    fn from_u64(bits: u64) -> Self {
        // 53 bits fill a mantissa.
        (bits >> 11) as Self / (1_u64 << 53) as Self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also shows that a chaos test can be a unit test, of the crate itself.
    #[crate::chaos_test(crate = crate, cases = 4)]
    async fn values_are_drawn_by_the_seed(cx: Chaos) {
        let drawn: Vec<u64> = (0..20).map(|_| cx.random::<u64>() % 1000).collect();
        assert!(drawn.iter().any(|value| *value != drawn[0]), "{drawn:?}");
        assert!(cx.pick(&drawn).is_some_and(|picked| drawn.contains(picked)));
        assert_eq!(cx.pick::<u8>(&[]), None);
    }

    #[test]
    fn random_bits_become_values_of_each_type() {
        assert_eq!(u8::from_u64(0xab00_0000_0000_0000), 0xab);
        assert_eq!(u64::from_u64(7), 7);
        assert!(bool::from_u64(1 << 63) && !bool::from_u64(u64::MAX >> 1));
        assert!((f64::from_u64(1 << 63) - 0.5).abs() < f64::EPSILON && f64::from_u64(u64::MAX) < 1.0);
    }
}
