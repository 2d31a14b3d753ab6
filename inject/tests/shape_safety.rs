//! Troubles are in force when they are said to be and gone when they are healed, whatever becomes of whoever shapes.

mod common;
mod shape_net;

use common::{in_namespaces, tenth_of_a_second};
use rustix::process::{Pid, Signal, getpid, kill_process};
use shape_net::ruleset::{add_foreign_table, ruleset};
use shape_net::{Net, quantile};
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use windtunnel_inject::Injection;
use windtunnel_inject::shape::{Endpoint, Links, Shaper, Shaping, Spread, Trouble};
use windtunnel_inject::switch::{Cut, Partition, Ways};
use windtunnel_inject::sys::{Forked, end_now, fork, wait};

fn slow(ms: u64) -> Trouble {
    let latency = Duration::from_millis(ms);
    Trouble::Slow { latency, or: Vec::new(), jitter: Duration::ZERO, spread: Spread::Uniform }
}

/// How long a datagram takes to `b` and back.
fn round_trip(net: &Net) -> Option<Duration> {
    net.ping(net.b.addresses[0], 1, Duration::ZERO)[0]
}

/// Waits for this, but not for ever.
fn until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(5), "it never came");
        std::thread::yield_now();
    }
}

/// The best of several: the machine may be busy with something else.
fn best_round_trip(net: &Net) -> Duration {
    (0..5).filter_map(|_| round_trip(net)).min().unwrap()
}

#[test]
fn a_trouble_is_in_force_and_gone_within_a_tenth_of_a_second() {
    in_namespaces(|| {
        let net = Net::new();
        net.in_switch(add_foreign_table);
        let before = net.in_switch(ruleset);
        let shaper = net.shaper(7);
        assert_eq!(net.in_switch(ruleset), before, "without trouble there is no rule");
        let (mut begun, mut healed) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let start = Instant::now();
            let mut partition = shaper.begin(&net.there(), Trouble::Partition).unwrap();
            partition.read_back().unwrap();
            begun.push(Some(start.elapsed()));
            assert_eq!(round_trip(&net), None);
            let start = Instant::now();
            partition.heal().unwrap();
            healed.push(Some(start.elapsed()));
            best_round_trip(&net);
            partition.heal().unwrap();
            partition.read_back().unwrap_err();
            assert_eq!(net.in_switch(ruleset), before);
        }
        // The best of several: the machine may be busy with something else.
        assert!(
            quantile(&begun, 0.0) < tenth_of_a_second() && quantile(&healed, 0.0) < tenth_of_a_second(),
            "{begun:?}, {healed:?}"
        );
    });
}

#[test]
fn what_has_been_held_back_comes_at_its_time_after_the_trouble_is_gone() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let mut slow = shaper.begin(&net.there(), slow(700)).unwrap();
        std::thread::scope(|scope| {
            let before = scope.spawn(|| net.ping(net.b.addresses[0], 2, Duration::from_millis(1)));
            until(|| slow.bit().unwrap() == 2);
            assert_eq!(shaper.held().unwrap(), 2);
            slow.heal().unwrap();
            assert!(best_round_trip(&net) < tenth_of_a_second());
            let before = before.join().unwrap();
            assert!(quantile(&before, 0.0) >= Duration::from_millis(700), "{before:?}");
        });
        assert_eq!(shaper.held().unwrap(), 0);
        assert_eq!(net.in_switch(ruleset), Vec::<String>::new());
    });
}

#[test]
fn what_is_held_back_outlives_the_rules_of_others() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let mut slow = shaper.begin(&net.there(), slow(500)).unwrap();
        for to in net.b.addresses {
            let bit_before = slow.bit().unwrap();
            std::thread::scope(|scope| {
                let held = scope.spawn(|| net.ping(to, 10, Duration::from_millis(1)));
                until(|| slow.bit().unwrap() == bit_before + 10);
                let elsewhere = Cut { from: vec!["10.0.0.77".parse().unwrap()], to: vec![to], ways: Ways::One };
                Partition::begin(net.switch.ns(), &[elsewhere]).unwrap().heal().unwrap();
                assert_eq!(shaper.held().unwrap(), 0, "the kernel keeps them now: sending them again is superfluous");
                let times = held.join().unwrap();
                assert!(
                    times.iter().all(|time| time.is_some_and(|time| time >= Duration::from_millis(500))),
                    "{times:?}"
                );
            });
        }
    });
}

#[test]
fn whoever_ends_the_shaper_lets_go_what_it_holds() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let mut slow = shaper.begin(&net.there(), slow(60_000)).unwrap();
        std::thread::scope(|scope| {
            let held = scope.spawn(|| net.ping(net.b.addresses[0], 2, Duration::from_millis(1)));
            until(|| slow.bit().unwrap() == 2);
            drop((slow, shaper));
            assert!(held.join().unwrap().iter().all(Option::is_some));
        });
        assert_eq!(net.in_switch(ruleset), Vec::<String>::new());
    });
}

#[test]
fn a_trouble_may_concern_thousands_of_links() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let host =
            |number: u8| Endpoint(vec![[10, 0, 7, number].into(), [0xfd00, 0, 0, 7, 0, 0, 0, number.into()].into()]);
        let all: Vec<Endpoint> = (0..38).map(host).chain([net.a.addresses.into(), net.b.addresses.into()]).collect();
        let links = Links { from: all.clone(), to: all, both_ways: true };
        let mut first = shaper.begin(&net.there(), slow(20)).unwrap();
        let mut everywhere = shaper.begin(&links, slow(10)).unwrap();
        everywhere.read_back().unwrap();
        assert!(best_round_trip(&net) >= Duration::from_millis(40));
        first.heal().unwrap();
        everywhere.read_back().unwrap();
        everywhere.heal().unwrap();
        let mut everywhere = shaper.begin(&links, slow(10)).unwrap();
        everywhere.read_back().unwrap();
        everywhere.heal().unwrap();
        assert_eq!(net.in_switch(ruleset), Vec::<String>::new());
    });
}

#[test]
fn troubles_on_the_same_link_heal_in_any_order() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        for first_out in [0, 1] {
            let mut both: Vec<Shaping> = [30, 50].map(|ms| shaper.begin(&net.there(), slow(ms)).unwrap()).into();
            assert!(best_round_trip(&net) >= Duration::from_millis(80));
            both.remove(first_out).heal().unwrap();
            let left = best_round_trip(&net);
            assert!(left >= Duration::from_millis(30) && left < Duration::from_millis(80), "{left:?}");
            both[0].read_back().unwrap();
            both[0].heal().unwrap();
            assert!(best_round_trip(&net) < Duration::from_millis(30));
        }
    });
}

#[test]
fn links_without_trouble_are_not_queued() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let _slow = shaper.begin(&net.there(), slow(1)).unwrap();
        // The eighth column: the number of the last packet.
        let queued = || net.queues().split_whitespace().nth(7).unwrap().parse::<u64>().unwrap();
        let before = queued();
        assert!(net.ping(net.b.addresses[0], 20, Duration::from_millis(1)).iter().all(Option::is_some));
        assert_eq!(queued() - before, 20, "the way there, and not the way back");
    });
}

#[test]
fn shapers_of_one_namespace_do_not_get_into_each_other_s_way() {
    in_namespaces(|| {
        let net = Net::new();
        let shapers = [7, 8].map(|seed| net.shaper(seed));
        let inside = net.in_switch(|| Shaper::start(9).unwrap());
        let shapers = [&shapers[0], &shapers[1], &inside];
        let mut all = shapers.map(|shaper| shaper.begin(&net.there(), slow(20)).unwrap());
        assert!(best_round_trip(&net) >= Duration::from_millis(60));
        for trouble in &mut all {
            trouble.read_back().unwrap();
            trouble.heal().unwrap();
        }
        assert_eq!(net.in_switch(ruleset), Vec::<String>::new());
    });
}

/// Has another process put a partition in force on `a` to `b`, does this with its process id, and kills it.
fn with_a_partition_of_another_process(net: &Net, then: impl FnOnce(Pid)) {
    match fork().unwrap() {
        Forked::Child => {
            let shaper = net.shaper(7);
            let _partition = shaper.begin(&net.there(), Trouble::Partition).unwrap();
            loop {
                std::thread::park();
            }
        }
        Forked::Parent(child) => {
            let pid = Pid::from_raw(child.cast_signed()).unwrap();
            until(|| round_trip(net).is_none());
            then(pid);
            kill_process(pid, Signal::KILL).unwrap();
            wait(child).unwrap();
        }
    }
}

#[test]
fn a_shaper_that_is_killed_leaves_nothing() {
    in_namespaces(|| {
        let net = Net::new();
        net.in_switch(add_foreign_table);
        let before = net.in_switch(ruleset);
        with_a_partition_of_another_process(&net, |pid| {
            assert_ne!(net.in_switch(ruleset), before);
            kill_process(pid, Signal::KILL).unwrap();
            until(|| net.in_switch(ruleset) == before);
            best_round_trip(&net);
            assert_eq!(net.queues(), "");
        });
    });
}

#[test]
fn packets_pass_a_shaper_that_has_been_stopped_until_it_goes_on() {
    in_namespaces(|| {
        let net = Net::new();
        with_a_partition_of_another_process(&net, |pid| {
            kill_process(pid, Signal::STOP).unwrap();
            until(|| round_trip(&net).is_some());
            kill_process(pid, Signal::CONT).unwrap();
            until(|| round_trip(&net).is_none());
        });
    });
}

#[test]
fn a_trouble_that_lets_packets_pass_for_want_of_room_says_so_once() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let mut slow = shaper.begin(&net.there(), slow(600_000)).unwrap();
        let [from, to] = [&net.a, &net.b].map(|host| SocketAddr::new(host.addresses[0], 7));
        let sender = net.a.run(|| UdpSocket::bind(from).unwrap());
        // So many at a time that none waits in vain to be read.
        for some in 1..=128 {
            slow.read_back().unwrap();
            (0..512).for_each(|_| _ = sender.send_to(b"?", to).unwrap());
            until(|| slow.bit().unwrap() == some * 512);
        }
        let error = slow.read_back().unwrap_err().to_string();
        assert!(error.contains("there was no room for others, 1 times"), "{error}");
        slow.read_back().unwrap();
        assert!(round_trip(&net).is_some(), "there is no room for it");
    });
}

#[test]
fn a_shaper_that_has_been_stopped_says_so_once() {
    in_namespaces(|| {
        let net = Net::new();
        let Forked::Parent(child) = fork().unwrap() else {
            let shaper = net.shaper(7);
            let stopped = AssertUnwindSafe(|| {
                let mut partition = shaper.begin(&net.there(), Trouble::Partition).unwrap();
                partition.read_back().unwrap();
                kill_process(getpid(), Signal::STOP).unwrap();
                // At first the lease that has run out is all there is to be seen.
                until(|| partition.read_back().is_err_and(|error| error.to_string().contains("stood still")));
                partition.read_back().unwrap();
                let mut later = shaper.begin(&net.there(), Trouble::Partition).unwrap();
                later.read_back().unwrap();
            });
            end_now(i32::from(catch_unwind(stopped).is_err()));
        };
        until(|| round_trip(&net).is_none());
        until(|| round_trip(&net).is_some());
        kill_process(Pid::from_raw(child.cast_signed()).unwrap(), Signal::CONT).unwrap();
        assert_eq!(wait(child).unwrap().code(), 0);
    });
}

#[test]
fn impossible_troubles_and_namespaces_are_refused() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let impossible = Trouble::Lossy { probability: 2.0, correlation: 0.0 };
        let error = shaper.begin(&net.there(), impossible).err().unwrap();
        assert_eq!(
            error.to_string(),
            "failed to trouble a link: 2 is no probability; it would be a number from 0 to 1"
        );
        let file = std::fs::File::open("/dev/null").unwrap();
        use std::os::fd::AsFd;
        assert!(Shaper::start_in(file.as_fd(), 7).is_err());
        assert_eq!(net.in_switch(ruleset), Vec::<String>::new());
    });
}
