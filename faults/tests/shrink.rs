//! Plans of up to sixty faults shrink to minimal ones, in few runs, whatever the parallelism.
//!
//! The properties are those of the study that chose the order of steps: A, a host crashes while it is cut off; B, the
//! same, but a plan counts only if each crash has a later pause of the same host, so that pairs have to go together;
//! C, the same as A, but only for an even number of faults, so that dropping a single one never works.

use std::time::Duration;
use windtunnel_faults::shrink::{Ended, Observation, Shrinker, Shrunk, Verdict};
use windtunnel_faults::{self as faults, Budget, Effect, Fault, Kind, Kinds, Plan, Struck, Swarm, Topology};

const FAILURES: usize = 100;

fn topology() -> Topology {
    Topology::new().group("kv", 5)
}

/// Plans of up to sixty faults of seven kinds, as the study had them.
fn plans() -> impl Iterator<Item = Plan> {
    let kinds = [Kind::Partition, Kind::Crash, Kind::Pause, Kind::Latency, Kind::Loss, Kind::ClockSkew, Kind::DiskFull];
    let vocabulary = faults::plan().kinds(Kinds::of(&kinds)).at_most(60).swarm(Swarm::Off).budget(Budget::Unlimited);
    let topology = topology();
    (0..).map(move |seed| vocabulary.draw(seed, &topology, Duration::from_secs(60)))
}

fn begins(fault: &Fault) -> Duration {
    fault.begins().expect("these plans have no marks")
}

fn hosts(fault: &Fault) -> Vec<String> {
    match fault.resolve(&topology()).expect("a valid plan") {
        Struck::Hosts(hosts) => hosts.into_iter().map(|host| host.name.clone()).collect(),
        Struck::Links(links) => links.into_iter().flat_map(|link| [link.from, link.to].map(str::to_owned)).collect(),
    }
}

/// When a host first crashes while it is cut off.
fn crashes_while_cut_off(plan: &Plan) -> Option<Duration> {
    let of = |kind: Kind| plan.faults.iter().filter(move |fault| fault.kind() == kind);
    let during = |crash: &&Fault| {
        of(Kind::Partition).any(|cut| {
            let lasts = cut.lasts.expect("drawn faults heal");
            let covered = begins(cut) <= begins(crash) && begins(crash) < begins(cut) + lasts;
            covered && hosts(cut).iter().any(|host| hosts(crash).contains(host))
        })
    };
    of(Kind::Crash).filter(during).map(begins).min()
}

fn paused_later(plan: &Plan) -> bool {
    let pause_after = |crash: &Fault| {
        let later = |fault: &&Fault| fault.kind() == Kind::Pause && begins(fault) >= begins(crash);
        plan.faults.iter().filter(later).any(|pause| hosts(pause).iter().any(|host| hosts(crash).contains(host)))
    };
    plan.faults.iter().filter(|fault| fault.kind() == Kind::Crash).all(pause_after)
}

fn property_a(plan: &Plan) -> Option<Duration> {
    crashes_while_cut_off(plan)
}

fn property_b(plan: &Plan) -> Option<Duration> {
    crashes_while_cut_off(plan).filter(|_| paused_later(plan))
}

fn property_c(plan: &Plan) -> Option<Duration> {
    crashes_while_cut_off(plan).filter(|_| plan.faults.len().is_multiple_of(2))
}

type Property = fn(&Plan) -> Option<Duration>;

/// What a run tells the shrinker.
#[derive(Clone, Copy, PartialEq)]
enum Sight {
    /// Whether it failed.
    Blind,
    /// And when.
    Timed,
}

fn verdict(property: Property, sight: Sight, plan: &Plan) -> Verdict {
    match property(plan) {
        Some(time) => {
            let failed_at = (sight == Sight::Timed).then_some(time);
            Verdict::Fails(Observation { failed_at, idle: Vec::new() })
        }
        None => Verdict::Passes,
    }
}

fn shrink(plan: Plan, property: Property, sight: Sight, parallel: usize, budget: usize) -> Shrunk {
    let Verdict::Fails(seen) = verdict(property, sight, &plan) else { panic!("{plan} does not fail") };
    let shrinker = Shrinker::new(plan, seen).with_topology(&topology()).with_budget(budget);
    finished(shrinker, parallel, |plan| verdict(property, sight, plan))
}

/// Shrinks until nothing smaller is left to try, so many plans at a time.
fn finished(mut shrinker: Shrinker, parallel: usize, verdict: impl Fn(&Plan) -> Verdict) -> Shrunk {
    loop {
        let candidates = shrinker.propose(parallel);
        if candidates.is_empty() {
            return shrinker.finish();
        }
        shrinker.learn(candidates.iter().map(&verdict));
    }
}

fn shrunk(property: Property, sight: Sight) -> Vec<Shrunk> {
    let failing = plans().filter(|plan| property(plan).is_some()).take(FAILURES);
    failing.map(|plan| shrink(plan, property, sight, 1, 500)).collect()
}

fn mean(values: &[usize]) -> f64 {
    values.iter().sum::<usize>() as f64 / values.len() as f64
}

/// At most 80 runs in the mean and 200 at the 95th percentile; prints what was measured.
fn within_the_bar(name: &str, all: &[Shrunk]) {
    let mut runs = all.iter().map(|shrunk| shrunk.runs).collect::<Vec<_>>();
    runs.sort_unstable();
    let lengths = all.iter().map(|shrunk| shrunk.plan.faults.len()).collect::<Vec<_>>();
    let (p95, most) = (runs[runs.len() * 95 / 100 - 1], runs[runs.len() - 1]);
    println!("{name}: {:.1} runs, p95 {p95}, most {most}; {:.2} faults", mean(&runs), mean(&lengths));
    assert!(mean(&runs) <= 80.0, "{name}: {} runs in the mean", mean(&runs));
    assert!(p95 <= 200, "{name}: {p95} runs at the 95th percentile");
}

fn one_minimal(property: Property, shrunk: &Shrunk) {
    assert_eq!(shrunk.ended, Ended::Minimal);
    assert!(property(&shrunk.plan).is_some(), "{} does not fail", shrunk.plan);
    for at in 0..shrunk.plan.faults.len() {
        let mut without = shrunk.plan.clone();
        without.faults.remove(at);
        assert!(property(&without).is_none(), "fault {at} is superfluous in\n{}", shrunk.plan);
    }
}

fn digits(time: Duration) -> usize {
    time.as_nanos().to_string().trim_end_matches('0').len()
}

fn round(shrunk: &Shrunk) {
    for fault in &shrunk.plan.faults {
        let times = [begins(fault), fault.lasts.expect("drawn faults heal")];
        assert!(times.into_iter().all(|time| digits(time) <= 1), "not round:\n{}", shrunk.plan);
    }
}

#[test]
fn a_crash_while_cut_off_shrinks_to_two_faults_with_round_times() {
    for (name, sight) in [("A", Sight::Blind), ("A, time known", Sight::Timed)] {
        let all = shrunk(property_a, sight);
        within_the_bar(name, &all);
        for shrunk in &all {
            one_minimal(property_a, shrunk);
            round(shrunk);
            assert_eq!(shrunk.plan.faults.len(), 2, "{}", shrunk.plan);
        }
    }
}

#[test]
fn faults_that_go_only_together_are_dropped_together() {
    for (name, sight) in [("B", Sight::Blind), ("B, time known", Sight::Timed)] {
        let all = shrunk(property_b, sight);
        within_the_bar(name, &all);
        for shrunk in &all {
            one_minimal(property_b, shrunk);
            round(shrunk);
            assert_eq!(shrunk.plan.faults.len(), 3, "{}", shrunk.plan);
        }
    }
}

#[test]
fn a_failure_that_needs_an_even_number_shrinks_although_no_single_fault_can_go() {
    for (name, sight) in [("C", Sight::Blind), ("C, time known", Sight::Timed)] {
        let all = shrunk(property_c, sight);
        within_the_bar(name, &all);
        for shrunk in &all {
            one_minimal(property_c, shrunk);
            assert_eq!(shrunk.plan.faults.len(), 2, "{}", shrunk.plan);
        }
    }
}

#[test]
fn the_result_is_the_same_at_any_parallelism_and_budget() {
    for property in [property_a as Property, property_b, property_c] {
        for plan in plans().filter(|plan| property(plan).is_some()).take(10) {
            for budget in [0, 1, 7, 30, 500] {
                let alone = shrink(plan.clone(), property, Sight::Timed, 1, budget);
                assert!(alone.runs <= budget && alone.verdicts == alone.runs);
                for parallel in [2, 3, 16] {
                    let together = shrink(plan.clone(), property, Sight::Timed, parallel, budget);
                    assert_eq!(Shrunk { verdicts: alone.verdicts, ..together }, alone);
                }
            }
        }
    }
}

#[test]
fn verdicts_after_the_first_failure_may_be_left_out() {
    let plan = plans().find(|plan| property_b(plan).is_some()).expect("some plan fails");
    let alone = shrink(plan.clone(), property_b, Sight::Blind, 1, 500);
    let mut shrinker = Shrinker::new(plan, Observation::default()).with_topology(&topology());
    loop {
        let candidates = shrinker.propose(8);
        if candidates.is_empty() {
            break;
        }
        let verdicts = candidates.iter().map(|plan| verdict(property_b, Sight::Blind, plan)).collect::<Vec<_>>();
        let first = verdicts.iter().position(|verdict| *verdict != Verdict::Passes);
        shrinker.learn(verdicts.into_iter().take(first.map_or(usize::MAX, |first| first + 1)));
    }
    assert_eq!(shrinker.finish().plan, alone.plan);
}

#[test]
fn a_plain_bug_needs_no_fault() {
    let plan = plans().find(|plan| plan.faults.len() > 40).expect("some plan is long");
    let shrunk = shrink(plan, |_| Some(Duration::MAX), Sight::Blind, 1, 500);
    assert_eq!((shrunk.plan, shrunk.runs), (Plan::default(), 1));
}

#[test]
fn a_spent_budget_keeps_the_best_so_far_and_says_so() {
    let plan = plans().find(|plan| plan.faults.len() > 40 && property_a(plan).is_some()).expect("some plan fails");
    let shrunk = shrink(plan.clone(), property_a, Sight::Blind, 1, 6);
    assert_eq!((shrunk.ended, shrunk.runs), (Ended::BudgetSpent, 6));
    assert!(shrunk.plan.faults.len() < plan.faults.len() && property_a(&shrunk.plan).is_some());
}

#[test]
fn whoever_stops_gets_the_best_so_far() {
    let plan = "1s pause kv0 for 1s".parse::<Plan>().expect("a plan");
    let mut shrinker = Shrinker::new(plan.clone(), Observation::default());
    assert_eq!(shrinker.propose(3).len(), 3);
    shrinker.stop();
    assert!(shrinker.propose(3).is_empty());
    let shrunk = shrinker.finish();
    assert_eq!((shrunk.plan, shrunk.ended), (plan, Ended::Stopped));
}

#[test]
fn what_bit_nothing_goes_in_one_try_and_is_kept_when_that_was_wrong() {
    let plan =
        "0s pause kv0 for 1s; 1s pause kv1 for 1s; 2s crash kv2 restart after 1s".parse::<Plan>().expect("a plan");
    let idle = Observation { failed_at: None, idle: vec![0, 1] };
    let crash = |plan: &Plan| plan.faults.iter().any(|fault| matches!(fault.effect, Effect::Crash(_)));
    let mut shrinker = Shrinker::new(plan.clone(), idle.clone());
    assert_eq!(shrinker.propose(1)[0].to_string(), "2s crash kv2 restart after 1s");
    shrinker.learn([Verdict::Fails(Observation::default())]);
    assert_eq!(shrinker.best().faults.len(), 1);

    let wrong = Observation { idle: vec![2], ..idle };
    let mut shrinker = Shrinker::new(plan, wrong.clone());
    while let [candidate] = &shrinker.propose(1)[..] {
        let verdict = if crash(candidate) { Verdict::Fails(wrong.clone()) } else { Verdict::Passes };
        shrinker.learn([verdict]);
    }
    assert_eq!(shrinker.finish().plan.to_string(), "0s crash kv2 by kill restart after 100ms");
}

#[test]
fn numbers_become_as_round_as_the_failure_allows() {
    let narrow = |fault: &Fault| {
        let (begin, length) = (begins(fault).as_millis(), fault.lasts.expect("a length").as_millis());
        fault.kind() == Kind::Pause && (3_851..3_950).contains(&begin) && begin + length > 5_230
    };
    let plan = "3.877s pause kv0 for 4.219s".parse::<Plan>().expect("a plan");
    let shrunk = windtunnel_faults::shrink::shrink(plan, Observation::default(), |plan| {
        if plan.faults.iter().any(narrow) { Verdict::Fails(Observation::default()) } else { Verdict::Passes }
    });
    assert_eq!(shrunk.plan.to_string(), "3.9s pause kv0 for 4s");
}

#[test]
fn of_a_ring_the_one_link_that_matters_is_left() {
    let topology = ["c0", "c1", "c2", "locks"].into_iter().fold(Topology::new(), |topology, name| topology.host(name));
    let cuts = |plan: &Plan| {
        let mut links = plan.faults.iter().filter_map(|fault| fault.resolve(&topology).ok());
        links.any(|struck| match struck {
            Struck::Links(links) => links.iter().any(|link| (link.from, link.to) == ("locks", "c1")),
            Struck::Hosts(_) => false,
        })
    };
    let plan: Plan = "500ms partition ring {c0,c1,c2,locks} for 900ms".parse().expect("a literal of this test");
    let shrinker = Shrinker::new(plan, Observation::default()).with_topology(&topology);
    let verdict = |plan: &Plan| if cuts(plan) { Verdict::Fails(Observation::default()) } else { Verdict::Passes };
    assert_eq!(finished(shrinker, 2, verdict).plan.to_string(), "0s partition locks->c1 for 100ms");
}

#[test]
fn a_fault_becomes_no_other_that_was_not_asked_for() {
    let plan: Plan = "1s crash kv0 restart after 1s".parse().expect("a literal of this test");
    for (kinds, expected) in
        [(Kinds::ALL, "0s pause kv0 for 100ms"), (faults::host::crashes(), "0s crash kv0 by kill restart after 100ms")]
    {
        let shrinker = Shrinker::new(plan.clone(), Observation::default()).with_kinds(kinds);
        let stays = |plan: &Plan| !plan.faults.is_empty();
        let verdict = |plan: &Plan| if stays(plan) { Verdict::Fails(Observation::default()) } else { Verdict::Passes };
        assert_eq!(finished(shrinker, 1, verdict).plan.to_string(), expected);
    }
}

#[test]
fn a_jitter_that_is_needed_becomes_round() {
    let plan: Plan = "0s latency kv0->kv1 40ms jitter 23.8ms for 100ms".parse().expect("a literal of this test");
    let shrunk = windtunnel_faults::shrink::shrink(plan, Observation::default(), |plan| {
        let text = plan.to_string();
        if text.contains(" jitter ") { Verdict::Fails(Observation::default()) } else { Verdict::Passes }
    });
    assert_eq!(shrunk.plan.to_string(), "0s latency kv0->kv1 1ms jitter 1ms for 100ms");
}

/// A remembered verdict is of a plan, but places are of a list: the same plan may come in another order.
#[test]
fn idle_faults_are_the_same_ones_in_a_plan_of_another_order() {
    let faults = ["2s crash kv2 restart after 1s", "1s pause kv1 for 1s", "0s pause kv0 for 1s"];
    let faults = faults.map(|line| line.parse::<Fault>().expect("a fault"));
    let seen = Observation { failed_at: None, idle: vec![1, 2] };
    let mut shrinker = Shrinker::new(Plan::new(faults), seen);
    assert_eq!(shrinker.propose(1)[0].to_string(), "2s crash kv2 restart after 1s");
}

/// Each of these can be dropped only after all of a higher rank, so that one sweep over them is not enough.
#[test]
fn what_can_go_only_after_something_else_goes_too() {
    // No chunk holds the highest ranks, and a sweep from the front reaches at most two.
    let ranks = (0..16).step_by(2).chain((1..16).step_by(2));
    let plan = ranks.map(|rank| format!("{rank}s pause kv{rank}").parse::<Fault>().expect("a fault"));
    let lowest = |plan: &Plan| {
        let names = plan.faults.iter().flat_map(hosts_of_any).collect::<std::collections::BTreeSet<_>>();
        !names.is_empty() && names == (0..names.len()).map(|rank| format!("kv{rank}")).collect()
    };
    let shrunk = windtunnel_faults::shrink::shrink(plan.collect(), Observation::default(), |plan| {
        if lowest(plan) { Verdict::Fails(Observation::default()) } else { Verdict::Passes }
    });
    assert_eq!(shrunk.plan.to_string(), "0s pause kv0");
}

fn hosts_of_any(fault: &Fault) -> Option<String> {
    fault.effect.to_string().split(' ').nth(1).map(str::to_owned)
}
