//! What a machine offers: of faults on the real kernel, and of what a simulated world takes.
//!
//! Nothing is concluded from versions or configurations: what is said to work has been done a moment before, in a
//! process of its own that ends at once, in namespaces of its own where there are any.
//!
//! - `means`: how each class of faults is done, whatever the machine: a table
//! - `foundation`: what a real world is made of, piece by piece
//! - `faults`: each class of faults, done to a host that is there for that only
//! - `scratch`: that host's world
//! - `simulation`: what a simulated world takes
//! - `trial`: trying, within bounds, and what came of it

mod faults;
mod foundation;
mod means;
mod scratch;
mod simulation;
mod trial;

pub use foundation::Foundation;
pub use means::{By, Means, Reach, table};
pub use simulation::Simulation;
pub use trial::Verdict;

use crate::namespace::is_privileged;
use serde::Serialize;
use windtunnel_faults::Kind;

/// What this machine offers this user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// `Linux 6.1.0`.
    pub kernel: String,
    /// `x86_64`.
    pub processor: String,
    /// Who asks.
    pub user: u32,
    /// Whether this user makes namespaces without a user namespace.
    pub is_privileged: bool,
    /// What a real world is made of.
    pub foundations: Vec<Tried<Foundation>>,
    /// Faults of a real world.
    pub faults: Vec<Tried<Class>>,
    /// What a simulated world takes.
    pub simulation: Vec<Tried<Simulation>>,
}

/// Something that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried<T> {
    /// What.
    #[serde(flatten)]
    pub what: T,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// A class of faults, and by which of its means it was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Which.
    #[serde(rename = "name", serialize_with = "name_of")]
    pub kind: Kind,
    /// By what, if it works.
    pub by: Option<By>,
}

fn name_of<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

impl Offer {
    /// Tries everything, which takes some seconds. Nothing is left of it.
    ///
    /// For a process of one thread, or one whose other threads do not mind that it forks
    /// ([`fork`](crate::sys::fork)).
    pub fn of_this_machine() -> Self {
        let machine = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let foundations = Foundation::ALL.iter().map(|what| Tried { what: *what, verdict: what.attempt() });
        let simulation = Simulation::ALL.iter().map(|what| Tried { what: *what, verdict: what.attempt() });
        Self {
            kernel: format!("{} {}", text(machine.sysname()), text(machine.release())),
            processor: text(machine.machine()),
            user: rustix::process::geteuid().as_raw(),
            is_privileged: is_privileged(),
            foundations: foundations.collect(),
            faults: Kind::ALL.iter().map(|kind| faults::attempt(*kind)).collect(),
            simulation: simulation.collect(),
        }
    }

    /// What is lacking without which there is no real world, or one whose hosts nothing keeps apart.
    pub fn lacking(&self) -> impl Iterator<Item = &Tried<Foundation>> {
        self.foundations.iter().filter(|tried| tried.what.is_required() && !tried.verdict.works())
    }
}
