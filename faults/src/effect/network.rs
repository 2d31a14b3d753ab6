//! Links that are slow, lossy, doubling, disordered, corrupt or narrow. What netem calls the same has the same meaning
//! (`tc-netem(8)`).

use super::{Class, Complaint, strikes_links};
use crate::duration::Shown;
use crate::error::ParseError;
use crate::quantity::{Percent, Rate, Size};
use crate::selector::Links;
use crate::severity::Severity;
use crate::text::{Cursor, Read};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// Segments take longer: `kv0->kv1 100ms jitter 20ms normal`.
///
/// ```
/// use windtunnel_faults::{Distribution, Fault, Effect};
///
/// let fault = "1s latency kv0<->kv1 100ms jitter 20ms normal for 10s".parse::<Fault>()?;
/// let Effect::Latency(latency) = fault.effect else { unreachable!() };
/// assert_eq!(latency.jitter.as_millis(), 20);
/// assert_eq!(latency.distribution, Distribution::Normal);
///
/// let measured = "1s latency kv0->kv1 5ms or 5ms or 300ms for 10s".parse::<Fault>()?;
/// let Effect::Latency(latency) = &measured.effect else { unreachable!() };
/// assert_eq!(latency.or.len(), 2);
/// assert_eq!(measured.to_string(), "1s latency kv0->kv1 5ms or 5ms or 300ms for 10s");
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Which links.
    pub links: Links,
    /// Added to each segment's way.
    #[serde(with = "crate::duration::text")]
    #[schemars(with = "crate::duration::Text")]
    pub delay: Duration,
    /// Other delays, each as likely as the first: `5ms or 20ms or 300ms`, as somebody has measured them. None unless
    /// given; they exclude a jitter.
    #[serde(default, with = "crate::duration::texts", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<crate::duration::Text>")]
    pub or: Vec<Duration>,
    /// How much the delay varies: up and down, or on top of it, as the distribution says; never below no delay. None
    /// unless given.
    #[serde(default, with = "crate::duration::text", skip_serializing_if = "Duration::is_zero")]
    #[schemars(with = "crate::duration::Text")]
    pub jitter: Duration,
    /// How the jitter is distributed. Uniform unless given.
    #[serde(default, skip_serializing_if = "Distribution::is_default")]
    pub distribution: Distribution,
}

/// How the jitter of a delay is distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Each delay between mean − jitter and mean + jitter is as likely as any other.
    #[default]
    Uniform,
    /// Gaussian; the jitter is the standard deviation.
    Normal,
    /// On top of the delay, with a long tail: few segments are very late. The jitter is the scale.
    Pareto,
    /// On top of the delay, exponentially, as in a queue; the jitter is the mean.
    Exponential,
}

impl Distribution {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Normal => "normal",
            Self::Pareto => "pareto",
            Self::Exponential => "exponential",
        }
    }
}

impl Display for Latency {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.links, Shown(self.delay))?;
        self.or.iter().try_for_each(|other| write!(f, " or {}", Shown(*other)))?;
        if !self.jitter.is_zero() {
            write!(f, " jitter {}", Shown(self.jitter))?;
        }
        if self.distribution.is_default() { Ok(()) } else { write!(f, " {}", self.distribution.name()) }
    }
}

impl Read for Latency {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let links = Links::read(cursor)?;
        let delay = cursor.duration()?;
        let mut or = Vec::new();
        while cursor.accept("or") {
            or.push(cursor.duration()?);
        }
        let jitter = if cursor.accept("jitter") { cursor.duration()? } else { Duration::ZERO };
        let all = [Distribution::Uniform, Distribution::Normal, Distribution::Pareto, Distribution::Exponential];
        let distribution = all.into_iter().find(|shape| cursor.accept(shape.name())).unwrap_or_default();
        Ok(Self { links, delay, or, jitter, distribution })
    }
}

impl Class for Latency {
    strikes_links!();

    fn severity(&self) -> Severity {
        let longest = self.or.iter().copied().fold(self.delay, Duration::max);
        if longest < Duration::from_millis(100) { Severity::Low } else { Severity::Medium }
    }

    fn complaint(&self) -> Option<Complaint> {
        if self.delay.is_zero() && self.or.iter().all(Duration::is_zero) && self.jitter.is_zero() {
            return Some(Complaint::new(
                "delay",
                "0s",
                "nothing would be late",
                "write a delay or a jitter above zero",
            ));
        }
        if !self.or.is_empty() && !self.jitter.is_zero() {
            let problem = "a list of delays says by itself how they vary";
            return Some(Complaint::new("jitter", Shown(self.jitter), problem, "leave out the jitter, or the list"));
        }
        (self.jitter.is_zero() && !self.distribution.is_default()).then(|| {
            let problem = "a distribution says how the jitter is spread, and there is none";
            Complaint::new("distribution", self.distribution.name(), problem, "add a jitter, or leave it out")
        })
    }
}

/// Segments are lost: `kv0->kv1 30% correlation 25%`.
///
/// ```
/// use windtunnel_faults::{Loss, Percent};
///
/// let loss = Loss { links: "kv0->kv1".parse()?, probability: Percent::new(30), correlation: Percent::new(25) };
/// assert_eq!(loss.to_string(), "kv0->kv1 30% correlation 25%");
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// Which links.
    pub links: Links,
    /// How likely each segment is lost.
    pub probability: Percent,
    /// How much the fate of a segment depends on the one before: losses come in bursts. None unless given.
    #[serde(default, skip_serializing_if = "is_none")]
    pub correlation: Percent,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(super) fn is_none(share: &Percent) -> bool {
    *share == Percent::ZERO
}

impl Display for Loss {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.links, self.probability)?;
        if is_none(&self.correlation) { Ok(()) } else { write!(f, " correlation {}", self.correlation) }
    }
}

impl Read for Loss {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let links = Links::read(cursor)?;
        let probability = Percent::read(cursor)?;
        let correlation = if cursor.accept("correlation") { Percent::read(cursor)? } else { Percent::ZERO };
        Ok(Self { links, probability, correlation })
    }
}

impl Class for Loss {
    strikes_links!();

    fn severity(&self) -> Severity {
        match self.probability {
            share if share < Percent::new(5) => Severity::Low,
            share if share < Percent::new(50) => Severity::Medium,
            _ => Severity::High,
        }
    }

    fn complaint(&self) -> Option<Complaint> {
        never(self.probability, "nothing would be lost").or_else(|| {
            (self.correlation == Percent::ALL).then(|| {
                let problem = "every segment would share the fate of the first";
                Complaint::new("correlation", self.correlation, problem, "write less than `100%`")
            })
        })
    }
}

fn never(probability: Percent, problem: &str) -> Option<Complaint> {
    is_none(&probability).then(|| Complaint::new("probability", probability, problem, "write more than `0%`"))
}

/// Segments arrive twice: `kv0->kv1 5%`.
///
/// ```
/// use windtunnel_faults::{Effect, Fault};
///
/// let fault = "1s duplication kv0->kv1 5% for 10s".parse::<Fault>()?;
/// let Effect::Duplication(duplication) = fault.effect else { unreachable!() };
/// assert_eq!(duplication.probability.fraction(), 0.05);
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Duplication {
    /// Which links.
    pub links: Links,
    /// How likely each segment is doubled.
    pub probability: Percent,
}

impl Display for Duplication {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.links, self.probability)
    }
}

impl Read for Duplication {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        Ok(Self { links: Links::read(cursor)?, probability: Percent::read(cursor)? })
    }
}

impl Class for Duplication {
    strikes_links!();

    fn severity(&self) -> Severity {
        Severity::Low
    }

    fn complaint(&self) -> Option<Complaint> {
        never(self.probability, "nothing would be doubled")
    }
}

/// Segments are held back so that later ones overtake them: `kv0->kv1 25% by 50ms`.
///
/// ```
/// use windtunnel_faults::{Effect, Fault};
///
/// let fault = "1s reordering kv0->kv1 25% by 50ms for 10s".parse::<Fault>()?;
/// let Effect::Reordering(reordering) = fault.effect else { unreachable!() };
/// assert_eq!(reordering.by.as_millis(), 50);
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reordering {
    /// Which links.
    pub links: Links,
    /// How likely each segment is held back.
    pub probability: Percent,
    /// For how long.
    #[serde(with = "crate::duration::text")]
    #[schemars(with = "crate::duration::Text")]
    pub by: Duration,
}

impl Display for Reordering {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} by {}", self.links, self.probability, Shown(self.by))
    }
}

impl Read for Reordering {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let (links, probability) = (Links::read(cursor)?, Percent::read(cursor)?);
        cursor.require("by")?;
        Ok(Self { links, probability, by: cursor.duration()? })
    }
}

impl Class for Reordering {
    strikes_links!();

    fn severity(&self) -> Severity {
        Severity::Low
    }

    fn complaint(&self) -> Option<Complaint> {
        let idle = || Complaint::new("by", Shown(self.by), "nothing would be overtaken", "write a time above zero");
        never(self.probability, "nothing would be held back").or_else(|| self.by.is_zero().then(idle))
    }
}

/// A bit of the payload is flipped: `kv0->kv1 0.1%`. A segment then fails its checksum and is lost; a datagram arrives
/// so.
///
/// ```
/// use windtunnel_faults::{Effect, Fault};
///
/// let fault = "1s corruption kv0->kv1 0.1% for 10s".parse::<Fault>()?;
/// let Effect::Corruption(corruption) = fault.effect else { unreachable!() };
/// assert_eq!(corruption.probability.ppm(), 1_000);
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Corruption {
    /// Which links.
    pub links: Links,
    /// How likely each segment is corrupted; of a datagram in pieces the first, which has the checksum.
    pub probability: Percent,
}

impl Display for Corruption {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.links, self.probability)
    }
}

impl Read for Corruption {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        Ok(Self { links: Links::read(cursor)?, probability: Percent::read(cursor)? })
    }
}

impl Class for Corruption {
    strikes_links!();

    fn severity(&self) -> Severity {
        Severity::Medium
    }

    fn complaint(&self) -> Option<Complaint> {
        never(self.probability, "nothing would be corrupted")
    }
}

/// Links carry less: `kv0->kv1 1MiB/s queue 64KiB`. Each link has the rate for itself.
///
/// ```
/// use windtunnel_faults::{Effect, Fault};
///
/// let fault = "1s bandwidth kv0->kv1 1MiB/s queue 64KiB".parse::<Fault>()?;
/// let Effect::Bandwidth(bandwidth) = fault.effect else { unreachable!() };
/// assert_eq!(bandwidth.rate.0.as_bytes(), 1 << 20);
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// Which links.
    pub links: Links,
    /// How much each carries.
    pub rate: Rate,
    /// How much may wait before datagrams are dropped; 1,500,000 bytes unless given. Of a stream nothing is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Size>,
}

impl Display for Bandwidth {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.links, self.rate)?;
        self.queue.map_or(Ok(()), |queue| write!(f, " queue {queue}"))
    }
}

impl Read for Bandwidth {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ParseError> {
        let (links, rate) = (Links::read(cursor)?, Rate::read(cursor)?);
        let queue = if cursor.accept("queue") { Some(Size::read(cursor)?) } else { None };
        Ok(Self { links, rate, queue })
    }
}

impl Class for Bandwidth {
    strikes_links!();

    fn severity(&self) -> Severity {
        if self.rate < Rate(Size::bytes(64 << 10)) { Severity::Medium } else { Severity::Low }
    }

    fn complaint(&self) -> Option<Complaint> {
        let remedy = "write more, or use a `partition`";
        (self.rate.0 == Size::bytes(0)).then(|| Complaint::new("rate", self.rate, "nothing would get through", remedy))
    }
}
