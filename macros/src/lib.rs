//! The `#[chaos_test]` attribute of windtunnel. Use it through `windtunnel::prelude`, which documents it.
//!
//! The attribute only rewrites: it turns the `async fn` into an ordinary `#[test]` function that hands the body and a
//! `TestDefinition` to `windtunnel`. Everything it can object to is objected to here, at the offending tokens.
//!
//! ```text
//! options.rs   what stands between the parentheses
//! drawn.rs     parameters that are drawn from strategies
//! misuse.rs    attributes and signatures that cannot work, and what to write instead
//! expand.rs    the generated test
//! ```

mod drawn;
mod expand;
mod misuse;
mod options;

use expand::Spelling;
use proc_macro::TokenStream;

/// Runs an `async fn` as a test inside a simulated world, many times, each time decided by another seed.
///
/// The function takes a `Chaos` or nothing, and returns `()` or a `Result<(), E>` with `E: Debug`. See the crate
/// `windtunnel` for what can be done inside. Any other parameter is drawn for every case, from the proptest strategy
/// that stands beside it (`windtunnel::arguments` has the rules):
///
/// ```text
/// #[chaos_test(faults = net::partitions())]
/// async fn linearizable(cx: Chaos, #[strategy = ops(op(), 1..50)] ops: Vec<Op>, #[strategy = 1..=3] writers: u8) { … }
/// ```
///
/// | option | value | default | meaning |
/// | --- | --- | --- | --- |
/// | `world` | `sim`, `real`, `[sim, real]` | `sim` | whether hosts run on the simulated kernel, or are processes on the real one; both: as the tests `name::sim` and `name::real` |
/// | `faults` | `net::partitions() + host::crashes()`, `faults::plan()…` | | each seed draws a plan of these faults for the first `cx.storm(..)`; not together with `plan` |
/// | `plan` | `"1s partition {kv0} \| {kv1,kv2} for 5s"` | | these faults in every case, counted from the beginning of the first storm; not together with `faults` |
/// | `cases` | number | 64 | how many cases run after the calm rehearsal; `CHAOS_CASES` wins over it |
/// | `seed` | number | from `CHAOS_SEED`, or drawn | the seed of the first case; without `cases` it is the only one |
/// | `virtual_timeout` | `"60s"` | `"2h"` | a case fails when its virtual clock reaches this |
/// | `wall_timeout` | `"2m"` | `"60s"` | a case fails when it takes this long in real time |
/// | `start` | `"2027-03-28T00:59:00Z"` | `"2027-01-01T00:00:00Z"` | wall clock of every host when a case begins (RFC 3339, UTC) |
/// | `expect_failure` | `"text"` | | the test passes only if some case fails with a message that contains this |
/// | `strategies` | `(ops = vec(op(), 1..50))` | | as `#[strategy = …]` beside the parameters, where `#[rstest]` stands above |
/// | `crate` | path | `::windtunnel` | where to find windtunnel when it is re-exported |
///
/// Above `#[rstest]` it is written `#[chaos_test]`; below it `#[windtunnel::test]`, because rstest accepts an async
/// test only under an attribute whose path ends in `test`. The parameter `cx`, and those that are drawn, are then
/// marked `#[ignore]`, and their strategies stand in the attribute.
#[proc_macro_attribute]
pub fn chaos_test(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(options.into(), item.into(), Spelling::ChaosTest).into()
}

/// `#[chaos_test]` under a name that `#[rstest]` accepts below itself.
///
/// ```text
/// #[rstest]
/// #[case::three(3)]
/// #[windtunnel::test(cases = 20)]
/// async fn survives(#[ignore] cx: Chaos, #[case] replicas: usize) { … }
/// ```
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(options.into(), item.into(), Spelling::Test).into()
}
