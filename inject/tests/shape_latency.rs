//! Packets take as long as they are told to.

mod common;
mod shape_net;

use common::in_namespaces;
use shape_net::{Net, quantile};
use std::time::Duration;
use windtunnel_inject::Injection;
use windtunnel_inject::shape::{Spread, Trouble};

fn slow(ms: u64, jitter_ms: u64) -> Trouble {
    Trouble::Slow {
        latency: Duration::from_millis(ms),
        or: Vec::new(),
        jitter: Duration::from_millis(jitter_ms),
        spread: Spread::Uniform,
    }
}

#[test]
fn packets_of_both_families_are_late_while_a_link_is_slow() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        for to in net.b.addresses {
            let mut slow = shaper.begin(&net.there(), slow(50, 0)).unwrap();
            slow.read_back().unwrap();
            let times = net.ping(to, 40, Duration::from_millis(5));
            assert!(times.iter().all(Option::is_some), "nothing is lost");
            assert!(quantile(&times, 0.0) >= Duration::from_millis(50), "{times:?}");
            assert_eq!(slow.bit().unwrap(), 40);
            slow.heal().unwrap();
            let times = net.ping(to, 40, Duration::from_millis(1));
            assert!(quantile(&times, 0.0) < Duration::from_millis(50), "{times:?}");
            assert_eq!(slow.bit().unwrap(), 40);
        }
    });
}
