//! A host that has been started.

use super::ready::{NotReady, Probe};
use super::{OnExit, Targets};
use crate::chaos::Shared;
use std::fmt::{self, Debug, Formatter};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, sleep};
use windtunnel_sim::world::{Exit, HostId, HostState as SimState, Usage};

/// How often waiting for a host's end looks; it costs nothing but an event.
const LOOK: Duration = Duration::from_millis(1);

/// A machine of the test's world, and the program on it.
///
/// Cloning it copies the handle. Dropping it changes nothing.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    id: HostId,
    name: String,
    /// Weak: the context keeps its hosts.
    shared: Weak<Shared>,
    probe: Option<Probe>,
    waits: Waits,
    on_exit: OnExit,
}

/// How long is waited for a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    pub(super) ready_within: Duration,
    pub(super) stop_within: Option<Duration>,
}

/// A host's condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostState {
    /// Its program runs.
    Up,
    /// Its program is suspended.
    Paused,
    /// It was crashed or killed and has not been restarted, or never ran.
    Down,
    /// Its program ended with this exit code.
    Exited(i32),
    /// Its program was ended by this signal: 15 after [`Host::stop`] when it does not handle SIGTERM, 6 after an abort,
    /// 11 after a segmentation fault or stack overflow.
    Killed(i32),
}

/// A host could not be started, or not be started again.
#[derive(Debug, Error)]
pub enum HostError {
    /// Two hosts or clients have the same name, or the name is no host name.
    #[error("the name `{name}` cannot be used: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No program was given.
    #[error("`{group}` has no program: call `.main(..)` or `.run(..)` before `.start()`")]
    NoProgram {
        /// The group, or the host.
        group: String,
    },
    /// Commands are processes of a real world.
    #[error(
        "`{group}` runs the command `{command}`, and this world is simulated: add `world = real` to the test, or run \
         the service's `main`"
    )]
    NotHere {
        /// The group, or the host.
        group: String,
        /// The command.
        command: String,
    },
    /// The arguments for `.run(..)` cannot be passed by value.
    #[error("the arguments of `{group}` cannot be serialised: {source}")]
    Arguments {
        /// The group, or the host.
        group: String,
        /// What serde says.
        source: serde_json::Error,
    },
    /// The kernel refused to start it.
    #[error("failed to start {host}: {reason}")]
    Start {
        /// The host.
        host: String,
        /// The kernel's reason.
        reason: String,
    },
    /// It was started and did not become ready.
    #[error(transparent)]
    NotReady(#[from] NotReady),
}

impl Host {
    pub(super) fn new(
        id: HostId,
        name: String,
        shared: &Arc<Shared>,
        probe: Option<Probe>,
        waits: Waits,
        on_exit: OnExit,
    ) -> Self {
        Self { inner: Arc::new(Inner { id, name, shared: Arc::downgrade(shared), probe, waits, on_exit }) }
    }

    pub(crate) fn id(&self) -> HostId {
        self.inner.id
    }

    pub(super) fn sim_state(&self) -> SimState {
        crate::world::state(self.id())
    }

    /// Whether nobody starts it again when its program has ended.
    pub(super) fn ends_for_good(&self) -> bool {
        !matches!(self.inner.on_exit, OnExit::Restart { .. })
    }

    /// Its name, which resolves to its addresses on every host.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its IPv4 address.
    pub fn ip(&self) -> Ipv4Addr {
        crate::world::addresses(self.id()).0
    }

    /// Its IPv6 address.
    pub fn ip6(&self) -> Ipv6Addr {
        crate::world::addresses(self.id()).1
    }

    /// Its IPv4 address with a port.
    pub fn addr(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.ip(), port))
    }

    /// `http://{name}:{port}{path}`.
    pub fn url(&self, port: u16, path: &str) -> String {
        format!("http://{}:{port}{path}", self.name())
    }

    /// Its condition now.
    pub fn state(&self) -> HostState {
        match self.sim_state() {
            SimState::Up => HostState::Up,
            SimState::Paused => HostState::Paused,
            SimState::Down(None | Some(Exit::Signal(libc::SIGKILL))) => HostState::Down,
            SimState::Down(Some(Exit::Code(code))) => HostState::Exited(code),
            SimState::Down(Some(Exit::Signal(signal))) => HostState::Killed(signal),
        }
    }

    /// What its program has now: descriptors, threads and memory; nothing when it is down. A test that compares two of
    /// these finds what its service leaks; [`Chaos::no_leaks`](crate::Chaos::no_leaks) compares all services.
    ///
    /// ```no_run
    /// # use windtunnel::prelude::*;
    /// # async fn example(cx: Chaos, kv: Host) -> Result<()> {
    /// let before = kv.usage();
    /// cx.storm(async || { /* connect, be cut off, connect again */ }).await;
    /// eventually!(within = "60s", kv.usage().descriptors <= before.descriptors);
    /// # Ok(())
    /// # }
    /// ```
    pub fn usage(&self) -> Usage {
        crate::world::usage(self.id())
    }

    /// Asks its program to end: SIGTERM. It stays down after that, also at a storm's end.
    pub fn stop(&self) {
        self.felled(false);
        crate::world::terminate(self.id());
    }

    /// Asks its program to end, and waits until it has; one that takes longer than [`HostBuilder::stop_within`] says is
    /// killed.
    ///
    /// [`HostBuilder::stop_within`]: crate::HostBuilder::stop_within
    pub async fn stop_and_wait(&self) {
        self.stop();
        let _waiting = crate::world::Waiting::begin(format!("{} to end", self.name()));
        let deadline = self.inner.waits.stop_within.map(|within| Instant::now() + within);
        while !matches!(self.sim_state(), SimState::Down(_)) {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                crate::world::kill(self.id());
            }
            sleep(LOOK).await;
        }
    }

    /// Ends its program at once, with all that it has started: SIGKILL. The kernel closes its sockets, so peers hear of
    /// it. A storm's end starts it again.
    pub fn kill(&self) {
        self.felled(true);
        crate::world::kill(self.id());
    }

    /// Cuts its power: nothing of it runs again, peers hear nothing, and what was not synced to its disk may be gone. A
    /// storm's end starts it again.
    pub fn crash(&self) {
        self.felled(true);
        crate::world::crash(self.id());
    }

    /// Cuts its power, to go through everything that this can leave of its disk: what was synced, and of the rest every
    /// legal choice. Their number grows with what is unsynced, as a product; so ask when little is.
    ///
    /// ```no_run
    /// # use windtunnel::prelude::*;
    /// # async fn example(cx: Chaos, db: Host) -> Result<()> {
    /// let mut states = db.crash_states();
    /// while states.next() {
    ///     db.restart().await?; // recovers, or the test fails
    ///     // … ask it what it knows
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn crash_states(&self) -> CrashStates {
        self.felled(true);
        crate::world::begin_crash_states(self.id());
        CrashStates { host: self.clone(), seen: 0 }
    }

    /// Suspends its program: it does nothing, while its kernel goes on to take what arrives. A storm's end resumes it.
    pub fn pause(&self) {
        self.noted(|faults, host| faults.paused(host, true));
        crate::world::pause(self.id());
    }

    /// Lets a suspended program go on.
    pub fn resume(&self) {
        self.noted(|faults, host| faults.paused(host, false));
        crate::world::resume(self.id());
    }

    /// Starts its program again, as it was started at first, and waits until it is ready. A host that is up loses its
    /// power first, as by [`crash`](Self::crash), and with it what was not synced; to keep that, call
    /// [`kill`](Self::kill) before.
    ///
    /// # Errors
    /// It could not be started, or did not become ready in time.
    pub async fn restart(&self) -> Result<(), HostError> {
        if !matches!(self.sim_state(), SimState::Down(_)) {
            crate::world::crash(self.id());
        }
        self.felled(false);
        self.noted(|faults, host| faults.paused(host, false));
        let failed = |reason| HostError::Start { host: self.name().to_owned(), reason };
        crate::world::restart(self.id()).map_err(failed)?;
        self.wait_ready().await?;
        Ok(())
    }

    /// Waits until it is ready, as its `.ready(..)` says.
    ///
    /// # Errors
    /// Its program ended, or the time is over.
    pub async fn wait_ready(&self) -> Result<(), NotReady> {
        match &self.inner.probe {
            Some(probe) => probe.wait(self, self.inner.waits.ready_within).await,
            None => Ok(()),
        }
    }

    fn felled(&self, felled: bool) {
        self.noted(|faults, host| faults.felled(host, felled));
    }

    fn noted(&self, note: impl FnOnce(&mut crate::fault::Faults, &Self)) {
        if let Some(shared) = self.inner.shared.upgrade() {
            note(&mut shared.state().faults, self);
        }
    }
}

impl Debug for Host {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Host").field(&self.name()).finish()
    }
}

pub(super) fn exit_text(exit: Option<Exit>) -> String {
    match exit {
        None => "it is down".to_owned(),
        Some(Exit::Code(code)) => format!("exit code {code}"),
        Some(Exit::Signal(signal)) => format!("signal {signal}"),
    }
}

/// Everything that a loss of power can leave of a host's disk, one after the other. Made by [`Host::crash_states`].
#[derive(Debug)]
pub struct CrashStates {
    host: Host,
    seen: usize,
}

impl CrashStates {
    /// Gives the host the next disk. It is down then; [`Host::restart`] starts it. False when it has had all of them.
    #[expect(clippy::should_implement_trait, reason = "what it gives is a state of the host, not an item")]
    pub fn next(&mut self) -> bool {
        self.host.felled(true);
        let more = crate::world::next_crash_state(self.host.id());
        self.seen += usize::from(more);
        more
    }

    /// How many it has had so far.
    pub fn seen(&self) -> usize {
        self.seen
    }
}

/// A group of hosts: a slice of [`Host`], in the order of their numbers.
///
/// ```no_run
/// # use windtunnel::prelude::*;
/// # fn example(cx: Chaos, kv: Hosts) {
/// let names: Vec<&str> = kv.iter().map(Host::name).collect();
/// cx.partition(&kv[0], &kv[1..]).keep();
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Hosts(Arc<[Host]>);

impl Hosts {
    pub(super) fn new(hosts: Vec<Host>) -> Self {
        Self(hosts.into())
    }
}

impl Deref for Hosts {
    type Target = [Host];

    fn deref(&self) -> &[Host] {
        &self.0
    }
}

impl AsRef<[Host]> for Hosts {
    fn as_ref(&self) -> &[Host] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Hosts {
    type Item = &'a Host;
    type IntoIter = std::slice::Iter<'a, Host>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

const _: () = {
    // Hosts go into clients and tasks.
    const fn shareable<T: Send + Sync + Targets>() {}
    shareable::<Host>();
    shareable::<Hosts>();
};
