//! What each trouble does to datagrams and streams that go through a real kernel.

mod common;
mod shape_net;

use common::in_namespaces;
use shape_net::{Net, is_plausible};
use std::time::Duration;
use windtunnel_inject::Injection;
use windtunnel_inject::shape::Trouble;

fn numbered(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|number| [&number.to_be_bytes()[..], b"gusts and eddies"].concat()).collect()
}

#[test]
fn lost_datagrams_are_as_many_as_they_should_be() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(11);
        for probability in [0.01, 0.3] {
            let mut lossy = shaper.begin(&net.there(), Trouble::Lossy { probability, correlation: 0.0 }).unwrap();
            let arrived = net.send(net.b.addresses[0], &numbered(2_000)).len();
            let bit = usize::try_from(lossy.bit().unwrap()).unwrap();
            assert!(is_plausible(bit, 2_000, probability), "{bit} of 2000 at {probability}");
            // On a busy machine the receiver's buffer may lose some more.
            assert!((1_000..=2_000 - bit).contains(&arrived), "{arrived} arrived, {bit} should not have");
            lossy.heal().unwrap();
        }
        assert_eq!(shaper.overruns(), 0);
    });
}

#[test]
fn doubled_datagrams_arrive_twice() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let mut doubling = shaper.begin(&net.there(), Trouble::Doubling { probability: 1.0 }).unwrap();
        for to in net.b.addresses {
            let sent = numbered(50);
            let twice: Vec<_> = sent.iter().flat_map(|it| [it.clone(), it.clone()]).collect();
            assert_eq!(net.send(to, &sent), twice);
        }
        assert_eq!(doubling.bit().unwrap(), 100);
        doubling.heal().unwrap();
        assert_eq!(net.send(net.b.addresses[0], &numbered(50)), numbered(50));
    });
}

#[test]
fn a_flipped_datagram_is_delivered_with_one_bit_changed() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let mut flipping = shaper.begin(&net.there(), Trouble::Flipping { probability: 1.0 }).unwrap();
        for to in net.b.addresses {
            let sent = numbered(50);
            let arrived = net.send(to, &sent);
            assert_eq!(arrived.len(), sent.len(), "{to}");
            for (was, is) in sent.iter().zip(&arrived) {
                let bits: u32 = was.iter().zip(is).map(|(was, is)| (was ^ is).count_ones()).sum();
                assert_eq!((was.len(), bits), (is.len(), 1));
            }
        }
        assert_eq!(flipping.bit().unwrap(), 100);
    });
}

#[test]
fn a_stream_survives_flipped_doubled_and_overtaking_segments() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let there = net.there();
        let by = Duration::from_millis(3);
        let mut all = [
            Trouble::Flipping { probability: 0.02 },
            Trouble::Doubling { probability: 0.05 },
            Trouble::Overtaking { probability: 0.05, by },
            Trouble::Lossy { probability: 0.01, correlation: 0.3 },
        ]
        .map(|trouble| shaper.begin(&there, trouble).unwrap());
        for to in net.b.addresses {
            net.stream(to, 1_000_000);
        }
        for trouble in &mut all {
            trouble.read_back().unwrap();
            assert!(trouble.bit().unwrap() > 0);
            trouble.heal().unwrap();
        }
    });
}

#[test]
fn datagrams_that_are_held_back_are_overtaken() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let by = Duration::from_millis(20);
        let mut overtaking = shaper.begin(&net.there(), Trouble::Overtaking { probability: 0.2, by }).unwrap();
        let mut arrived = net.send(net.b.addresses[0], &numbered(200));
        assert!(!arrived.is_sorted(), "none was overtaken");
        arrived.sort();
        assert_eq!(arrived, numbered(200));
        let bit = usize::try_from(overtaking.bit().unwrap()).unwrap();
        assert!(is_plausible(bit, 200, 0.2), "{bit}");
    });
}

#[test]
fn a_partition_is_silent() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let mut partition = shaper.begin(&net.there(), Trouble::Partition).unwrap();
        // Sending would panic if the sender were told.
        assert!(net.send(net.b.addresses[0], &numbered(20)).is_empty());
        assert!(net.send(net.b.addresses[1], &numbered(20)).is_empty());
        assert_eq!(partition.bit().unwrap(), 40);
    });
}

#[test]
fn a_narrow_link_carries_what_it_is_wide() {
    in_namespaces(|| {
        let net = Net::new();
        let shaper = net.shaper(7);
        let bytes_per_second = 1 << 20;
        let narrow = Trouble::Narrow { bytes_per_second, queue_bytes: Some(64 << 10) };
        let mut narrow = shaper.begin(&net.there(), narrow).unwrap();
        let took = net.stream(net.b.addresses[0], 2 << 20).as_secs_f64();
        // On a busy machine it takes longer.
        assert!((1.9..10.0).contains(&took), "{took} s for what should take 2 s");
        assert!(narrow.bit().unwrap() > 1_000);
    });
}
