//! Drawing plans: which kinds, how many, when, in which shape, within which budget.
//!
//! | question | file |
//! | --- | --- |
//! | What may go wrong? | [`kinds`] |
//! | What does a seed make of it? | `weather.rs` (the swarm), `draw.rs` (one fault), `shapes.rs` (several together) |
//! | What is never drawn? | [`budget`] |
//!
//! The vocabulary is a plain value that an attribute can hold; hosts and window are known only when a test runs.

pub(crate) mod budget;
mod dice;
mod draw;
pub(crate) mod kinds;
mod shapes;
mod strategy;
mod weather;

pub use strategy::{PlanStrategy, PlanTree};

use crate::duration;
use crate::plan::Plan;
use crate::topology::Topology;
use dice::Dice;
use kinds::{Kinds, host, net};
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::ops::Range;
use std::time::Duration;

/// What plans are drawn from. Cheap to clone, and an expression that an attribute or a `const` can hold.
///
/// ```
/// use windtunnel_faults::{self as faults, Faults, net};
///
/// const NETWORK: Faults = faults::plan().kinds(net::all()).at_most(6);
/// # let _ = NETWORK;
/// ```
///
/// ```
/// use std::time::Duration;
/// use windtunnel_faults::{self as faults, Shape, Topology, host, net};
///
/// let vocabulary = faults::plan().kinds(net::all() + host::crashes()).at_most(6);
/// let topology = Topology::new().group("kv", 3).host("c1");
/// let plan = vocabulary.draw(0x5f1d, &topology, Duration::from_secs(10));
/// assert_eq!(plan, vocabulary.draw(0x5f1d, &topology, Duration::from_secs(10)));
/// assert!(plan.faults.len() <= 6 && plan.validate_for(&topology).is_ok());
///
/// let rolling = faults::plan().shape(Shape::RollingRestart);
/// assert!(rolling.draw(1, &topology, Duration::from_secs(10)).to_string().contains("crash"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    kinds: Kinds,
    faults_max: usize,
    window: Option<Window>,
    shape: Shape,
    length_min: Duration,
    length_max: Option<Duration>,
    marks: Vec<String>,
    swarm: Swarm,
    budget: Budget,
    rare: Kinds,
    rare_max: usize,
}

/// How the faults of a plan belong together.
///
/// ```
/// use std::time::Duration;
/// use windtunnel_faults::{self as faults, Shape, Topology, net};
///
/// let flapping = faults::plan().kinds(net::partitions()).shape(Shape::Flapping).at_most(3);
/// let plan = flapping.draw(1, &Topology::new().group("kv", 3), Duration::from_secs(10));
/// assert_eq!(plan.faults[0].effect, plan.faults[1].effect);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Shape {
    /// Each for itself.
    #[default]
    Random,
    /// Hosts are clogged one by one, and unclogged one by one in another order: FoundationDB's "swizzle-clogging",
    /// its best finder of deep problems. Clogged means whatever fits of the kinds that may go wrong, or a partition.
    Swizzle,
    /// Each host of a group of at least four reaches its two neighbours only. Smaller groups get another partition.
    Ring,
    /// Two halves of a group of at least three reach each other through one host only. Smaller groups get another
    /// partition.
    Bridge,
    /// The same fault comes and goes.
    Flapping,
    /// Each host of a group is killed and started again, one after the other, as a deployment does.
    RollingRestart,
}

/// Whether a seed first chooses which kinds are in play, and how hard.
///
/// Most bugs need two or three kinds; an even mixture of all hides them (Groce et al., "Swarm Testing", ISSTA 2012).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Swarm {
    /// A seed has a subset of the kinds, each with an intensity of its own.
    #[default]
    On,
    /// Every seed has all kinds, and each fault an intensity of its own.
    Off,
}

/// How much may be down at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Budget {
    /// A minority of each group of hosts, but at least one host: [`crate::minority`].
    #[default]
    Minority,
    /// Everything: for tests that promise something even then.
    Unlimited,
}

/// The time in which faults begin, counted from the storm's beginning.
///
/// ```
/// use std::time::Duration;
/// use windtunnel_faults::Window;
///
/// let rehearsed = Window::from(Duration::from_secs(4));
/// assert_eq!(rehearsed, Window { from: Duration::ZERO, until: Duration::from_secs(4) });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// No fault begins before.
    pub from: Duration,
    /// No fault begins at or after this, unless the window has no length: then all begin at `from`. The steps of a
    /// shape may run on past it.
    pub until: Duration,
}

impl From<Duration> for Window {
    fn from(length: Duration) -> Self {
        Self { from: Duration::ZERO, until: length }
    }
}

impl From<Range<Duration>> for Window {
    fn from(range: Range<Duration>) -> Self {
        Self { from: range.start, until: range.end }
    }
}

impl Window {
    pub(crate) fn length(self) -> Duration {
        self.until.saturating_sub(self.from)
    }
}

/// What most tests want, and what every world can do.
const KINDS_DEFAULT: Kinds =
    net::partitions().and(net::latencies()).and(net::losses()).and(host::crashes()).and(host::pauses());

/// Enough for a fault of each of several kinds, few enough that most of the workload's time is free of any one.
const FAULTS_MAX_DEFAULT: usize = 8;

/// Half of Linux's shortest retransmission timeout (200 ms): what is shorter is hardly noticed.
const LENGTH_MIN_DEFAULT: Duration = Duration::from_millis(100);

/// Longer than usual election timeouts, retries and health checks, which a short rehearsal says nothing about.
const LENGTH_MAX_LEAST: Duration = Duration::from_secs(5);

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Kinds> for Faults {
    fn from(kinds: Kinds) -> Self {
        Self::new().kinds(kinds)
    }
}

impl Faults {
    /// Partitions, latencies, losses, crashes and pauses; at most 8 of them; in the rehearsal's window.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            kinds: KINDS_DEFAULT,
            faults_max: FAULTS_MAX_DEFAULT,
            window: None,
            shape: Shape::Random,
            length_min: LENGTH_MIN_DEFAULT,
            length_max: None,
            marks: Vec::new(),
            swarm: Swarm::On,
            budget: Budget::Minority,
            rare: Kinds::NONE,
            rare_max: usize::MAX,
        }
    }

    /// What may go wrong, instead of the default.
    #[must_use]
    pub const fn kinds(mut self, kinds: Kinds) -> Self {
        self.kinds = kinds;
        self
    }

    /// What may go wrong; what the shape brings included.
    ///
    /// ```
    /// use windtunnel_faults::{self as faults, Kind, Kinds, Shape};
    ///
    /// let faults = faults::plan().kinds(Kinds::NONE).shape(Shape::Ring);
    /// assert!(faults.kinds_in_play().contains(Kind::Partition));
    /// ```
    #[must_use]
    pub const fn kinds_in_play(&self) -> Kinds {
        match self.shape {
            Shape::Random | Shape::Flapping => self.kinds,
            Shape::Ring | Shape::Bridge => self.kinds.and(net::partitions()),
            Shape::RollingRestart => self.kinds.and(host::crashes()),
            Shape::Swizzle if shapes::clogs(self.kinds).is_empty() => self.kinds.and(net::partitions()),
            Shape::Swizzle => self.kinds,
        }
    }

    /// The most faults of a plan; 8 unless given. Fewer are drawn as often.
    #[must_use]
    pub const fn at_most(mut self, faults: usize) -> Self {
        self.faults_max = faults;
        self
    }

    /// The most faults of these kinds in a plan, taken together; as many as there are faults unless given. For a test
    /// whose promise ends there: what keeps everything in memory survives one crash, say, and any number of partitions.
    ///
    /// ```
    /// use std::time::Duration;
    /// use windtunnel_faults::{self as faults, Kind, Topology, host, net};
    ///
    /// let faults = faults::plan().kinds(net::partitions() + host::crashes()).at_most_of(host::crashes(), 1);
    /// let plan = faults.draw(7, &Topology::new().group("kv", 3), Duration::from_secs(10));
    /// assert!(plan.faults.iter().filter(|fault| fault.kind() == Kind::Crash).count() <= 1);
    /// ```
    #[must_use]
    pub const fn at_most_of(mut self, kinds: Kinds, faults: usize) -> Self {
        self.rare = kinds;
        self.rare_max = faults;
        self
    }

    /// The most faults of a plan.
    #[must_use]
    pub const fn most(&self) -> usize {
        self.faults_max
    }

    /// When faults may begin, instead of the time that the rehearsal's workload took.
    #[must_use]
    pub fn within(mut self, window: impl Into<Window>) -> Self {
        self.window = Some(window.into());
        self
    }

    /// When faults may begin, if not in the time that the rehearsal's workload took.
    #[must_use]
    pub const fn window(&self) -> Option<Window> {
        self.window
    }

    /// How they belong together; each for itself unless given.
    #[must_use]
    pub const fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// The least a fault lasts; 100 ms unless given, and a year at most.
    #[must_use]
    pub const fn lasting_at_least(mut self, length: Duration) -> Self {
        self.length_min = length;
        self
    }

    /// The longest a fault lasts; half the window unless given, but never less than 5 s.
    #[must_use]
    pub const fn lasting_at_most(mut self, length: Duration) -> Self {
        self.length_max = Some(length);
        self
    }

    /// Marks that faults may begin after; half of them do. `cx.mark("msg-10")` passes one.
    ///
    /// ```
    /// use std::time::Duration;
    /// use windtunnel_faults::{self as faults, Topology};
    ///
    /// let vocabulary = faults::plan().after_marks(["msg-10"]);
    /// let topology = Topology::new().group("kv", 3);
    /// let plans = (0..20).map(|seed| vocabulary.draw(seed, &topology, Duration::from_secs(1)).to_string());
    /// assert!(plans.collect::<String>().contains("at mark \"msg-10\""));
    /// ```
    #[must_use]
    pub fn after_marks<M: Into<String>>(mut self, marks: impl IntoIterator<Item = M>) -> Self {
        self.marks = marks.into_iter().map(Into::into).collect();
        self
    }

    /// Whether a seed first chooses which kinds are in play; it does unless told otherwise.
    #[must_use]
    pub const fn swarm(mut self, swarm: Swarm) -> Self {
        self.swarm = swarm;
        self
    }

    /// How much may be down at once; a minority unless told otherwise.
    #[must_use]
    pub const fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// The strategy for these hosts and this window, for use with proptest's own combinators.
    ///
    /// ```
    /// use proptest::prelude::*;
    /// use std::time::Duration;
    /// use windtunnel_faults::{self as faults, Topology};
    ///
    /// let topology = Topology::new().group("kv", 3);
    /// let plans = faults::plan().strategy(&topology, Duration::from_secs(10));
    /// let lines = plans.prop_map(|plan| plan.to_string());
    /// # let _ = lines;
    /// ```
    #[must_use]
    pub fn strategy(&self, topology: &Topology, window: impl Into<Window>) -> PlanStrategy {
        PlanStrategy::new(self.clone(), topology.clone(), self.window.unwrap_or_else(|| window.into()))
    }

    /// The plan of a seed: equal for equal arguments, on any machine.
    ///
    /// It is valid for the topology, in the order of its starts, and within the budget. Empty when there are no hosts,
    /// or when no kind in play is possible with them, as partitions are not with a single one.
    #[must_use]
    pub fn draw(&self, seed: u64, topology: &Topology, window: impl Into<Window>) -> Plan {
        let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &stream(seed));
        self.draw_with(&mut Dice::new(&mut rng), topology, self.window.unwrap_or_else(|| window.into()))
    }

    fn draw_with(&self, dice: &mut Dice<'_>, topology: &Topology, window: Window) -> Plan {
        // So that sums of a few times can still be written.
        let century = |time: Duration| time.min(duration::LONGEST / 5);
        let window = Window { from: century(window.from), until: century(window.until) };
        let weather = weather::choose(self, dice, topology);
        let mut draw = draw::Draw::new(self, weather, topology, window, dice);
        let count = draw.how_many();
        shapes::begin(&mut draw, count);
        draw.fill(count);
        draw.finish()
    }

    fn longest(&self, window: Window) -> Duration {
        let unless_given = (window.length() / 2).max(LENGTH_MAX_LEAST);
        self.length_max.unwrap_or(unless_given).max(self.shortest()).min(duration::LONGEST / 5)
    }

    fn shortest(&self) -> Duration {
        self.length_min.clamp(Duration::from_nanos(1), duration::LONGEST / 500)
    }
}

/// The key of the stream that plans are drawn from: a seed's other streams must not repeat it.
fn stream(seed: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..14].copy_from_slice(b"faults");
    key
}

/// Begins to describe what plans are drawn from; read as `faults::plan()`.
///
/// ```
/// use windtunnel_faults::{self as faults, net};
///
/// let vocabulary = faults::plan().kinds(net::all()).at_most(6);
/// # let _ = vocabulary;
/// ```
#[must_use]
pub const fn plan() -> Faults {
    Faults::new()
}
