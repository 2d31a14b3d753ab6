//! What can go wrong in a windtunnel test: faults as plain values.
//!
//! Pure: no I/O, no clock, no thread. The worlds apply what is described here; the harness draws, keeps and replays it.
//!
//! | question | answered by |
//! | --- | --- |
//! | What can go wrong? | [`Effect`], [`Kind`], and a type for each class, by family in `effect/` |
//! | When, for how long, how bad? | [`Fault`], [`Start`], [`Severity`] |
//! | Where? | [`Selector`], [`Links`], [`Partition`], resolved against a [`Topology`] |
//! | How is it written? | [`Plan`]: text, YAML, JSON, [JSON Schema](json_schema()) |
//! | How is it drawn? | [`plan()`], [`Faults`], and the vocabulary [`Kinds`]: [`net`], [`host`], [`clock`], [`disk`] |
//! | How does it get smaller? | [`shrink`] |
//! | Does it make sense? | [`Plan::validate`], [`Plan::validate_for`], [`Plan::overdraft`] |
//!
//! ```
//! use windtunnel_faults::{Plan, Topology};
//!
//! let plan = "
//!     0s      partition {kv0} | {kv1,kv2} for 5s
//!     3.877s  crash kv1 restart after 2s
//! "
//! .parse::<Plan>()?;
//! plan.validate_for(&Topology::new().group("kv", 3))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod duration;
mod effect;
mod error;
mod fault;
mod generate;
mod plan;
mod quantity;
mod schema;
mod selector;
mod severity;
pub mod shrink;
mod start;
mod text;
mod topology;
mod validate;

pub use effect::dns::{Answer, DnsHijack};
pub use effect::network::{Bandwidth, Corruption, Distribution, Duplication, Latency, Loss, Reordering};
pub use effect::partition::Partition;
pub use effect::process::{CpuBurn, Crash, Manner, MemoryPressure, Pause, Pressure, Resource, TaskLeak};
pub use effect::storage::{BitRot, DiskErrors, DiskFull, InodeExhaustion, IoThrottle};
pub use effect::time::{ClockDrift, ClockSkew, Correction, Onset};
pub use effect::{Effect, Kind, Target};
pub use error::ParseError;
pub use fault::Fault;
pub use generate::budget::Overdraft;
pub use generate::kinds::{Kinds, clock, disk, host, net};
pub use generate::{Budget, Faults, PlanStrategy, PlanTree, Shape, Swarm, Window, plan};
pub use plan::{FormatError, Plan};
pub use quantity::{Drift, Offset, Percent, Rate, Size};
pub use schema::json_schema;
pub use selector::{Links, ResolveError, Selector};
pub use severity::Severity;
pub use start::Start;
pub use topology::{Link, Member, Part, Topology, minority};
pub use validate::{Invalid, InvalidKind, InvalidPlan, Struck};
