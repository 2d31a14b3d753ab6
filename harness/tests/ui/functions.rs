use windtunnel::prelude::*;

#[chaos_test]
fn not_async(cx: Chaos) {}

#[chaos_test]
async fn unknown_parameter(cx: Chaos, nodes: usize) {}

#[chaos_test]
async fn two_contexts(one: Chaos, other: Chaos) {}

#[chaos_test]
async fn generic<T>() {}

#[chaos_test]
struct NotAFunction;

fn main() {}
