//! `#[chaos_test]` and `#[rstest]` together, in both orders: fixtures, cases, values, and parameters that are drawn.

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

#[chaos_test(cases = 3)]
#[rstest]
#[case::three(3)]
#[case::five(5)]
async fn drawn_above(
    cx: Chaos,
    nth_build: u32,
    #[strategy = vec(any::<u8>(), 1..9)] bytes: Vec<u8>,
    #[case] replicas: usize,
    #[strategy = 1..=3] writers: usize,
    #[values(1, 2)] clients: usize,
) -> Result<()> {
    assert_eq!(nth_build, 0, "each case is a fresh process, so its fixture is the first");
    assert!((1..9).contains(&bytes.len()) && (1..=3).contains(&writers) && replicas >= 3 && clients >= 1);
    assert_eq!(cx.elapsed().as_secs(), 0);
    Ok(())
}

#[chaos_test(cases = 2)]
#[rstest]
async fn drawn_above_alone(#[strategy = 1..=3] writers: usize, nth_build: u32) {
    assert!((1..=3).contains(&writers) && nth_build == 0);
}

#[rstest]
#[case(3)]
#[windtunnel::test(cases = 2, strategies(writers = 1..=3))]
async fn drawn_below(#[ignore] cx: Chaos, #[ignore] writers: usize, #[case] replicas: usize) {
    assert!((1..=3).contains(&writers) && replicas == 3 && cx.elapsed().as_secs() == 0);
}

/// Equal seeds give equal values: where a strategy stands makes no difference.
#[chaos_test(seed = 7)]
#[rstest]
#[case(())]
async fn draws_as_without_rstest(#[strategy = any::<u32>()] number: u32, #[case] _unit: ()) {
    assert_eq!(number, SEVENTH);
}

#[chaos_test(seed = 7)]
async fn draws_as_with_rstest(#[strategy = any::<u32>()] number: u32) {
    assert_eq!(number, SEVENTH);
}

const SEVENTH: u32 = 2_474_469_136;
