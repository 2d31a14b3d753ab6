//! `#[chaos_test]` and `#[test_log::test]` together, in both orders and one inside the other: a body runs once a case.

use std::sync::atomic::{AtomicU32, Ordering};
use windtunnel::prelude::*;

static BODIES: AtomicU32 = AtomicU32::new(0);

fn ran_once() {
    assert_eq!(BODIES.fetch_add(1, Ordering::Relaxed), 0, "each case is a fresh process");
}

#[chaos_test(cases = 2)]
#[test_log::test]
async fn above(cx: Chaos, #[strategy = 1..=3] writers: usize) {
    ran_once();
    assert!((1..=3).contains(&writers) && cx.elapsed().as_secs() == 0);
}

#[test_log::test]
#[chaos_test(cases = 2)]
async fn below(cx: Chaos, #[strategy = 1..=3] writers: usize) {
    ran_once();
    assert!((1..=3).contains(&writers) && cx.elapsed().as_secs() == 0);
}

#[test_log::test(chaos_test(cases = 2))]
async fn inside(cx: Chaos, #[strategy = 1..=3] writers: usize) {
    ran_once();
    assert!((1..=3).contains(&writers) && cx.elapsed().as_secs() == 0);
}
