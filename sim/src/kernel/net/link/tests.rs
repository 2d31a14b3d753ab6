//! Links by themselves: what becomes of segments, and of whose choices.

use super::{Draws, Fate, Harm, LinkId, Links, Parcel};
use crate::weather::Spread;
use crate::world::{HostId, Hush};
use std::collections::BTreeSet;

const A: HostId = HostId(0);
const B: HostId = HostId(1);
const C: HostId = HostId(2);

fn fate(links: &mut Links, link: LinkId) -> Fate {
    links.fate(link, Parcel::stream(0, 100))
}

fn lossy(probability: f64) -> Harm {
    Harm::Lossy { probability, correlation: 0.0 }
}

fn delays(links: &mut Links, from: HostId, to: HostId) -> Vec<Fate> {
    let link = links.between(from, to);
    (0..100).map(|_| fate(links, link)).collect()
}

#[test]
fn good_weather_is_constant() {
    let mut links = Links::new(7, Hush::Everything);
    assert!(delays(&mut links, A, B).iter().all(|fate| *fate == Fate::Arrives(1_000_000)));
    assert!(delays(&mut links, A, A).iter().all(|fate| *fate == Fate::Arrives(10_000)));
}

#[test]
fn a_link_s_latency_does_not_depend_on_other_links() {
    let (mut one, mut other) = (Links::new(7, Hush::Nothing), Links::new(7, Hush::Nothing));
    delays(&mut other, A, C);
    assert_eq!(delays(&mut one, A, B), delays(&mut other, A, B));
    assert_ne!(delays(&mut one, A, B), delays(&mut one, B, A));
}

#[test]
fn one_link_varies_as_ever_while_the_others_are_hushed() {
    let mut links = Links::new(7, Hush::AllBut(BTreeSet::from(["a->b".to_owned()])));
    ["a", "b", "c"].into_iter().for_each(|name| links.add_host(name));
    assert_eq!(delays(&mut links, A, B), delays(&mut Links::new(7, Hush::Nothing), A, B));
    for (from, to) in [(B, A), (A, C), (C, B)] {
        assert!(delays(&mut links, from, to).iter().all(|fate| *fate == Fate::Arrives(1_000_000)));
    }
}

#[test]
fn a_cut_concerns_its_direction_and_accounts_for_what_it_swallowed() {
    let mut links = Links::new(7, Hush::Everything);
    let link = links.between(A, B);
    let one_way = links.harm(Harm::Cut, &[A], &[B, C], false, Draws::ByHand);
    assert_eq!(fate(&mut links, link), Fate::Lost);
    let back = links.between(B, A);
    assert_eq!(fate(&mut links, back), Fate::Arrives(1_000_000));
    let both = links.harm(Harm::Cut, &[A], &[B], true, Draws::ByHand);
    assert_eq!(fate(&mut links, back), Fate::Lost);
    assert_eq!(links.affected(one_way), 1);
    assert_eq!(links.heal(one_way, 0).0, 1);
    assert_eq!(links.affected(one_way), 0);
    assert_eq!(fate(&mut links, link), Fate::Lost);
    assert_eq!(links.heal(both, 0).0, 2);
    assert_eq!(fate(&mut links, link), Fate::Arrives(1_000_000));
    assert_eq!(links.heal(both, 0).0, 0);
}

#[test]
fn a_host_in_both_sets_still_reaches_itself() {
    let mut links = Links::new(7, Hush::Everything);
    links.harm(Harm::Cut, &[A, B], &[A, B], true, Draws::ByHand);
    let own = links.between(A, A);
    assert_eq!(fate(&mut links, own), Fate::Arrives(10_000));
}

#[test]
fn a_fault_leaves_the_choices_of_others_on_its_link_and_of_good_weather_alone() {
    let lost = |others: &[Harm]| {
        let mut links = Links::new(7, Hush::Nothing);
        let link = links.between(A, B);
        let brief: Vec<_> =
            others.iter().map(|harm| links.harm(harm.clone(), &[A], &[B], false, Draws::AsPlanned)).collect();
        let lossy = links.harm(lossy(0.3), &[A], &[B], false, Draws::AsPlanned);
        delays(&mut links, A, B);
        links.fate_of_acknowledgement(link, 0);
        brief.into_iter().for_each(|fault| assert!(links.heal(fault, 0).0 >= 100));
        let lost: Vec<bool> = delays(&mut links, A, B).iter().map(|fate| *fate == Fate::Lost).collect();
        links.heal(lossy, 0);
        (lost, delays(&mut links, A, B))
    };
    let alone = lost(&[]);
    assert_eq!(
        alone,
        lost(&[Harm::Slow { latency_ns: 0, or_ns: Vec::new(), jitter_ns: 1 << 40, spread: Spread::Uniform }])
    );
    assert_eq!(alone, lost(&[Harm::Cut]));
    assert_eq!(alone.0.len(), 100);
    let (both, _) = lost(&[Harm::Lossy { probability: 1.0, correlation: 0.0 }]);
    assert_eq!(alone.0, both, "another loss on the same link is no concern of this one");
    let mut calm = Links::new(7, Hush::Nothing);
    (0..2).for_each(|_| drop(delays(&mut calm, A, B)));
    assert_eq!(alone.1, delays(&mut calm, A, B));
}

#[test]
fn slowness_and_loss_combine() {
    let mut links = Links::new(7, Hush::Everything);
    let link = links.between(A, B);
    let slow = links.harm(
        Harm::Slow { latency_ns: 5, or_ns: Vec::new(), jitter_ns: 0, spread: Spread::Uniform },
        &[A],
        &[B],
        false,
        Draws::ByHand,
    );
    assert_eq!(fate(&mut links, link), Fate::Arrives(1_000_005));
    assert_eq!(links.one_way_ns(link, 0), 1_000_005);
    let lossy = links.harm(lossy(0.5), &[A], &[B], false, Draws::ByHand);
    let lost = (0..1000).filter(|_| fate(&mut links, link) == Fate::Lost).count();
    assert!((400..600).contains(&lost), "{lost} of 1000");
    assert_eq!(links.heal(lossy, 0).0, lost as u64);
    assert!(links.heal(slow, 0).0 > 1000 - lost as u64);
}

/// Added delays of ten thousand segments, in order.
fn added(slow: Harm) -> Vec<u64> {
    let mut links = Links::new(7, Hush::Everything);
    let link = links.between(A, B);
    links.harm(slow, &[A], &[B], false, Draws::ByHand);
    let mut added: Vec<u64> = (0..10_000)
        .map(|_| match fate(&mut links, link) {
            Fate::Arrives(delay) => delay - 1_000_000,
            Fate::Lost => unreachable!("nothing is lost"),
        })
        .collect();
    added.sort_unstable();
    added
}

#[test]
fn delays_are_spread_as_asked() {
    let quantiles = |spread| {
        let added = added(Harm::Slow { latency_ns: 10_000, or_ns: Vec::new(), jitter_ns: 1000, spread });
        [10, 5_000, 8_413, 9_900].map(|at| added[at] as i64 - 10_000)
    };
    let near = |measured: [i64; 4], expected: [i64; 4]| {
        let all_near = measured.iter().zip(expected).all(|(m, e)| (m - e).abs() <= 60 + e.abs() / 10);
        assert!(all_near, "{measured:?} against {expected:?}");
    };
    near(quantiles(Spread::Uniform), [1, 500, 841, 990]);
    // The median, one deviation and 2.33 deviations of a normal distribution.
    near(
        quantiles(Spread::Normal)[1..].try_into().map(|[a, b, c]: [i64; 3]| [0, a, b, c]).expect("three"),
        [0, 0, 1000, 2330],
    );
    // −ln(1 − q).
    near(quantiles(Spread::Exponential), [1, 693, 1840, 4605]);
    // 1/√(1 − q) − 1.
    near(quantiles(Spread::Pareto), [0, 414, 1510, 9000]);
}

#[test]
fn of_a_list_each_delay_is_as_likely() {
    let or_ns = vec![40, 9_000, 40];
    let added = added(Harm::Slow { latency_ns: 5, or_ns, jitter_ns: 0, spread: Spread::Uniform });
    let share = |delay| added.iter().filter(|added| **added == delay).count();
    let (first, twice, long) = (share(5), share(40), share(9_000));
    assert_eq!(first + twice + long, 10_000);
    for (share, expected) in [(first, 2_500), (twice, 5_000), (long, 2_500)] {
        assert!(share.abs_diff(expected) < 200, "{share} of about {expected}");
    }
}

#[test]
fn correlated_losses_come_in_bursts_but_are_no_more() {
    let run = |correlation| {
        let mut links = Links::new(7, Hush::Everything);
        let link = links.between(A, B);
        links.harm(Harm::Lossy { probability: 0.2, correlation }, &[A], &[B], false, Draws::ByHand);
        let lost: Vec<bool> = (0..20_000).map(|_| fate(&mut links, link) == Fate::Lost).collect();
        let bursts = lost.windows(2).filter(|pair| pair[1] && !pair[0]).count();
        (lost.iter().filter(|lost| **lost).count(), bursts)
    };
    let ((alone, single), (correlated, bursts)) = (run(0.0), run(0.8));
    assert!(alone.abs_diff(4000) < 300 && correlated.abs_diff(4000) < 700, "{alone} and {correlated} of 20000");
    assert!(bursts * 3 < single, "{bursts} bursts, {single} without correlation");
}
