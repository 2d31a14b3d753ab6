//! The same case is the same run: in whatever process, on whatever machine, however it was started.
//!
//! Each workload of `examples/` runs one case in many processes, and everything varies that must not matter (see
//! `variations.rs`). All must end with the digest of the first and print the same transcript; other seeds must not.
//! Digests cover every value that any program received, transcripts are what a user can see of that: clocks, random
//! numbers, uuids, the order of a `HashMap` and of `select!`.
//!
//! `WINDTUNNEL_PROFILE=release` compares release builds with each other; debug builds otherwise.

mod binaries;
mod start;
mod variations;

use binaries::TestBinary;
use start::{Case, Ended, Seeds};
use std::collections::BTreeMap;
use variations::VARIATIONS;

/// Any will do. The case that all processes run is the last of three.
const SEEDS: Seeds = Seeds { first: 0x5f1d_0a2c_77e0, count: 3 };
const CASE: u64 = SEEDS.first + 2;

#[test]
fn mini_redis_with_its_clients() {
    runs_the_same_everywhere("redis-workload", "clients_go_on_after_crashes");
}

#[test]
fn kv_on_axum_and_reqwest() {
    runs_the_same_everywhere("kv", "acknowledged_writes_survive");
}

#[test]
fn a_log_on_a_disk_that_loses_power() {
    runs_the_same_everywhere("ledger", "what_was_answered_is_on_the_disk");
}

#[test]
fn sqlite_on_a_disk_that_loses_power() {
    runs_the_same_everywhere("accounts", "a_write_ahead_log_keeps_what_was_answered");
}

#[test]
fn a_tonic_service() {
    runs_the_same_everywhere("workloads", "grpc_calls_and_streams");
}

#[test]
fn reqwest_over_tls_with_default_features() {
    runs_the_same_everywhere("workloads", "tls_is_spoken_over_http_2");
}

#[test]
fn hyper_with_a_thousand_connections() {
    runs_the_same_everywhere("workloads", "a_thousand_connections_are_open_at_once");
}

#[test]
fn a_multi_thread_runtime_with_blocking_work() {
    runs_the_same_everywhere("workloads", "blocking_work_ends_in_some_order");
}

#[test]
fn threads_with_channels_mutexes_and_condition_variables() {
    runs_the_same_everywhere("workloads", "threads_serve_and_are_counted");
}

#[test]
fn udp() {
    runs_the_same_everywhere("workloads", "udp_echoes_answer");
}

#[test]
fn a_global_allocator() {
    runs_the_same_everywhere("allocator-workload", "services_bring_their_allocator");
}

#[test]
fn unix_sockets() {
    runs_the_same_everywhere("workloads", "unix_sockets_of_all_kinds_work");
}

/// What the seed draws of faults is part of the case.
#[test]
fn drawn_partitions_latencies_and_pauses() {
    runs_the_same_everywhere("pitfalls", "tickets::a_majority_hands_out_each_ticket_once");
}

#[test]
fn clocks_that_are_skewed_and_drift() {
    runs_the_same_everywhere("pitfalls", "tokens::a_checked_clock_accepts_nothing_that_has_expired");
}

#[test]
fn names_that_are_hijacked() {
    runs_the_same_everywhere("pitfalls", "names::a_cache_that_forgets_finds_the_way_back");
}

/// A comparison that sees nothing would let all of the above pass.
#[test]
fn one_disturbed_event_is_noticed_and_named() {
    let binary = TestBinary::of("workloads");
    let mut noticed = 0;
    for event in 200..205_u64 {
        let start = binary.start("udp_echoes_answer", Seeds::one(CASE));
        let disturbed = start.env("CHAOS_PERTURB", event.to_string()).run();
        // The clock goes on by a nanosecond after the disturbed event, so the next is the first to show it. If that is
        // due at a time of its own, such as a delivery, the nanosecond is gone before anybody can see it.
        let sentence = format!("nondeterministic: two runs of this case differ at event {}\n", event + 1);
        assert_eq!(disturbed.printed.contains(&sentence), !disturbed.succeeded, "{}", disturbed.printed);
        noticed += u32::from(!disturbed.succeeded);
    }
    assert!(noticed >= 3, "{noticed} of 5 were noticed");
}

/// Runs a test of a package's `chaos` binary in many processes, and compares.
fn runs_the_same_everywhere(package: &'static str, test: &'static str) {
    let binary = TestBinary::of(package);
    let digests = digests_of_different_seeds(&binary.start(test, SEEDS).run());
    let alone = binary.start(test, Seeds::one(CASE)).run();
    let transcript = alone.transcript();
    assert!(!transcript.is_empty(), "{test} prints nothing that could be compared:\n{}", alone.printed);

    for variation in VARIATIONS {
        let ran = (variation.vary)(binary.start(test, variation.seeds)).run();
        let name = variation.name;
        assert!(ran.cases.iter().any(|case| case.seed == format!("{CASE:#x}")), "{name}: the case did not run");
        for case in &ran.cases {
            assert_eq!(digest(case, &ran), digests[&case.seed], "{test}, {name}: seed {}", case.seed);
        }
        // Several cases at a time print in one another's midst.
        if ran.cases.len() == 1 {
            assert_eq!(ran.transcript(), transcript, "{test}, {name}");
        }
    }
}

/// The digest of each case; no two are equal.
fn digests_of_different_seeds(ran: &Ended) -> BTreeMap<String, String> {
    let digests: BTreeMap<_, _> = ran.cases.iter().map(|case| (case.seed.clone(), digest(case, ran))).collect();
    let mut seeds_of = BTreeMap::new();
    for (seed, digest) in &digests {
        let other = seeds_of.insert(digest, seed);
        assert_eq!(other, None, "{seed} runs as another seed");
    }
    // A rehearsal and a case for each seed.
    assert_eq!(digests.len() as u64, 1 + SEEDS.count, "{}", ran.printed);
    digests
}

fn digest(case: &Case, ran: &Ended) -> String {
    assert_eq!(case.outcome, "passed", "seed {}\n{}", case.seed, ran.printed);
    assert_eq!(case.digest_when_logged, None, "seed {}", case.seed);
    case.digest.clone().expect("a case that passed has a digest")
}
