use windtunnel::prelude::*;

#[chaos_test(case = 3)]
async fn misspelt() {}

#[chaos_test(horizon = "60s")]
async fn of_another_framework() {}

#[chaos_test(colour = "red", cases)]
async fn unknown_and_without_value() {}

#[chaos_test(faults = net::partitions() + host::crashes(), world = [sim, cloud])]
async fn of_an_unknown_world() {}

#[chaos_test(faults = "partition", plan = 3)]
async fn faults_of_the_wrong_kind() {}

#[chaos_test(faults = net::partitions(), plan = "3.877s crash kv1 restart after 2s")]
async fn drawn_and_pinned() {}

#[chaos_test(faults, plan)]
async fn faults_without_value() {}

#[chaos_test(cases = "many", seed = "0x5f1d", virtual_timeout = 60)]
async fn of_the_wrong_kind() {}

#[chaos_test(cases = 3, cases = 4)]
async fn twice() {}

#[chaos_test(profile = "nightly", jobs = 4)]
async fn decided_elsewhere() {}

fn main() {}
