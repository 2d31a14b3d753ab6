//! The workloads on turmoil: a tokio runtime per host, and turmoil's own sockets.

#[path = "../../workloads/bodies.rs"]
mod bodies;

/// What the bodies run on.
mod under {
    pub use tokio::io::{AsyncReadExt, AsyncWriteExt};
    pub use tokio::task::spawn;
    pub use tokio::time::{interval, sleep};
    pub use turmoil::net::{TcpListener, TcpStream};
}

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use turmoil::Sim;
use workloads::{IDLE_LASTS, LATENCY, Order, Stopwatch, TIMERS_LAST, Workload};

/// Firings of all hosts' timers.
static FIRED: AtomicU64 = AtomicU64::new(0);

fn main() {
    let order = Order::from_args();
    let mut sim = turmoil::Builder::new()
        .rng_seed(order.seed)
        .min_message_latency(LATENCY)
        .max_message_latency(LATENCY)
        .simulation_duration(Duration::from_secs(24 * 3600))
        .build();
    match order.workload {
        Workload::Echo { .. } | Workload::Pairs { .. } => echo(&mut sim, order.workload),
        Workload::Timers { hosts } => timers(&mut sim, hosts),
        Workload::Idle { hosts } => idle(&mut sim, hosts),
        Workload::Appends { .. } => unreachable!("it has no disk that could be compared"),
    }
}

fn echo(sim: &mut Sim<'_>, workload: Workload) {
    let (pairs, each) = workload.pairs();
    let watch = Arc::new(Stopwatch::new(pairs as u64));
    for pair in 0..pairs {
        sim.host(format!("s{pair}"), || async {
            bodies::serve().await;
            Ok(())
        });
        let watch = watch.clone();
        sim.client(format!("c{pair}"), async move {
            bodies::ask(format!("s{pair}"), each, watch).await;
            Ok(())
        });
    }
    sim.run().expect("the simulation ends");
    watch.report(each * pairs as u64);
}

fn timers(sim: &mut Sim<'_>, hosts: u64) {
    for number in 0..hosts {
        sim.host(format!("h{number}"), || async {
            bodies::tick(&FIRED).await;
            Ok(())
        });
    }
    supervise(sim, TIMERS_LAST);
}

fn idle(sim: &mut Sim<'_>, hosts: u64) {
    for number in 0..hosts {
        sim.host(format!("h{number}"), || async {
            bodies::serve().await;
            Ok(())
        });
    }
    supervise(sim, IDLE_LASTS);
}

fn supervise(sim: &mut Sim<'_>, lasts: Duration) {
    let watch = Arc::new(Stopwatch::new(1));
    let count = Arc::new(AtomicU64::new(0));
    let (timer, counted) = (watch.clone(), count.clone());
    sim.client("supervisor", async move {
        counted.store(bodies::supervise(lasts, &FIRED, &timer).await, Ordering::Relaxed);
        Ok(())
    });
    sim.run().expect("the simulation ends");
    watch.report(count.load(Ordering::Relaxed));
}
