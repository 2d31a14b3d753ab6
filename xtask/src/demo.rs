//! `cargo xtask demo`: the two proofs in `examples/`, as chaos tests that a user could have written.
//!
//! 1. mini-redis from the registry lives through partitions, crashes and restarts.
//! 2. kv acknowledges writes before a majority has them. A case loses one; its seed repeats it, digest for digest; the
//!    fixed version lives through the same cases.
//! 3. The loop: a storm that is drawn loses a write, shrinks to what it takes, is kept in a file, and is replayed first
//!    on the next run; the fixed version passes it, and with the file in place goes on to new storms.

use crate::examples::{self, Build};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

/// A chaos test that is shown.
#[derive(Clone, Copy)]
struct Shown {
    package: &'static str,
    /// Below `examples/`, where cargo would run it.
    directory: &'static str,
    test: &'static str,
}

const fn redis(test: &'static str) -> Shown {
    Shown { package: "redis-workload", directory: "redis", test }
}

const fn kv(test: &'static str) -> Shown {
    Shown { package: "kv", directory: "kv", test }
}

const REDIS: [Shown; 2] = [redis("partitions_make_nobody_see_what_cannot_be"), redis("clients_go_on_after_crashes")];
const KV_BUGGY: Shown = kv("a_write_that_one_replica_acknowledged_is_lost");
const KV_FIXED: Shown = kv("acknowledged_writes_survive");
const KV_DRAWN_BUGGY: Shown = kv("a_drawn_storm_of_sixty_faults");
const KV_DRAWN_FIXED: Shown = kv("acknowledged_writes_survive_drawn_storms");

/// Runs both.
///
/// # Errors
/// One of them did not turn out as it has to.
pub fn run(root: &Path) -> Result<()> {
    let build = |package| examples::build(root, package, Build::AS_TESTS);
    let (redis, kv) = (build(REDIS[0].package)?, build(KV_BUGGY.package)?);
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).to_string();
    let began = Instant::now();
    let run = |shown: Shown, variables: &[(&str, &str)]| {
        let binary = if shown.package == KV_BUGGY.package { &kv } else { &redis };
        run_test(&root.join("examples").join(shown.directory), binary, shown, variables)
    };

    heading("1/6  mini-redis from the registry, unmodified, in partitions, crashes and restarts");
    for test in REDIS {
        run(test, &[("CHAOS_JOBS", &jobs)])?;
    }

    heading("2/6  kv acknowledges writes that only one replica has: the storm loses one");
    let found = run(KV_BUGGY, &[("CHAOS_JOBS", &jobs)])?;
    let seed = word_after(&found, "seed ", "the failure")?;
    let digest = word_after(&found, "digest ", "the failure")?;

    heading("3/6  the same case, twice, each time in a new process");
    for _ in 0..2 {
        let again = run(KV_BUGGY, &[("CHAOS_SEED", seed), ("CHAOS_LOG", "none")])?;
        let again = word_after(&again, "digest ", "the replay")?;
        ensure!(again == digest, "the replay has digest {again}, the case that was found {digest}");
    }
    println!("\n  found      {digest}\n  replays    equal, both times");

    heading("4/6  kv that waits for a majority, in the same cases");
    let base = variable(&found, "CHAOS_SEED")?;
    let cases = variable(&found, "CHAOS_CASES")?;
    run(KV_FIXED, &[("CHAOS_SEED", base), ("CHAOS_CASES", cases), ("CHAOS_JOBS", &jobs)])?;

    whole_loop(root, &kv)?;

    println!("\nxtask demo: all as it has to be, in {:.1} s after the build", began.elapsed().as_secs_f64());
    Ok(())
}

/// Found, shrunk, kept, replayed first, fixed, still green.
fn whole_loop(root: &Path, binary: &Path) -> Result<()> {
    // Stands for the package's own directory, so that the checkout stays as it is.
    let package = root.join("target").join("demo");
    let kept = |test: Shown| package.join("chaos-regressions/kv.chaos").join(format!("{}.toml", test.test));
    match std::fs::remove_dir_all(&package) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => std::fs::create_dir_all(&package)?,
    }
    let place = package.to_string_lossy().into_owned();
    let variables = [("CARGO_MANIFEST_DIR", &*place), ("CHAOS_SAVE", "always"), ("CHAOS_LOG", "none")];
    let directory = root.join("examples/kv");

    heading("5/6  a storm that is drawn loses a write: it shrinks, is kept, and comes first on the next run");
    let found = run_failing(&directory, binary, KV_DRAWN_BUGGY, &variables)?;
    ensure!(found.contains("  shrunk  "), "the plan did not shrink:\n{found}");
    println!("\n$ cat {}", kept(KV_DRAWN_BUGGY).strip_prefix(root).unwrap_or(&package).display());
    let text = std::fs::read_to_string(kept(KV_DRAWN_BUGGY)).context("the case was not kept")?;
    text.lines().for_each(|line| println!("  {line}"));
    let again = run_failing(&directory, binary, KV_DRAWN_BUGGY, &variables)?;
    ensure!(again.contains("a saved case still fails, exactly as it did when it was found"), "it did not come first");

    heading("6/6  kv that waits for a majority passes the case that was kept, and new storms");
    std::fs::copy(kept(KV_DRAWN_BUGGY), kept(KV_DRAWN_FIXED)).context("failed to hand the case on")?;
    let fixed = run_test(&directory, binary, KV_DRAWN_FIXED, &variables)?;
    ensure!(fixed.contains("entry 1: a saved case passes"), "the saved case was not replayed:\n{fixed}");
    Ok(())
}

fn heading(text: &str) {
    println!("\n── {text} ──");
}

/// Runs one test that has to pass in a process of its own and shows what it prints, which is also the answer.
fn run_test(directory: &Path, binary: &Path, shown: Shown, variables: &[(&str, &str)]) -> Result<String> {
    let (passed, printed) = run_any(directory, binary, shown, variables)?;
    ensure!(passed, "{} did not pass", shown.test);
    Ok(printed)
}

/// Runs one test that has to fail.
fn run_failing(directory: &Path, binary: &Path, shown: Shown, variables: &[(&str, &str)]) -> Result<String> {
    let (passed, printed) = run_any(directory, binary, shown, variables)?;
    ensure!(!passed, "{} passed, though it has a bug", shown.test);
    Ok(printed)
}

fn run_any(directory: &Path, binary: &Path, shown: Shown, variables: &[(&str, &str)]) -> Result<(bool, String)> {
    let test = shown.test;
    let began = Instant::now();
    let assignments: String = variables.iter().map(|(name, value)| format!("{name}={value} ")).collect();
    println!("\n$ {assignments}cargo test --workspace --test chaos -- --exact {test}");
    let mut command = examples::command(binary, directory, test, variables);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("failed to start {}", binary.display()))?;
    let mut printed = String::new();
    // libtest's own lines are dropped; what they say is in the exit code and in the line that asks for exactly one.
    for line in BufReader::new(child.stderr.take().context("standard error is piped")?).lines() {
        let line = line.context("failed to read what the test prints")?;
        println!("  {line}");
        printed.push_str(&line);
        printed.push('\n');
    }
    let ended = child.wait_with_output().context("failed to wait for the test")?;
    let ran_one = String::from_utf8_lossy(&ended.stdout).contains("running 1 test");
    ensure!(ran_one, "{test} did not run ({}):\n{}", ended.status, String::from_utf8_lossy(&ended.stdout));
    println!("  ({:.1} s)", began.elapsed().as_secs_f64());
    Ok((ended.status.success(), printed))
}

/// The word after a label of the report, without a comma.
fn word_after<'a>(printed: &'a str, label: &str, what: &str) -> Result<&'a str> {
    let found = printed.lines().filter(|line| line.starts_with("  ")).find_map(|line| line.split_once(label));
    let word = found.and_then(|(_, rest)| rest.split_whitespace().next());
    word.map(|word| word.trim_end_matches(',')).with_context(|| format!("{what} names no {}", label.trim()))
}

/// A variable in the line that announces the cases.
fn variable<'a>(printed: &'a str, name: &str) -> Result<&'a str> {
    let announced = printed.lines().find(|line| line.starts_with("chaos: "));
    let value = announced.and_then(|line| line.split_once(&format!("{name}="))).map(|(_, value)| value);
    let end = |value: &'a str| value.split([' ', ')']).next();
    value.and_then(end).with_context(|| format!("the announcement names no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "chaos: kv::lost, 64 cases from seed 0x4d (CHAOS_SEED=0x4d CHAOS_CASES=64)\n\
        failed as expected\n\npanicked: an acknowledged write was lost\n\n  \
        found      case 17 of 64, seed 0x5d, event 1,204, after 5.961 s of virtual time\n  \
        digest     9f0e2c41, equal in a second run\n";

    #[test]
    fn seed_digest_and_cases_are_read_from_the_report() {
        assert_eq!(word_after(PRINTED, "seed ", "it").expect("there"), "0x5d");
        assert_eq!(word_after(PRINTED, "digest ", "it").expect("there"), "9f0e2c41");
        assert_eq!(variable(PRINTED, "CHAOS_SEED").expect("there"), "0x4d");
        assert_eq!(variable(PRINTED, "CHAOS_CASES").expect("there"), "64");
        assert!(word_after(PRINTED, "replay ", "it").is_err());
    }
}
