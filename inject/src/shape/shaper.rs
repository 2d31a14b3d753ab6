//! Troubles put in force on a network namespace, and taken back.

use super::diversion::{Diversion, REMOVING};
use super::enforce::enforce;
use super::engine::{Engine, Pair, TroubleId, pairs};
use super::inspection::Inspection;
use super::queue::{Listing, Queue, Row};
use super::rule::Description;
use super::trouble::{Links, Trouble};
use crate::Injection;
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::step::reached;
use rustix::event::EventfdFlags;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

/// Shapes what is forwarded in a network namespace. Copies are the same shaper.
///
/// Nothing is queued, and nothing is slower, as long as there is no trouble; with troubles, only what they concern.
/// What has been held back is delivered at its time even after the trouble has ended; the last copy that is dropped,
/// of this and of its troubles, lets all of it go at once.
///
/// ```no_run
/// use std::time::Duration;
/// use windtunnel_inject::Injection;
/// use windtunnel_inject::shape::{Links, Shaper, Spread, Trouble};
///
/// let shaper = Shaper::start(7)?;
/// let (a, b) = (["10.0.0.1".parse().unwrap()], ["10.0.0.2".parse().unwrap()]);
/// let links = Links { from: vec![a.into()], to: vec![b.into()], both_ways: true };
/// let slow = Trouble::Slow {
///     latency: Duration::from_millis(50),
///     or: Vec::new(),
///     jitter: Duration::ZERO,
///     spread: Spread::Uniform,
/// };
/// let mut slow = shaper.begin(&links, slow)?;
/// slow.read_back()?;
/// slow.heal()?;
/// # Ok::<(), windtunnel_inject::Error>(())
/// ```
#[derive(Clone)]
pub struct Shaper {
    running: Arc<Running>,
}

/// A trouble in force.
pub struct Shaping {
    running: Arc<Running>,
    id: TroubleId,
    pairs: BTreeSet<Pair>,
    /// What it had bitten on when it was healed.
    bit_in_all: Option<u64>,
    /// How many lapses and overruns there had been when that was last asked.
    lapses_told: u64,
    overruns_told: u64,
}

/// What the enforcing thread shares with everybody else.
pub(super) struct Shared {
    pub(super) engine: Mutex<Engine>,
    pub(super) diversion: Mutex<Diversion>,
    pub(super) overruns: AtomicU64,
    /// How often the lease had run out before it was renewed.
    pub(super) lapses: AtomicU64,
    inspection: Mutex<Inspection>,
    listing: Mutex<Listing>,
    queue: u16,
    port: u32,
}

struct Running {
    shared: Arc<Shared>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Shaper {
    /// For the calling thread's network namespace. The seed decides every choice.
    ///
    /// # Errors
    /// The kernel has no NFQUEUE, or the caller no `CAP_NET_ADMIN` in that namespace.
    pub fn start(seed: u64) -> Result<Self> {
        Self::start_where(None, seed)
    }

    /// For this network namespace, without entering it.
    ///
    /// # Errors
    /// As [`start`](Self::start), or the caller may not enter it (setns(2)).
    pub fn start_in(namespace: BorrowedFd<'_>, seed: u64) -> Result<Self> {
        let namespace = namespace.try_clone_to_owned().map_err(|error| Error::os("hold a network namespace", error))?;
        Self::start_where(Some(namespace), seed)
    }

    fn start_where(namespace: Option<OwnedFd>, seed: u64) -> Result<Self> {
        let failed = |error: std::io::Error| Error::os("start a thread that shapes traffic", error);
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let stop = Arc::new(stop);
        let (ready, is_ready) = mpsc::channel();
        let stopped = stop.clone();
        let run = move || match set_up(namespace, seed) {
            Ok((queue, shared)) => {
                let shared = Arc::new(shared);
                if ready.send(Ok(shared.clone())).is_ok() {
                    // When this fails the queue is closed, and packets pass. Whoever reads it back is told.
                    let _ = enforce(queue, &shared, stopped.as_fd());
                }
            }
            // If nobody waits for it, nobody needs it.
            Err(error) => drop(ready.send(Err(error))),
        };
        let thread = std::thread::Builder::new().name("shaper".to_owned()).spawn(run).map_err(failed)?;
        let shared = is_ready.recv().map_err(|_| failed(std::io::Error::other("it ended")))??;
        Ok(Self { running: Arc::new(Running { shared, stop, thread: Some(thread) }) })
    }

    /// Puts a trouble in force. When this returns, what is sent from now on meets it.
    ///
    /// # Errors
    /// There is no such trouble, or the kernel refuses to divert the packets.
    pub fn begin(&self, links: &Links, trouble: Trouble) -> Result<Shaping> {
        trouble.check()?;
        let pairs = pairs(links);
        let shared = &self.running.shared;
        let [lapses_told, overruns_told] =
            [&shared.lapses, &shared.overruns].map(|counter| counter.load(Ordering::Relaxed));
        let id = lock(&shared.engine).begin(links, trouble);
        reached("an engine knows a trouble");
        if let Err(error) = lock(&shared.diversion).add(&pairs) {
            lock(&shared.engine).end(id);
            return Err(error);
        }
        Ok(Shaping { running: self.running.clone(), id, pairs, bit_in_all: None, lapses_told, overruns_told })
    }

    /// How often so many packets have been held, or waited to be judged, that others passed without any trouble, if any
    /// came. Troubles in force say so when they are [read back](Injection::read_back).
    pub fn overruns(&self) -> u64 {
        self.running.shared.overruns.load(Ordering::Relaxed)
    }

    /// How many packets the kernel holds at the moment.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn held(&self) -> Result<u64> {
        Ok(self.running.shared.row()?.map_or(0, |row| row.held))
    }
}

/// On the thread that enforces.
fn set_up(namespace: Option<OwnedFd>, seed: u64) -> Result<(Queue, Shared)> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    if let Some(namespace) = namespace {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| Error::os("enter a network namespace", error))?;
    }
    let queue = Queue::bind()?;
    let description = Description::of(queue.number());
    let shared = Shared {
        engine: Mutex::new(Engine::new(seed)),
        diversion: Mutex::new(Diversion::new(description.clone())?),
        inspection: Mutex::new(Inspection::new(description)?),
        overruns: AtomicU64::new(0),
        lapses: AtomicU64::new(0),
        listing: Mutex::new(Listing::open()?),
        queue: queue.number(),
        port: queue.port(),
    };
    Ok((queue, shared))
}

impl Shared {
    /// What the kernel says of our queue, if it is ours.
    fn row(&self) -> Result<Option<Row>> {
        Ok(lock(&self.listing).row(self.queue)?.filter(|row| row.port == self.port))
    }
}

impl Injection for Shaping {
    fn mechanism(&self) -> &'static str {
        lock(&self.running.shared.diversion).mechanism()
    }

    fn read_back(&mut self) -> Result<()> {
        let shared = &self.running.shared;
        if self.bit_in_all.is_some() {
            return Err(Error::unlike("shape traffic", "a trouble", "that it has been healed"));
        }
        // What was is said once.
        let lapses = since(&shared.lapses, &mut self.lapses_told);
        if lapses > 0 {
            let found = format!("this process stood still, and packets passed for a while, {lapses} times");
            return Err(Error::unlike("shape traffic", "all the time", found));
        }
        let overruns = since(&shared.overruns, &mut self.overruns_told);
        if overruns > 0 {
            let found = format!("so many packets were held that there was no room for others, {overruns} times");
            return Err(Error::unlike("shape traffic", "every packet", found));
        }
        if shared.row()?.is_none() {
            let wanted = format!("queue {} of port {}", shared.queue, shared.port);
            return Err(Error::unlike("shape traffic", wanted, "no such queue"));
        }
        lock(&shared.inspection).read_back(&self.pairs)
    }

    fn bit(&mut self) -> Result<u64> {
        Ok(self.bit_in_all.unwrap_or_else(|| lock(&self.running.shared.engine).bit(self.id)))
    }

    fn heal(&mut self) -> Result<()> {
        let shared = &self.running.shared;
        if self.bit_in_all.is_none() {
            // First the rule: what still comes must not find fewer troubles than what came before.
            let removed = lock(&shared.diversion).remove(&self.pairs);
            self.bit_in_all = Some(lock(&shared.engine).end(self.id));
            reached("an engine has forgotten a trouble");
            removed?;
        }
        let left = lock(&shared.inspection).diverted(&self.pairs)?;
        let diversion = lock(&shared.diversion);
        match left.iter().find(|pair| !diversion.wants(pair)) {
            None => Ok(()),
            Some((from, to)) => Err(Error::unlike(REMOVING, "no rule", format!("a rule for {from} to {to}"))),
        }
    }
}

impl Drop for Shaping {
    fn drop(&mut self) {
        if self.bit_in_all.is_none() {
            // There is nobody to tell.
            let _ = self.heal();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An eventfd takes 2^64 - 2 of these (eventfd(2)).
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// By how much a counter has grown since it was last asked.
fn since(counter: &AtomicU64, told: &mut u64) -> u64 {
    let now = counter.load(Ordering::Relaxed);
    now - std::mem::replace(told, now)
}
