//! What a simulated world takes of the machine.

use super::trial::{Verdict, attempt};
use crate::error::{Error, Result};
use crate::sys::simulation::{allow_all_calls, fault_on_time_stamps, fix_addresses};
use serde::{Serialize, Serializer};
use std::io;

/// `HWCAP2_FSGSBASE` (arch/x86/include/uapi/asm/hwcap2.h): programs may write their TLS base.
const FSGSBASE: usize = 1 << 1;

/// A piece of a simulated world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simulation {
    /// The same in every run.
    Addresses,
    /// From thread to thread.
    Switching,
    /// Answered by the host's clock.
    TimeStamps,
    /// Which notices system calls that are made without libc.
    Guard,
}

impl Simulation {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Addresses, Self::Switching, Self::TimeStamps, Self::Guard];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Addresses => "fixed addresses",
            Self::Switching => "switching threads",
            Self::TimeStamps => "time-stamp counter",
            Self::Guard => "guard",
        }
    }

    /// What is done with it.
    pub fn serves(self) -> &'static str {
        match self {
            Self::Addresses => "replays of programs that depend on addresses",
            Self::Switching => "threads of hosts",
            Self::TimeStamps => "programs that read it themselves",
            Self::Guard => "noticing system calls that are made without libc",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Addresses | Self::Guard => "in Docker, run with --security-opt seccomp=unconfined",
            Self::Switching => "none is needed",
            Self::TimeStamps => "a processor of x86-64 that is not emulated without CR4.TSD",
        }
    }

    /// Tries it.
    pub(super) fn attempt(self) -> Verdict {
        attempt(self.remedy(), || match self {
            Self::Addresses => done("switch address randomisation off", fix_addresses(), "personality(2)"),
            Self::Switching => Ok(switching().to_owned()),
            Self::TimeStamps => done("make reading the counter a fault", fault_on_time_stamps(), "PR_SET_TSC"),
            Self::Guard => done("install a filter of system calls", allow_all_calls(), "seccomp(2)"),
        })
    }
}

impl Serialize for Simulation {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = serializer.serialize_struct("Simulation", 2)?;
        fields.serialize_field("name", self.name())?;
        fields.serialize_field("serves", self.serves())?;
        fields.end()
    }
}

fn done(what: &str, done: io::Result<()>, how: &str) -> Result<String> {
    done.map(|()| how.to_owned()).map_err(|error| Error::os(what, error))
}

fn switching() -> &'static str {
    let (_, second) = rustix::param::linux_hwcap();
    if second & FSGSBASE != 0 { "wrfsbase" } else { "arch_prctl(2), which takes longer than wrfsbase would" }
}
