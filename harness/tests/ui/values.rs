use windtunnel::prelude::*;

#[chaos_test]
async fn no_strategy(#[strategy = 3] nodes: usize) {}

#[chaos_test]
async fn of_another_type(#[strategy = vec(any::<u8>(), 1..9)] names: Vec<String>) {}

#[chaos_test]
async fn a_number_without_its_type(#[strategy = (1..9, 1..9)] pair: (u8, u64)) {}

fn main() {}
