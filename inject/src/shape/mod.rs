//! The traffic shaper of a world's switch: latency, loss, duplication, reordering, corruption, bandwidth.
//!
//! The packets that a trouble concerns are diverted to a queue (`queue`) by a rule in the network namespace that
//! forwards them (`diversion`, `rule`), where a thread (`enforce`) asks the [`engine`] what becomes of each, and tells
//! the kernel when it is time. The choices are the seed's; when they are made is not.
//!
//! Rule and queue die with this process; before Linux 5.12 what is left of the rule lets everything pass. If the
//! process is stopped, the rule runs out after three seconds, and what does not fit into the queue until then passes.
//!
//! How exact it is on a machine: `cargo run --release -p windtunnel-inject --example shaping`.

mod diversion;
mod enforce;
pub mod engine;
mod inspection;
mod packet;
mod queue;
mod rule;
mod shaper;
mod stream;
mod trouble;

pub use shaper::{Shaper, Shaping};
pub use trouble::{Endpoint, Links, QUEUE_BYTES, Spread, Trouble};
