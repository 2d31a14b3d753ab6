//! What the tests of this crate share: crates that are made for one test, and runs of cargo on them.
//!
//! The tests look at windtunnel from outside, as a user does: they write a crate, run cargo in it, and read what it
//! prints.

mod output;
mod scratch;

pub use output::{LIBTEST_FAILED, Output};
pub use scratch::{Scratch, sh, tree};
