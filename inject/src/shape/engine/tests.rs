//! The engine by itself: what becomes of packets, and of whose choices.

use super::super::trouble::{Endpoint, Links, Spread, Trouble};
use super::{Engine, Fate, Packet, Passage, pairs};
use std::net::IpAddr;
use std::time::Duration;

const MS: u64 = 1_000_000;

fn address(host: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, host])
}

fn links(from: &[u8], to: &[u8], both_ways: bool) -> Links {
    let endpoints = |hosts: &[u8]| hosts.iter().map(|host| Endpoint(vec![address(*host)])).collect();
    Links { from: endpoints(from), to: endpoints(to), both_ways }
}

fn packet(from: u8, to: u8) -> Packet {
    Packet { from: address(from), to: address(to), payload_bytes: 1_000, stands_in_line: true, flippable: true }
}

fn slow(latency_ms: u64, jitter_ms: u64, spread: Spread) -> Trouble {
    let (latency, jitter) = (Duration::from_millis(latency_ms), Duration::from_millis(jitter_ms));
    Trouble::Slow { latency, or: Vec::new(), jitter, spread }
}

fn lossy(probability: f64, correlation: f64) -> Trouble {
    Trouble::Lossy { probability, correlation }
}

fn arrives(delay_ns: u64) -> Fate {
    Fate::Arrives(Passage { delay_ns, twice: false, flipped: None })
}

/// What becomes of so many packets from 1 to 2.
fn fates(engine: &mut Engine, count: usize) -> Vec<Fate> {
    (0..count).map(|_| engine.judge(0, packet(1, 2))).collect()
}

fn delays_ms(engine: &mut Engine, count: usize) -> Vec<f64> {
    let delay = |fate| match fate {
        Fate::Arrives(passage) => passage.delay_ns as f64 / MS as f64,
        Fate::Lost => panic!("lost"),
    };
    fates(engine, count).into_iter().map(delay).collect()
}

/// Whether so many of so many is what this probability gives in 999,999 of a million cases: within 4.9 standard
/// deviations (normal approximation; the seed is fixed, so that a test passes always or never).
fn is_likely(hits: usize, of: usize, probability: f64) -> bool {
    let (mean, variance) = (of as f64 * probability, of as f64 * probability * (1.0 - probability));
    (hits as f64 - mean).abs() <= 4.9 * variance.sqrt()
}

#[test]
fn without_trouble_packets_pass() {
    let mut engine = Engine::new(7);
    assert_eq!(engine.judge(5, packet(1, 2)), arrives(0));
    let id = engine.begin(&links(&[1], &[2], false), Trouble::Partition);
    assert_eq!(engine.judge(5, packet(2, 1)), arrives(0), "the way back");
    assert_eq!(engine.judge(5, packet(1, 3)), arrives(0), "another host");
    assert_eq!(engine.judge(5, packet(1, 2)), Fate::Lost);
    assert_eq!(engine.end(id), 1);
    assert_eq!(engine.judge(5, packet(1, 2)), arrives(0));
    assert_eq!(engine.end(id), 0);
}

#[test]
fn a_host_in_both_sets_still_reaches_itself_and_families_do_not_mix() {
    let both = |host: u8| Endpoint(vec![address(host), IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)])]);
    let everybody = Links { from: vec![both(1), both(2)], to: vec![both(1), both(2)], both_ways: true };
    let all = pairs(&everybody);
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.iter().all(|(from, to)| from != to && from.is_ipv4() == to.is_ipv4()));
}

#[test]
fn both_families_of_two_hosts_are_one_link() {
    let v6 = |host: u16| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, host]);
    let both = |host: u8| Endpoint(vec![address(host), v6(host.into())]);
    let mut engine = Engine::new(7);
    let narrow = Trouble::Narrow { bytes_per_second: 1_000_000, queue_bytes: None };
    engine.begin(&Links { from: vec![both(1)], to: vec![both(2)], both_ways: false }, narrow);
    assert_eq!(engine.judge(0, packet(1, 2)), arrives(MS));
    let other_family = Packet { from: v6(1), to: v6(2), ..packet(1, 2) };
    assert_eq!(engine.judge(0, other_family), arrives(2 * MS), "it waits behind the first");
}

#[test]
fn constant_latency_keeps_the_order_and_latencies_add_up() {
    let mut engine = Engine::new(7);
    let first = engine.begin(&links(&[1], &[2], false), slow(10, 0, Spread::Uniform));
    let second = engine.begin(&links(&[2], &[1], true), slow(5, 0, Spread::Pareto));
    assert_eq!(fates(&mut engine, 3), vec![arrives(15 * MS); 3]);
    assert_eq!((engine.bit(first), engine.bit(second)), (3, 3));
    engine.end(first);
    assert_eq!(fates(&mut engine, 1), vec![arrives(5 * MS)]);
}

#[test]
fn jitter_is_distributed_as_it_is_called() {
    let count = 20_000;
    let mut engine = Engine::new(7);
    let mut moments = |spread| {
        let id = engine.begin(&links(&[1], &[2], false), slow(100, 10, spread));
        let mut delays = delays_ms(&mut engine, count);
        engine.end(id);
        let mean = delays.iter().sum::<f64>() / count as f64;
        delays.sort_by(f64::total_cmp);
        (delays[0], mean, delays[count - 1], delays[count * 9 / 10])
    };
    let near = |value: f64, wanted: f64, within: f64| {
        assert!((value - wanted).abs() < within, "{value} is not about {wanted}");
    };
    let (min, mean, max, _) = moments(Spread::Uniform);
    near(mean, 105.0, 0.15);
    assert!(min >= 100.0 && max < 110.0);
    let (min, mean, max, p90) = moments(Spread::Normal);
    near(mean, 100.0, 0.4);
    near(p90, 112.8, 0.5);
    assert!(min >= 40.0 && max <= 160.0);
    let (min, mean, _, p90) = moments(Spread::Exponential);
    near(mean, 110.0, 0.4);
    near(p90, 100.0 + 10.0 * 10_f64.ln(), 0.8);
    assert!(min >= 100.0);
    let (min, _, max, p90) = moments(Spread::Pareto);
    near(p90, 100.0 + 10.0 * (10_f64.sqrt() - 1.0), 0.8);
    assert!(min >= 100.0 && max <= 1_100.0);
}

#[test]
fn normal_jitter_is_never_early() {
    let mut engine = Engine::new(7);
    engine.begin(&links(&[1], &[2], false), slow(1, 100, Spread::Normal));
    let delays = delays_ms(&mut engine, 1_000);
    assert!(delays.contains(&0.0) && delays.iter().any(|ms| *ms > 100.0));
}

#[test]
fn one_of_several_latencies_is_as_likely_as_another() {
    let mut engine = Engine::new(7);
    let or = vec![Duration::from_millis(2), Duration::from_millis(3)];
    let slow = Trouble::Slow { latency: Duration::from_millis(1), or, jitter: Duration::ZERO, spread: Spread::Normal };
    engine.begin(&links(&[1], &[2], false), slow);
    let all = fates(&mut engine, 3_000);
    for ms in 1..=3 {
        let hits = all.iter().filter(|fate| **fate == arrives(ms * MS)).count();
        assert!(is_likely(hits, 3_000, 1.0 / 3.0), "{hits}");
    }
}

#[test]
fn losses_are_as_many_as_they_should_be_and_come_in_bursts_when_correlated() {
    for (probability, correlation) in [(0.01, 0.0), (0.3, 0.0), (0.3, 0.8), (0.0, 0.9), (1.0, 0.5)] {
        let mut engine = Engine::new(7);
        let id = engine.begin(&links(&[1], &[2], false), lossy(probability, correlation));
        let count = 20_000;
        let all = fates(&mut engine, count);
        let lost = all.iter().filter(|fate| **fate == Fate::Lost).count();
        assert_eq!(engine.bit(id), lost as u64);
        // Correlated losses are as many, but their number varies more: by (1 + c) / (1 - c).
        let independent = (count as f64 * (1.0 - correlation) / (1.0 + correlation)) as usize;
        let scaled = (lost as f64 / count as f64 * independent as f64).round() as usize;
        assert!(is_likely(scaled, independent, probability), "{lost} of {count} at {probability}");
        let after_a_loss: Vec<_> = all.windows(2).filter(|two| two[0] == Fate::Lost).map(|two| two[1]).collect();
        let again = after_a_loss.iter().filter(|fate| **fate == Fate::Lost).count();
        let wanted = correlation + (1.0 - correlation) * probability;
        assert!(is_likely(again, after_a_loss.len(), wanted), "{again} of {} again", after_a_loss.len());
    }
}

#[test]
fn doubling_overtaking_and_flipping_strike_as_often_as_they_should() {
    let mut engine = Engine::new(7);
    let here = links(&[1], &[2], false);
    let doubling = engine.begin(&here, Trouble::Doubling { probability: 0.2 });
    let overtaking = engine.begin(&here, Trouble::Overtaking { probability: 0.1, by: Duration::from_millis(30) });
    let flipping = engine.begin(&here, Trouble::Flipping { probability: 0.05 });
    let all = fates(&mut engine, 10_000);
    let count = |strikes: fn(&Passage) -> bool| {
        all.iter().filter(|fate| matches!(fate, Fate::Arrives(passage) if strikes(passage))).count()
    };
    let struck = [
        (count(|passage| passage.twice), doubling, 0.2),
        (count(|passage| passage.delay_ns == 30 * MS), overtaking, 0.1),
        (count(|passage| passage.flipped.is_some()), flipping, 0.05),
    ];
    for (hits, id, probability) in struck {
        assert!(is_likely(hits, all.len(), probability), "{hits}");
        assert_eq!(engine.bit(id), hits as u64);
    }
    let bare = Packet { flippable: false, ..packet(1, 2) };
    assert!((0..1_000).all(|_| matches!(engine.judge(0, bare), Fate::Arrives(Passage { flipped: None, .. }))));
}

#[test]
fn a_narrow_link_serves_in_order_and_drops_what_its_queue_cannot_hold() {
    let mut engine = Engine::new(7);
    let narrow = Trouble::Narrow { bytes_per_second: 1_000_000, queue_bytes: Some(3_500) };
    let id = engine.begin(&links(&[1], &[2], false), narrow);
    let expected: Vec<_> = (1..=3).map(|ms| arrives(ms * MS)).chain([Fate::Lost, Fate::Lost]).collect();
    assert_eq!(fates(&mut engine, 5), expected);
    let bare = Packet { payload_bytes: 0, stands_in_line: false, ..packet(1, 2) };
    assert_eq!(engine.judge(0, bare), arrives(0), "an acknowledgement waits for nobody");
    let end = Packet { payload_bytes: 0, ..packet(1, 2) };
    assert_eq!(engine.judge(0, end), arrives(3 * MS), "a stream's end comes after its bytes");
    assert_eq!(engine.judge(2 * MS, packet(1, 2)), arrives(2 * MS));
    assert_eq!(engine.judge(10 * MS, packet(1, 2)), arrives(MS), "an idle link saves nothing up");
    assert_eq!(engine.bit(id), 8);
}

#[test]
fn what_is_lost_takes_no_bandwidth_whichever_trouble_began_first() {
    let narrow = || Trouble::Narrow { bytes_per_second: 1_000_000, queue_bytes: None };
    let last_arrival = |troubles: Vec<Trouble>| {
        let mut engine = Engine::new(7);
        for trouble in troubles {
            engine.begin(&links(&[1], &[2], false), trouble);
        }
        fates(&mut engine, 100)
    };
    let late = last_arrival(vec![narrow(), lossy(0.5, 0.0)]);
    assert_eq!(late, last_arrival(vec![lossy(0.5, 0.0), narrow()]));
    let (arrived, last) = (late.iter().filter(|fate| **fate != Fate::Lost).count(), late.iter().rev());
    assert_eq!(last.copied().find(|fate| *fate != Fate::Lost), Some(arrives(arrived as u64 * MS)));
}

#[test]
fn choices_depend_on_seed_and_link_and_not_on_other_troubles() {
    let lost = |seed, others: &[Trouble], from: u8| {
        let mut engine = Engine::new(seed);
        let here = links(&[1, 3], &[2], false);
        let brief: Vec<_> = others.iter().map(|trouble| engine.begin(&here, trouble.clone())).collect();
        engine.begin(&here, lossy(0.3, 0.0));
        let _ = fates(&mut engine, 10);
        for id in brief {
            engine.end(id);
        }
        (0..100).map(|_| engine.judge(0, packet(from, 2)) == Fate::Lost).collect::<Vec<_>>()
    };
    let alone = lost(7, &[], 1);
    assert_eq!(alone, lost(7, &[], 1));
    assert_eq!(alone, lost(7, &[slow(1, 9, Spread::Normal), Trouble::Partition], 1));
    assert_ne!(alone, lost(8, &[], 1));
    assert_ne!(alone, lost(7, &[], 3));
}

#[test]
fn two_losses_on_one_link_choose_apart() {
    let mut engine = Engine::new(7);
    let here = links(&[1], &[2], false);
    engine.begin(&here, lossy(0.5, 0.0));
    engine.begin(&here, lossy(0.5, 0.0));
    let lost = fates(&mut engine, 10_000).into_iter().filter(|fate| *fate == Fate::Lost).count();
    assert!(is_likely(lost, 10_000, 0.75), "{lost}");
}

#[test]
fn troubles_that_cannot_be_are_refused() {
    for impossible in [
        lossy(1.5, 0.0),
        lossy(0.5, -0.1),
        lossy(f64::NAN, 0.0),
        Trouble::Doubling { probability: 2.0 },
        Trouble::Flipping { probability: -1.0 },
        Trouble::Overtaking { probability: 7.0, by: Duration::ZERO },
        Trouble::Narrow { bytes_per_second: 0, queue_bytes: None },
    ] {
        impossible.check().unwrap_err();
    }
    lossy(1.0, 0.0).check().unwrap();
}
