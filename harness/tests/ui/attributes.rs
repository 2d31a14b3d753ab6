use windtunnel::prelude::*;

#[chaos_test]
#[tokio::test]
async fn two_runtimes() {}

#[tokio::test]
#[chaos_test]
async fn two_runtimes_the_other_way_round() {}

#[chaos_test]
#[should_panic]
async fn should_panic() {}

#[chaos_test]
#[rstest::rstest]
#[timeout(std::time::Duration::from_secs(1))]
async fn real_timeout() {}

#[chaos_test]
#[windtunnel::test]
async fn twice() {}

fn main() {}
