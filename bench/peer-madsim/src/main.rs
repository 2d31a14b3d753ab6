//! The workloads on madsim: its own executor and sockets behind tokio's names.

#[cfg(not(madsim))]
compile_error!("build in bench/peer-madsim, whose .cargo/config.toml sets `--cfg madsim`");

#[path = "../../workloads/bodies.rs"]
mod bodies;

/// What the bodies run on.
mod under {
    pub use tokio::io::{AsyncReadExt, AsyncWriteExt};
    pub use tokio::net::{TcpListener, TcpStream};
    pub use tokio::task::spawn;
    pub use tokio::time::{interval, sleep};
}

use madsim::Config;
use madsim::runtime::{NodeHandle, Runtime};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use workloads::{IDLE_LASTS, LATENCY, Order, Stopwatch, TIMERS_LAST, Workload};

/// Firings of all hosts' timers.
static FIRED: AtomicU64 = AtomicU64::new(0);

/// A host's address.
fn address(number: u64) -> IpAddr {
    Ipv4Addr::from(0x0a00_0001 + number as u32).into()
}

fn node(runtime: &Runtime, number: u64) -> NodeHandle {
    runtime.create_node().name(format!("h{number}")).ip(address(number)).build()
}

fn main() {
    let order = Order::from_args();
    let mut config = Config::default();
    // The range must not be empty; this is the nearest to a constant.
    config.net.send_latency = LATENCY..LATENCY + Duration::from_nanos(1);
    let runtime = Runtime::with_seed_and_config(order.seed, config);
    match order.workload {
        Workload::Echo { .. } | Workload::Pairs { .. } => echo(&runtime, order.workload),
        Workload::Timers { hosts } => timers(&runtime, hosts),
        Workload::Idle { hosts } => idle(&runtime, hosts),
        Workload::Appends { .. } => unreachable!("it has no disk that could be compared"),
    }
}

fn echo(runtime: &Runtime, workload: Workload) {
    let (pairs, each) = workload.pairs();
    let watch = Arc::new(Stopwatch::new(pairs as u64));
    let mut clients = Vec::new();
    for pair in 0..pairs as u64 {
        node(runtime, 2 * pair).spawn(bodies::serve());
        let (server, watch) = (address(2 * pair).to_string(), watch.clone());
        clients.push(node(runtime, 2 * pair + 1).spawn(bodies::ask(server, each, watch)));
    }
    runtime.block_on(async {
        for client in clients {
            client.await.expect("the client ends");
        }
    });
    watch.report(each * pairs as u64);
}

fn timers(runtime: &Runtime, hosts: u64) {
    let watch = Stopwatch::new(1);
    for number in 0..hosts {
        node(runtime, number).spawn(bodies::tick(&FIRED));
    }
    let count = runtime.block_on(bodies::supervise(TIMERS_LAST, &FIRED, &watch));
    watch.report(count);
}

fn idle(runtime: &Runtime, hosts: u64) {
    let watch = Stopwatch::new(1);
    for number in 0..hosts {
        node(runtime, number).spawn(bodies::serve());
    }
    runtime.block_on(bodies::supervise(IDLE_LASTS, &FIRED, &watch));
    watch.report(hosts);
}
