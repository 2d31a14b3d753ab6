//! What a test needs: `use windtunnel::prelude::*;`.

pub use crate::{Chaos, Client, Fault, Host, Hosts, OnExit, Result, Runtime, chaos_test, eventually, http, probe, tcp};
