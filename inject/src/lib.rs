//! Faults on the real Linux kernel.
//!
//! What the simulated kernel decides by itself is done here to genuine processes: by netlink, mounts, cgroups, signals
//! and clocks. Nothing shells out. Each fault is an [`Injection`]: applied by its constructor, read back from the
//! kernel, accounted for, healed. What it strikes is a [`Target`], which need not be a host of a test.
//!
//! Most faults die with what they are in: a namespace with its last process, an nft table with the socket that owns
//! it. The rest (cgroups, limits of a process, a process that was stopped, code in its vDSO) is written into a journal
//! before it is done. Mounts over somebody else's directory look after themselves: a process ends them. A clock that is
//! wrong has a lease besides.

pub mod boundary;
pub mod cgroup;
pub mod clock;
pub mod disk;
pub mod dns;
pub mod error;
pub mod guardian;
pub mod injection;
pub mod journal;
pub mod keeper;
mod lock;
pub mod mounts;
pub mod namespace;
pub mod netlink;
pub mod offer;
pub mod process;
pub mod recover;
pub mod shape;
pub mod snapshot;
pub mod step;
pub mod switch;
pub mod sys;
pub mod target;

pub use error::{Error, Result};
pub use injection::Injection;
pub use target::Target;
