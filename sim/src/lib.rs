//! The simulated kernel beneath libc that windtunnel runs real programs on.
//!
//! This crate defines libc's public symbols in the executable that links it. On threads of a simulated host they reach
//! a kernel of our own; on all others the genuine libc. Users depend on `windtunnel`, which builds tests on top.
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`world`] | configuring and running a world |
//! | [`control`] | steering it from inside |
//! | [`weather`] | plans of faults, which the kernel carries out by itself |
//! | [`holds`] | which fault has which host in its grip |
//! | [`real_calls`] | disks of real processes that are in trouble |
//! | [`real_clock`] | clocks of real processes that are wrong |
//! | [`worker`] | preparing the process that worlds run in |
//! | `abi` | the hooked symbols |
//! | `carrier` | running simulated threads on one kernel thread; images of the executable |
//! | `kernel` | what the calls do |
//!
//! Linux on x86-64 with glibc.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
compile_error!("windtunnel's simulated world needs Linux on x86-64 with glibc");

mod abi;
mod carrier;
pub mod control;
pub mod holds;
mod kernel;
pub mod real_calls;
pub mod real_clock;
pub mod weather;
pub mod worker;
pub mod world;
