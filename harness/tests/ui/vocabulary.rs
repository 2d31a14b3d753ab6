use windtunnel::prelude::*;

#[chaos_test(faults = std::time::Duration::ZERO)]
async fn no_vocabulary() {}

#[chaos_test(faults = net::partitions)]
async fn not_called() {}

fn main() {}
