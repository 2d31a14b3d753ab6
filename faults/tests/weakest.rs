//! Where weakening ends for each kind of fault, when only its kind matters: the same plain fault, wherever it began.

use std::time::Duration;
use windtunnel_faults::shrink::{Ended, Observation, Shrinker, Shrunk, Verdict};
use windtunnel_faults::{self as faults, Budget, Kind, Kinds, Plan, Shape, Swarm, Topology};

fn topology() -> Topology {
    Topology::new().group("kv", 5).host("c1")
}

fn shrink(plan: Plan, fails: impl Fn(&Plan) -> bool) -> Shrunk {
    let mut shrinker = Shrinker::new(plan, Observation::default()).with_topology(&topology());
    loop {
        let candidates = shrinker.propose(1);
        let [candidate] = &candidates[..] else { return shrinker.finish() };
        candidate.validate_for(&topology()).expect("candidates are valid");
        let verdict = if fails(candidate) { Verdict::Fails(Observation::default()) } else { Verdict::Passes };
        shrinker.learn([verdict]);
    }
}

#[test]
fn every_kind_ends_at_a_plain_fault_in_few_runs() {
    let mut weakest = Vec::new();
    for kind in Kind::ALL {
        let vocabulary = faults::plan().kinds(Kinds::of(&[*kind])).at_most(8);
        let mut found = std::collections::BTreeSet::new();
        for seed in 0..30 {
            let plan = vocabulary.draw(seed, &topology(), Duration::from_secs(20));
            let shrunk = shrink(plan, |plan| plan.faults.iter().any(|fault| fault.kind() == *kind));
            assert_eq!((shrunk.ended, shrunk.plan.faults.len()), (Ended::Minimal, 1), "{}", shrunk.plan);
            assert!(shrunk.runs <= 30, "{} runs for {}", shrunk.runs, shrunk.plan);
            found.insert(shrunk.plan.to_string());
        }
        weakest.push(found.into_iter().collect::<Vec<_>>().join("\n"));
    }
    insta::assert_snapshot!(weakest.join("\n\n"));
}

#[test]
fn what_is_written_by_hand_is_weakened_too() {
    let weakest = |text: &str| {
        let plan = text.parse::<Plan>().expect("readable");
        let kinds = plan.faults.iter().map(|fault| fault.kind()).collect::<Kinds>();
        let same = |plan: &Plan| plan.faults.iter().map(|fault| fault.kind()).collect::<Kinds>() == kinds;
        shrink(plan, same).plan.to_string()
    };
    assert_eq!(weakest("2s partition kv* | c1 for 1m"), "0s partition kv0->c1 for 100ms");
    assert_eq!(weakest("2s partition kv3 | {kv1,kv2} | c1 for 1m"), "0s partition kv0->c1 for 100ms");
    assert_eq!(weakest("2s partition ring role:kv for 1m"), "0s partition kv0->kv1 for 100ms");
    assert_eq!(weakest("2s pause a majority of role:kv for 1m"), "0s pause kv0 for 100ms");
    assert_eq!(weakest("2s loss role:kv 100% correlation 25% for 1m"), "0s loss kv0->c1 1% for 100ms");
    assert_eq!(weakest("1h clock-skew kv* -23h slewed"), "0s clock-skew kv0 -1ms");
}

#[test]
fn shrinking_what_was_shrunk_changes_nothing() {
    let kinds = Kinds::of(&[Kind::Partition, Kind::Crash, Kind::Loss]);
    let vocabulary = faults::plan().kinds(Kinds::ALL).at_most(30).swarm(Swarm::Off).budget(Budget::Unlimited);
    let fails = |plan: &Plan| {
        let present = plan.faults.iter().map(|fault| fault.kind()).collect::<Kinds>();
        kinds.without(present).is_empty()
    };
    let shapes = [Shape::Random, Shape::Swizzle, Shape::Bridge, Shape::RollingRestart];
    let plans = (0..200)
        .map(|seed| vocabulary.clone().shape(shapes[seed % 4]).draw(seed as u64, &topology(), Duration::from_secs(20)));
    let mut shrunk_plans = 0;
    for plan in plans.filter(fails) {
        let once = shrink(plan, fails);
        let twice = shrink(once.plan.clone(), fails);
        assert_eq!((&twice.plan, twice.ended), (&once.plan, Ended::Minimal));
        assert_eq!(once.plan.faults.len(), 3, "{}", once.plan);
        shrunk_plans += 1;
    }
    assert!(shrunk_plans > 20, "only {shrunk_plans} plans failed");
}
