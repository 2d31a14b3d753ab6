//! What a link does is found out by probing it.

mod common;
mod network;

use network::network;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use windtunnel_inject::Injection;
use windtunnel_inject::shape::{Endpoint, Links, Shaper, Trouble};
use windtunnel_inject::switch::{Cut, Partition, Side, Ways, probe};

/// How long is waited for what is not to come.
const PATIENCE: Duration = Duration::from_millis(20);
/// And at most for what is to come.
const LONG: Duration = Duration::from_secs(5);

#[test]
fn a_probe_confirms_a_partition_and_good_weather() {
    common::in_namespaces(|| {
        let (switch, [a, b]) = network();
        for family in [0, 1] {
            let [here, there] = [&a, &b].map(|host| Side { ns: host.ns.as_fd(), address: host.addresses[family] });
            let sample = probe(here, there, 50, LONG).expect("a sample");
            assert_eq!((sample.lost(), sample.doubled), (0, 0));
            let (_, most) = sample.loss(0.999);
            assert!(most < 0.15, "{most}");

            let cut = Cut { from: a.addresses.to_vec(), to: b.addresses.to_vec(), ways: Ways::One };
            let mut partition = Partition::begin(switch.ns(), &[cut]).expect("a partition");
            let asked = Instant::now();
            let sample = probe(here, there, 50, PATIENCE).expect("a sample");
            let (least, _) = sample.loss(0.999);
            let took = asked.elapsed();
            println!("all of 50 lost: with a confidence of 99.9 % at least {:.0} %, in {took:?}", 100.0 * least);
            assert!(sample.delays.is_empty() && least > 0.85, "{least}");
            assert_eq!(probe(there, here, 50, LONG).expect("a sample").lost(), 0, "one way only");
            assert_eq!(partition.bit().expect("a count"), 50);
        }
    });
}

#[test]
fn a_probe_tells_how_much_is_lost() {
    common::in_namespaces(|| {
        let (switch, [a, b]) = network();
        let [here, there] = [&a, &b].map(|host| Side { ns: host.ns.as_fd(), address: host.addresses[0] });
        let shaper = Shaper::start_in(switch.ns(), 1).expect("a shaper");
        let links = Links {
            from: vec![Endpoint(a.addresses.to_vec())],
            to: vec![Endpoint(b.addresses.to_vec())],
            both_ways: false,
        };
        let lossy = Trouble::Lossy { probability: 0.3, correlation: 0.0 };
        let _shaping = shaper.begin(&links, lossy).expect("trouble");
        let sample = probe(here, there, 1_000, common::on_this_processor(PATIENCE)).expect("a sample");
        let (least, most) = sample.loss(0.999_999);
        println!("{} of {} lost: from {least:.3} to {most:.3}", sample.lost(), sample.sent);
        assert!(least < 0.3 && 0.3 < most && most - least < 0.2, "{} lost", sample.lost());
    });
}
