//! Whatever is killed or stopped, and whenever: a real test leaves the machine as it was.
//!
//! Everything runs in sandboxes: namespaces in which these tests put somebody else's rules, queueing discipline and
//! mounts beforehand, and in which all processes are theirs, so that every one that stays is seen. What runs there are
//! fixtures, as libtest runs tests.
//!
//! ```text
//! sandbox.rs        a machine of one's own
//! look.rs           what the machine looks like, before and after
//! fixture.rs        tests with faults of every class
//! kinds.rs          a test with one fault, for each kind
//! run.rs            a fixture that runs, and its processes
//! aftermath.rs      what is left when somebody was struck
//! interleavings.rs  one of them is killed or stopped at some moment
//! tape.rs           the steps that a run takes
//! steps.rs          one of them is killed or stopped at each step
//! stopped.rs        one of them is stopped for ever
//! noticed.rs        somebody else changes what a fault has put in force
//! together.rs       four tests at once
//! ```
//!
//! What somebody else has there is in `inject/tests/common/foreign.rs`, as tests of that crate put it in place as well.

mod aftermath;
mod fixture;
#[path = "../../../inject/tests/common/foreign.rs"]
mod foreign;
mod interleavings;
mod kinds;
mod look;
mod noticed;
mod run;
mod sandbox;
mod steps;
mod stopped;
mod tape;
mod together;
