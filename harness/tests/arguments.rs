//! Parameters that are drawn by the seed: equal for equal seeds, shown in a failure's report, and shrunk.

use std::process::Command;
use windtunnel::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Put(u8, u32),
    Get(u8),
    Delete(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..4u8, any::<u32>()).prop_map(|(key, value)| Op::Put(key, value)),
        (0..4u8).prop_map(Op::Get),
        (0..4u8).prop_map(Op::Delete),
    ]
}

#[chaos_test]
async fn values_are_of_the_strategy(
    cx: Chaos,
    #[strategy = ops(op(), 1..50)] ops: Vec<Op>,
    #[strategy = 1..=3] writers: usize,
    #[strategy = (0.5..1.0, any::<bool>())] (share, _): (f64, bool),
) -> Result<()> {
    assert!((1..50).contains(&ops.len()) && (1..=3).contains(&writers) && (0.5..1.0).contains(&share));
    assert_eq!(cx.elapsed().as_secs(), 0);
    Ok(())
}

#[chaos_test(seed = 0x5f1d)]
async fn a_seed_draws_the_same(#[strategy = vec(any::<u8>(), 4)] bytes: Vec<u8>) {
    assert_eq!(bytes, [199, 115, 113, 251]);
}

#[chaos_test(seed = 0x5f1d)]
async fn other_parameters_change_nothing(
    #[strategy = any::<u64>()] _first: u64,
    #[strategy = vec(any::<u8>(), 4)] bytes: Vec<u8>,
) {
    assert_eq!(bytes, [199, 115, 113, 251]);
}

#[chaos_test(cases = 2)]
async fn the_rehearsal_draws_too(cx: Chaos, #[strategy = Just("drawn")] text: &'static str) {
    assert_eq!((text, cx.is_calm() || cx.seed() > 0), ("drawn", true));
}

/// Neither `Clone` nor anything else.
#[derive(Debug)]
struct Opaque(u8);

#[chaos_test(cases = 2)]
async fn values_need_nothing_but_debug(#[strategy = any::<u8>().prop_map(Opaque)] mut opaque: Opaque) {
    opaque.0 |= 1;
    assert!(opaque.0 > 0);
}

#[chaos_test(cases = 64, expect_failure = "is drawn in some case")]
async fn cases_differ(#[strategy = 0..8] number: u8) {
    assert_ne!(number, 7, "seven is drawn in some case");
}

#[chaos_test(expect_failure = "no value could be drawn for the parameter `byte`")]
async fn a_strategy_that_rejects_everything_is_an_error(
    #[strategy = any::<u8>().prop_filter("must be above 255", |byte| u32::from(*byte) > 255)] byte: u8,
) {
    assert!(byte > 0);
}

#[chaos_test]
#[ignore = "fails; run by those that look at its report"]
async fn lost_after_delete(cx: Chaos, #[strategy = ops(op(), 1..50)] ops: Vec<Op>, #[strategy = 1..=9] writers: u32) {
    cx.mark("began");
    let put = ops.iter().position(|op| matches!(op, Op::Put(1, value) if *value > 100));
    let deleted = put.is_some_and(|put| ops[put..].contains(&Op::Delete(1)));
    assert!(!deleted || writers < 2, "a value is lost after {} operations of {writers} writers", ops.len());
}

async fn listen() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:7").await?;
    loop {
        listener.accept().await?;
    }
}

#[chaos_test(faults = net::partitions())]
#[ignore = "fails; run by those that look at its report"]
async fn slow_and_deleted(cx: Chaos, #[strategy = ops(op(), 5..50)] ops: Vec<Op>) -> Result<()> {
    let echo = cx.host("echo").main(listen).ready(tcp(7)).start().await?;
    let workload = async || {
        for _ in &ops {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            let _stream = tokio::net::TcpStream::connect(echo.addr(7)).await;
        }
    };
    cx.storm(workload).await;
    let is_slow = cx.elapsed().as_millis() > 700;
    assert!(!is_slow || !ops.iter().any(|op| matches!(op, Op::Delete(_))), "slow, and something was deleted");
    Ok(())
}

/// Runs one test of this binary; what it writes to its standard error, without times.
fn report_of(test: &str, variables: &[(&str, &str)]) -> String {
    let out = tempfile::tempdir().expect("the system's directory for temporary files is writable");
    let mut command = Command::new(std::env::current_exe().expect("the kernel knows it"));
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .env("CHAOS_OUT", out.path())
        .env("CHAOS_SAVE", "never");
    for name in ["CI", "CHAOS_REPLAY", "CHAOS_SHRINK", "CHAOS_SEED", "CHAOS_CASES", "RUST_BACKTRACE", "RUST_LOG"] {
        if !variables.iter().any(|(other, _)| *other == name) {
            command.env_remove(name);
        }
    }
    let output = command.output().expect("it is executable");
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.push_str(
        &std::fs::read_to_string(out.path().join("windtunnel.arguments").join(test).join("arguments.txt"))
            .unwrap_or_default(),
    );
    text
}

fn section(report: &str) -> Vec<&str> {
    report
        .lines()
        .skip_while(|line| *line != "  arguments")
        .skip(1)
        .take_while(|line| line.starts_with("    "))
        .collect()
}

/// What a report says of shrinking, without the time it took.
fn shrunk(report: &str) -> &str {
    let line = report.lines().find_map(|line| line.trim_start().strip_prefix("shrunk     ")).unwrap_or_default();
    line.split_once(" (").map_or(line, |(text, _)| text)
}

#[test]
fn arguments_are_shrunk_and_shown() {
    let report = report_of("lost_after_delete", &[("CHAOS_SEED", "1-200")]);
    assert_eq!(section(&report), ["    ops = [Put(1, 101), Delete(1)]", "    writers = 2"], "{report}");
    assert_eq!(shrunk(&report), "ops from 40 elements to 2, in 56 runs", "{report}");
    assert!(report.contains("panicked: a value is lost after 2 operations of 2 writers"), "{report}");
    assert!(report.contains("(test.log, arguments.txt)"), "{report}");
    let file = "ops = [\n    Put(\n        1,\n        101,\n    ),\n    Delete(\n        1,\n    ),\n]\nwriters = 2\n";
    assert!(report.ends_with(file), "{report}");
}

#[test]
fn faults_are_shrunk_first_and_then_the_arguments() {
    let report = report_of("slow_and_deleted", &[("CHAOS_SEED", "1-200")]);
    let [ops] = section(&report)[..] else { panic!("{report}") };
    assert_eq!(ops.matches("Put(0, 0)").count(), 4, "{report}");
    assert_eq!(ops.matches("Delete(0)").count(), 1, "{report}");
    let (faults, rest) = shrunk(&report).split_once(", ").unwrap_or_default();
    assert!(faults.contains("fault") && faults.ends_with(" to 1"), "{report}");
    assert!(rest.starts_with("ops from ") && rest.contains(" elements to 5, in "), "{report}");
    let again = report_of("slow_and_deleted", &[replay(&report)]);
    assert_eq!(replay(&report).0, "CHAOS_REPLAY");
    assert_eq!((section(&report), digest(&report)), (section(&again), digest(&again)), "{report}\n{again}");
}

#[test]
fn any_number_of_workers_finds_the_same() {
    let with = |jobs| report_of("lost_after_delete", &[("CHAOS_SEED", "1-200"), ("CHAOS_JOBS", jobs)]);
    let (one, four) = (with("1"), with("4"));
    assert_eq!((section(&one), shrunk(&one)), (section(&four), shrunk(&four)), "{one}\n{four}");
}

/// The variable of the report's command, and what it is set to.
fn replay(report: &str) -> (&str, &str) {
    let command = report.lines().find_map(|line| line.trim_start().strip_prefix("replay     "));
    let assignment = command.and_then(|command| command.split(' ').next()).unwrap_or_default();
    assignment.split_once('=').unwrap_or_else(|| panic!("the report has a command\n{report}"))
}

fn digest(report: &str) -> Option<&str> {
    report.lines().find_map(|line| line.trim_start().strip_prefix("digest     "))
}

#[test]
fn the_token_replays_the_case_as_it_was_shrunk() {
    let found = report_of("lost_after_delete", &[("CHAOS_SEED", "1-200")]);
    let again = report_of("lost_after_delete", &[replay(&found)]);
    assert_eq!((section(&found), digest(&found)), (section(&again), digest(&again)), "{found}\n{again}");
    assert_eq!(shrunk(&again), "", "it was shrunk already\n{again}");
}

/// The seed stands for the case as it was drawn.
#[test]
fn the_seed_draws_the_case_before_it_was_shrunk() {
    let as_drawn = [("CHAOS_SEED", "1-200"), ("CHAOS_SHRINK", "0")];
    let found = report_of("lost_after_delete", &as_drawn);
    let again = report_of("lost_after_delete", &[replay(&found), ("CHAOS_SHRINK", "0")]);
    assert_eq!(replay(&found).0, "CHAOS_SEED");
    assert!(section(&found)[0].ends_with('…'), "{found}");
    assert_eq!((section(&found), digest(&found)), (section(&again), digest(&again)), "{found}\n{again}");
}
