//! Processes, and what is done to them: [`Identity`](identity::Identity), limits, signals, and the faults made of these.

pub mod identity;
pub mod limit;
pub mod proc;
