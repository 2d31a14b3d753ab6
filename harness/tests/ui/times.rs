use windtunnel::prelude::*;

#[chaos_test(virtual_timeout = "60")]
async fn without_a_unit() {}

#[chaos_test(wall_timeout = "2 fortnights")]
async fn with_an_unknown_unit() {}

#[chaos_test(wall_timeout = "0s")]
async fn always_over() {}

#[chaos_test(start = "2027-02-30T00:00:00Z")]
async fn on_a_day_that_does_not_exist() {}

fn main() {}
