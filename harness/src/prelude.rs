//! What a test needs: `use windtunnel::prelude::*;`.

pub use crate::faults::{clock, disk, host, net};
pub use crate::{
    Chaos, Client, Fault, Host, Hosts, OnExit, Result, Runtime, chaos_test, eventually, faults, http, probe, tcp,
};
