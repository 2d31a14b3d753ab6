//! What every drawn plan is: valid, written back unchanged, within the budget, and so is every part of it.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeSet;
use std::time::Duration;
use windtunnel_faults::{
    self as faults, Budget, Effect, Faults, Kind, Kinds, Plan, Shape, Start, Swarm, Topology, Window, clock, disk,
    host, net,
};

const SHAPES: [Shape; 6] =
    [Shape::Random, Shape::Swizzle, Shape::Ring, Shape::Bridge, Shape::Flapping, Shape::RollingRestart];

fn topologies() -> [Topology; 6] {
    [
        Topology::new(),
        Topology::new().host("solo"),
        Topology::new().group("pair", 2),
        Topology::new().group("kv", 3).host("c1"),
        Topology::new().group("kv", 5).group("db", 2).host("c1").host("test"),
        Topology::new().group("many", 12),
    ]
}

fn vocabularies() -> Vec<Faults> {
    let base = [
        faults::plan(),
        faults::plan().kinds(Kinds::ALL).at_most(20),
        faults::plan().kinds(Kinds::ALL).at_most(20).swarm(Swarm::Off).after_marks(["msg-10", "a \"quoted; \\ # mark"]),
        faults::plan().kinds(host::all() + disk::all()).at_most(40).lasting_at_least(Duration::from_secs(2)),
        faults::plan().kinds(clock::all() + net::dns_hijacks()).at_most(1),
        Kinds::NONE.into(),
    ];
    base.iter().flat_map(|faults| SHAPES.map(|shape| faults.clone().shape(shape))).collect()
}

const WINDOWS: [Duration; 4] =
    [Duration::ZERO, Duration::from_micros(700), Duration::from_millis(80), Duration::from_secs(60)];

/// Calls `check` with plans of every vocabulary, topology and window.
fn for_each_plan(check: impl Fn(&Faults, &Topology, Duration, &Plan)) {
    for topology in topologies() {
        for (number, vocabulary) in (0..).zip(vocabularies()) {
            for window in WINDOWS {
                for seed in 0..4 {
                    let plan = vocabulary.draw(seed * 1_000 + number, &topology, window);
                    check(&vocabulary, &topology, window, &plan);
                }
            }
        }
    }
}

#[test]
fn every_plan_is_valid_for_its_hosts() {
    for_each_plan(|vocabulary, topology, _, plan| {
        if let Err(problems) = plan.validate_for(topology) {
            panic!("{vocabulary:?} drew\n{plan}\n{problems}");
        }
        assert!(plan.faults.iter().all(|fault| vocabulary.kinds_in_play().contains(fault.kind())), "{plan}");
        assert!(plan.faults.iter().all(|fault| fault.lasts.is_some()), "a fault never heals:\n{plan}");
    });
}

#[test]
fn every_plan_reads_back_from_text_yaml_and_json() {
    for_each_plan(|_, _, _, plan| {
        assert_eq!(plan.to_string().parse::<Plan>().as_ref(), Ok(plan));
        assert_eq!(plan.in_one_line().parse::<Plan>().as_ref(), Ok(plan));
        let yaml = plan.to_yaml();
        assert_eq!(&Plan::from_yaml(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}")), plan, "{yaml}");
        let json = plan.to_json();
        assert_eq!(&Plan::from_json(&json).unwrap_or_else(|error| panic!("{error}\n{json}")), plan, "{json}");
    });
}

#[test]
fn no_plan_takes_a_majority_down_and_single_hosts_and_pairs_still_crash() {
    let crashed = std::cell::RefCell::new(BTreeSet::new());
    for_each_plan(|_, topology, _, plan| {
        assert_eq!(plan.overdraft(topology), None, "{plan}");
        let crashes = plan.faults.iter().any(|fault| fault.kind() == Kind::Crash);
        if crashes {
            crashed.borrow_mut().insert(topology.members().len());
        }
    });
    assert_eq!(crashed.into_inner(), BTreeSet::from([1, 2, 4, 9, 12]));
}

#[test]
fn without_a_budget_everything_may_be_down() {
    let topology = Topology::new().group("kv", 3);
    let faults = faults::plan().kinds(host::crashes()).at_most(20).budget(Budget::Unlimited);
    let over = |seed| faults.draw(seed, &topology, Duration::from_secs(5)).overdraft(&topology).is_some();
    assert!((0..50).any(over));
}

#[test]
fn every_part_of_a_plan_is_a_valid_plan() {
    for_each_plan(|_, topology, _, plan| {
        // Each fault alone, each left out, and every second one: all sub-lists of sixty would be too many.
        let count = plan.faults.len();
        let kept = |keep: &dyn Fn(usize) -> bool| {
            let faults = plan.faults.iter().enumerate().filter(|(at, _)| keep(*at));
            let part = faults.map(|(_, fault)| fault.clone()).collect::<Plan>();
            assert!(part.validate_for(topology).is_ok(), "{part}");
            assert_eq!(part.overdraft(topology), None, "{part}");
        };
        for place in 0..count {
            kept(&|at| at == place);
            kept(&|at| at != place);
            kept(&|at| at % 2 == place % 2);
        }
    });
}

#[test]
fn counts_starts_and_lengths_are_as_asked_for() {
    let topology = Topology::new().group("kv", 5);
    let window = Window { from: Duration::from_secs(2), until: Duration::from_secs(9) };
    let (least, most) = (Duration::from_millis(300), Duration::from_secs(3));
    let faults = faults::plan().kinds(Kinds::ALL).at_most(6).within(Duration::from_secs(2)..Duration::from_secs(9));
    let faults = faults.lasting_at_least(least).lasting_at_most(most);
    let mut counts = BTreeSet::new();
    for seed in 0..300 {
        let plan = faults.draw(seed, &topology, Duration::from_secs(1));
        counts.insert(plan.faults.len());
        for fault in &plan.faults {
            let begins = fault.begins().expect("no marks were given");
            assert!(window.from <= begins && begins < window.until, "{fault}");
            let lasts = fault.lasts.expect("drawn faults heal");
            assert!(least <= lasts && lasts <= most, "{fault}");
        }
    }
    assert_eq!(counts, (1..=6).collect());
    assert_eq!(faults.at_most(0).draw(1, &topology, Duration::from_secs(1)), Plan::default());
}

#[test]
fn every_kind_is_drawn_and_the_swarm_leaves_most_out_of_each_plan() {
    let topology = Topology::new().group("kv", 3);
    let kinds_of = |swarm| {
        let faults = faults::plan().kinds(Kinds::ALL).at_most(60).swarm(swarm);
        let plans = (0..200).map(|seed| faults.draw(seed, &topology, Duration::from_secs(60)));
        plans.map(|plan| plan.faults.iter().map(|fault| fault.kind()).collect::<Kinds>()).collect::<Vec<_>>()
    };
    let mean = |sets: &[Kinds]| sets.iter().map(|kinds| kinds.iter().count()).sum::<usize>() / sets.len();
    let (on, off) = (kinds_of(Swarm::On), kinds_of(Swarm::Off));
    assert_eq!(on.iter().copied().fold(Kinds::NONE, Kinds::and), Kinds::ALL);
    assert!(mean(&on) < mean(&off), "{} with the swarm, {} without", mean(&on), mean(&off));
}

#[test]
fn half_of_the_faults_begin_after_marks_when_there_are_any() {
    let topology = Topology::new().group("kv", 3);
    let faults = faults::plan().kinds(net::all()).after_marks(["msg-10"]);
    let plans = (0..200).map(|seed| faults.draw(seed, &topology, Duration::from_secs(60)));
    let starts = plans.flat_map(|plan| plan.faults).map(|fault| fault.start).collect::<Vec<_>>();
    let marked = starts.iter().filter(|start| matches!(start, Start::AfterMark { .. })).count();
    assert!(starts.len() * 4 / 10 < marked && marked < starts.len() * 6 / 10, "{marked} of {}", starts.len());
}

#[test]
fn the_strategy_draws_what_its_seed_draws_and_shrinks_by_leaving_out() {
    let topology = Topology::new().group("kv", 3);
    let faults = faults::plan().kinds(Kinds::ALL);
    // The key that `draw` makes of the seed 7.
    let mut key = [0; 32];
    key[0] = 7;
    key[8..14].copy_from_slice(b"faults");
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &key));
    let mut tree = faults.strategy(&topology, Duration::from_secs(9)).new_tree(&mut runner).expect("never refused");
    let plan = faults.draw(7, &topology, Duration::from_secs(9));
    assert_eq!(tree.current(), plan);

    let wanted = plan.faults.last().expect("some fault").clone();
    while tree.simplify() {
        if !tree.current().faults.contains(&wanted) {
            assert!(tree.complicate());
        }
    }
    assert_eq!(tree.current().faults, [wanted]);
}

#[test]
fn shapes_are_what_they_are_called() {
    let topology = Topology::new().group("kv", 5).host("c1");
    let plans = |shape, kinds: Kinds| {
        let faults = faults::plan().kinds(kinds).shape(shape).at_most(10);
        (0..50).map(move |seed| faults.draw(seed, &Topology::new().group("kv", 5), Duration::from_secs(20)))
    };
    let text = |shape, kinds| plans(shape, kinds).map(|plan| plan.to_string()).collect::<Vec<_>>();
    assert!(text(Shape::Ring, Kinds::NONE).iter().all(|plan| plan.contains("partition ring {")));
    assert!(text(Shape::Bridge, Kinds::NONE).iter().all(|plan| plan.contains("bridged by")));
    for plan in plans(Shape::RollingRestart, Kinds::NONE) {
        let crashed = plan.faults.iter().filter(|fault| fault.kind() == Kind::Crash).collect::<Vec<_>>();
        assert!(crashed.len() >= 5, "{plan}");
    }
    for plan in plans(Shape::Flapping, net::losses()) {
        let same = |effect: &Effect| plan.faults.iter().filter(|fault| fault.effect == *effect).count();
        assert!(plan.faults.iter().any(|fault| same(&fault.effect) >= 3), "{plan}");
    }
    for plan in plans(Shape::Swizzle, Kinds::NONE) {
        let hosts = plan.faults.iter().map(|fault| fault.effect.to_string()).collect::<BTreeSet<_>>();
        assert!(hosts.len() >= 3, "{plan}");
    }
    assert_eq!(topology.groups(), ["kv", "c1"]);
}

#[test]
fn a_seed_s_plan_does_not_change_from_release_to_release() {
    let topology = Topology::new().group("kv", 3).host("c1");
    // Kinds that came later change what is drawn of all kinds, and nothing of what is drawn of the others.
    let kinds = Kinds::ALL.without(disk::errors() + disk::bit_rot());
    let faults = faults::plan().kinds(kinds).at_most(6).after_marks(["msg-10"]);
    let plans = [1, 0x5f1d, u64::MAX].map(|seed| faults.draw(seed, &topology, Duration::from_secs(10)).to_string());
    insta::assert_snapshot!(plans.join("\n\n"), @r#"
    7.387s task-leak kv1 10 descriptors for 713ms
    9.74s task-leak kv2 123 descriptors for 2.35s
    at mark "msg-10" task-leak c1 42 tasks for 363ms

    at mark "msg-10" cpu-burn kv2 80% for 3.55s

    609ms memory-pressure c1 oom-kill for 4.5s
    4.147s duplication kv1 19% for 3.03s
    7.583s disk-full kv0 for 177ms
    9.058s memory-pressure kv0 95% for 151ms
    at mark "msg-10" duplication c1<->kv2 4% for 209ms
    at mark "msg-10" + 10.9ms task-leak kv0 66 threads for 3.13s
    "#);
}

#[test]
fn no_host_is_taken_down_while_it_is_down() {
    let topology = Topology::new().group("kv", 3);
    let faults = faults::plan().kinds(host::crashes() + host::pauses()).at_most(20);
    for seed in 0..200 {
        let plan = faults.draw(seed, &topology, Duration::from_secs(5));
        for host in topology.members() {
            let concerns = |fault: &&faults::Fault| match fault.resolve(&topology) {
                Ok(faults::Struck::Hosts(hosts)) => hosts.contains(&host),
                _ => false,
            };
            let down = plan.faults.iter().filter(concerns).collect::<Vec<_>>();
            for pair in down.windows(2) {
                let ends = pair[0].begins().zip(pair[0].lasts).map(|(begins, lasts)| begins + lasts);
                assert!(ends <= pair[1].begins(), "{} while {} lasts", pair[1], pair[0]);
            }
        }
    }
}

#[test]
fn windows_and_lengths_without_measure_still_give_valid_plans() {
    let topology = Topology::new().group("kv", 5);
    let (zero, most) = (Duration::ZERO, Duration::MAX);
    for shape in SHAPES {
        for (from, until) in [(zero, most), (most, zero), (most, most)] {
            for (least, longest) in [(zero, zero), (most, most), (most, zero)] {
                let faults = faults::plan().kinds(Kinds::ALL).at_most(20).shape(shape);
                let faults = faults.lasting_at_least(least).lasting_at_most(longest).within(from..until);
                let plan = faults.draw(7, &topology, zero);
                assert_eq!(plan.validate_for(&topology), Ok(()));
                assert_eq!(plan.to_string().parse::<Plan>(), Ok(plan));
            }
        }
    }
}
