//! Values that a test takes as parameters, drawn by the seed from proptest strategies.
//!
//! ```
//! use windtunnel::prelude::*;
//!
//! #[chaos_test]
//! async fn writers_do_not_disturb_each_other(
//!     cx: Chaos,
//!     #[strategy = vec(any::<u32>(), 1..50)] values: Vec<u32>,
//!     #[strategy = 1..=3usize] writers: usize,
//! ) {
//!     assert!((1..50).contains(&values.len()) && (1..=3).contains(&writers));
//! }
//! # fn main() {}
//! ```
//!
//! Each case draws its own, and so does the rehearsal; the seed that is printed for a case draws the same again. Each
//! parameter has a stream of random numbers of its own, by its name: adding one does not change the others. The values
//! have to implement `Debug`, as the report of a failure shows them, and nothing else.
//!
//! When a case fails, its faults are shrunk first, then its arguments, one after the other, by the rules of their
//! strategies. [`ops()`] makes lists that shrink in few runs; each run is a whole simulation.
//!
//! Beside `#[rstest]`, put `#[chaos_test]` above it: rstest knows nothing of strategies. Where `#[windtunnel::test]`
//! has to stand below it, give the strategies there and mark the parameters `#[ignore]`:
//!
//! ```
//! use rstest::rstest;
//! use windtunnel::prelude::*;
//!
//! #[rstest]
//! #[case(3)]
//! #[case(5)]
//! #[windtunnel::test(strategies(writers = 1..=3usize))]
//! async fn below(#[ignore] writers: usize, #[case] replicas: usize) {
//!     assert!(writers <= replicas);
//! }
//! # fn main() {}
//! ```
//!
//! The [`prelude`](crate::prelude) has what most tests need of [`proptest`]: `Strategy`, `Just`,
//! `any`, `vec`, `prop_oneof!`. Strategies of your own types may be derived with the crate `proptest-derive`.

// How: a case draws (`draw.rs`) and takes the steps (`path.rs`) that its orders have for each argument; which steps are
// worth trying is decided by whoever gives the orders (`shrink.rs`).

mod draw;
mod ops;
mod path;
mod shrink;

pub use ops::{Ops, OpsTree, ops};

pub(crate) use draw::ArgumentOrders;
#[doc(hidden)]
pub use draw::{Arguments, StrategyFor, strategy_for};
pub(crate) use path::{PathError, Paths, TEXT_BYTES_MAX as PATHS_BYTES_MAX};
pub(crate) use shrink::{Outcome, Shrinker, Verdict};
