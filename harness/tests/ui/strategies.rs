use windtunnel::prelude::*;

#[chaos_test]
async fn without_a_value(#[strategy] nodes: usize) {}

#[chaos_test]
async fn of_the_world(#[strategy = 1..9] cx: Chaos) {}

#[chaos_test]
async fn twice(#[strategy = 1..9] #[strategy = 1..3] nodes: usize) {}

#[chaos_test(strategies(nodes = 1..9, replicas = 1..3))]
async fn in_both_places(#[strategy = 1..9] nodes: usize) {}

#[chaos_test]
#[rstest::rstest]
async fn drawn_and_given(#[strategy = 1..9] #[values(1, 2)] nodes: usize) {}

#[chaos_test]
#[rstest::rstest]
async fn without_a_name(#[strategy = (1..9u8, 1..9u8)] (one, other): (u8, u8)) {}

#[rstest::rstest]
#[windtunnel::test]
async fn below(#[ignore] #[strategy = 1..9] nodes: usize) {}

#[chaos_test(strategies)]
async fn options_without_a_value() {}

fn main() {}
