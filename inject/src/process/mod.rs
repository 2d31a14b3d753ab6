//! Processes, and what is done to them.
//!
//! - `identity`: a process that can be found again, and not mistaken for another
//! - `proc`: what `/proc` says
//! - `limit`: soft limits, lowered for a while
//! - `helper`: processes of our own that do something to others, and end with whoever wanted them
//! - `signal`: [`Paused`]: a process that stands still
//! - `burn`: [`CpuBurn`]: processors are busy with something else
//! - `memory`: [`MemoryPressure`], [`Balloon`], [`MemoryWatch`], [`OomKill`]: memory is taken
//! - `leak`: [`TaskLeak`]: tasks or descriptors are used up

mod burn;
mod helper;
pub mod identity;
mod leak;
pub mod limit;
mod memory;
mod oom;
pub mod proc;
mod signal;

pub use burn::CpuBurn;
pub use leak::TaskLeak;
pub use memory::{Balloon, MemoryPressure, MemoryWatch};
pub use oom::OomKill;
pub use signal::Paused;
