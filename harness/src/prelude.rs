//! What a test needs: `use windtunnel::prelude::*;`.
//!
//! For parameters that are drawn (see [`arguments`](crate::arguments)) it has what most strategies are made of: `any`,
//! `vec`, `ops`, `Just`, `prop_oneof!` and the trait `Strategy`; the rest is in [`proptest`].

pub use crate::arguments::ops;
pub use crate::faults::{clock, disk, host, net};
pub use crate::{
    Chaos, Client, Fault, Host, Hosts, OnExit, Result, Runtime, chaos_test, eventually, faults, http, probe, tcp,
};
pub use proptest::collection::vec;
pub use proptest::prelude::{Just, Strategy, any, prop_oneof};
