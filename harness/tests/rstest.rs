//! `#[chaos_test]` and `#[rstest]` together, in both orders: fixtures, cases and values.

use rstest::{fixture, rstest};
use std::sync::atomic::{AtomicU32, Ordering};
use windtunnel::prelude::*;

static BUILT: AtomicU32 = AtomicU32::new(0);

/// Counts how often it was built in this process.
#[fixture]
fn nth_build() -> u32 {
    BUILT.fetch_add(1, Ordering::Relaxed)
}

#[chaos_test(cases = 3)]
#[rstest]
#[case::three(3)]
#[case::five(5)]
async fn above(cx: Chaos, nth_build: u32, #[case] replicas: usize, #[values(1, 2)] clients: usize) -> Result<()> {
    assert_eq!(nth_build, 0, "each case is a fresh process, so its fixture is the first");
    assert!(replicas >= 3 && clients >= 1 && cx.elapsed().as_secs() == 0);
    Ok(())
}

#[rstest]
#[case::three(3)]
#[windtunnel::test(cases = 2)]
async fn below(#[ignore] cx: Chaos, #[case] replicas: usize) {
    assert_eq!((replicas, cx.is_calm() || cx.seed() > 0), (3, true));
}

#[chaos_test(cases = 2, expect_failure = "4 replicas")]
#[rstest]
#[case(4)]
async fn a_failing_case_is_found(#[case] replicas: usize) {
    panic!("{replicas} replicas are too many");
}

#[rstest]
#[windtunnel::test(cases = 1)]
async fn without_a_context(nth_build: u32) {
    assert_eq!(nth_build, 0);
}
