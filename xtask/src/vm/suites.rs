//! `cargo xtask test --vm`: test binaries built here, run there.
//!
//! Each test runs in a process of its own, twice: as root, where nothing may be skipped, and as a user without
//! privileges. One after the other, since much of it is about time, and an emulated processor has little of it.

use super::command::Command;
use super::machine::Machine;
use super::{Unpacked, User};
use crate::process::{built, cargo, is_of_package, quoted};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The package whose integration tests meet a real kernel, all of them.
const WHOLE: &str = "windtunnel-inject";
/// Of which there are a few more, by suite and name: what control groups of version 2, which the box has, are to a
/// world.
const IN_PART: &str = "windtunnel";
const PART: [(&str, &str); 2] = [
    ("safety", "interleavings::nothing_is_left_whoever_is_struck_when_a_privileged_user_runs_it"),
    ("safety", "noticed::a_limit_that_somebody_lifts_is_missed"),
];
/// Seconds that one test may take.
const TEST_SECONDS_MAX: u32 = 120;
/// What all of them together may take, the start of the box included.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// Tests of ours that take long on an emulated processor and ask nothing of the kernel that others do not ask as well.
const LONG: [&str; 14] = [
    "a_directory_is_as_it_was_when_the_process_that_covers_it_is_struck_at_any_step",
    "a_directory_is_as_it_was_when_who_leaves_no_room_in_it_is_struck_at_any_step",
    "a_hundred_hosts_join_in_no_time",
    "a_partition_ends_while_its_holder_stands_still_and_goes_on_with_it",
    "a_process_that_does_nothing_but_read_its_clock_survives_being_struck_often",
    "a_program_that_ends_at_once_has_started",
    "a_trouble_may_concern_thousands_of_links",
    "clocks_are_as_they_were_when_who_has_them_wrong_is_killed_or_stopped_at_any_step",
    "nothing_is_left_when_the_holder_and_its_process_group_are_killed_at_any_step",
    "nothing_is_left_when_the_holder_is_stopped_at_any_step_and_it_can_go_on_or_die",
    "where_nobody_is_there_is_no_way_and_a_host_that_has_left_cannot_be_reached",
    "who_recovers_may_be_killed_at_any_step",
    "who_recovers_may_be_stopped_at_any_step_while_others_recover",
    "whoever_strikes_may_be_killed_at_any_moment",
];

/// Which tests run in the box.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// All.
    All,
    /// All but those that take long on an emulated processor.
    Short,
    /// Those with this in their suite's name or their own.
    Named(&'a str),
}

impl Which<'_> {
    fn has(self, suite: &Suite, test: &str) -> bool {
        let is_listed = suite.is_whole || PART.contains(&(&suite.name, test));
        match self {
            Self::All => is_listed,
            Self::Short => is_listed && !LONG.contains(&test),
            Self::Named(text) => suite.name.contains(text) || test.contains(text),
        }
    }
}

/// A test binary.
#[derive(Debug, PartialEq, Eq)]
struct Suite {
    name: String,
    binary: PathBuf,
    /// Where its package is: there it runs, as cargo has it.
    directory: PathBuf,
    /// Whether all its tests are for the box.
    is_whole: bool,
}

/// How a test ended, as `suites.sh` says it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: usize,
    skipped: usize,
    /// By user, suite and name.
    failed: Vec<String>,
}

/// Builds the tests, and runs them in the box.
///
/// # Errors
/// A test does not build or fails, or not all of them ran.
pub fn test(root: &Path, unpacked: &Unpacked, which: Which<'_>) -> Result<()> {
    let suites = build(root)?;
    let mut list = Vec::new();
    for suite in &suites {
        let mut tests = tests_of(suite)?;
        tests.retain(|test| which.has(suite, test));
        list.push((suite, tests));
    }
    let expected = 2 * list.iter().map(|(_, tests)| tests.len()).sum::<usize>();
    ensure!(expected > 0, "there is no such test");
    let command = Command::new(root.to_owned(), &["/run/vm/sh".to_owned(), "-c".to_owned(), script(&list)]);
    let machine = Machine { deadline: Some(DEADLINE), ..Machine::default() };
    let begin = Instant::now();
    let mut count = Count::default();
    let ended = machine.run(unpacked, &command, |line| count.add(line));
    for failed in &count.failed {
        println!("vm: failed: {failed}");
    }
    let ended = ended?;
    let (boot, took) = (ended.boot.as_secs_f64(), begin.elapsed().as_secs_f64());
    println!("vm: started in {boot:.1} s, ended after {took:.1} s");
    println!("vm: {} passed, {} failed, {} skipped", count.passed, count.failed.len(), count.skipped);
    let ran = count.passed + count.failed.len() + count.skipped;
    ensure!(ran == expected && ended.code == 0, "{ran} of {expected} tests ran (code {})", ended.code);
    if !count.failed.is_empty() {
        bail!("{} tests failed in the box", count.failed.len());
    }
    Ok(())
}

impl Count {
    /// `test VERDICT HUNDREDTHS USER SUITE TEST`.
    fn add(&mut self, line: &str) {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        match words[..] {
            ["test", "passed", _, _] => self.passed += 1,
            ["test", "skipped", _, _] => self.skipped += 1,
            ["test", _, _, test] => self.failed.push(test.to_owned()),
            _ => println!("vm: {line}"),
        }
    }
}

/// The script that runs them all.
fn script(list: &[(&Suite, Vec<String>)]) -> String {
    let mut script = format!("limit={TEST_SECONDS_MAX}\n{}\n", include_str!("suites.sh"));
    for user in [User::Root, User::Nobody] {
        for (suite, tests) in list {
            for test in tests {
                let (directory, binary) = (suite.directory.to_string_lossy(), suite.binary.to_string_lossy());
                let words = [&*directory, &*binary, &suite.name, test].map(quoted).join(" ");
                let _ = writeln!(script, "one {} {words}", user.name());
            }
        }
    }
    // Failures are counted from what each test said.
    script.push_str("exit 0\n");
    script
}

/// Builds the integration tests of [`WHOLE`] and [`IN_PART`]: with all others, so that where those have been run
/// nothing is left to build.
fn build(root: &Path) -> Result<Vec<Suite>> {
    let build = cargo(root, &["test", "--no-run", "--locked", "--workspace", "--tests"]);
    suites(&built(build, "the tests")?)
}

/// The integration tests among what cargo says that it built.
fn suites(messages: &[Value]) -> Result<Vec<Suite>> {
    let mut suites = Vec::new();
    for message in messages {
        let text = |at: &str| message.pointer(at).and_then(Value::as_str);
        if text("/target/kind/0") != Some("test") {
            continue;
        }
        let found = (text("/target/name"), text("/executable"), text("/manifest_path"));
        let (Some(name), Some(binary), Some(manifest)) = found else { continue };
        let is_whole = is_of_package(message, WHOLE);
        if is_whole || is_of_package(message, IN_PART) && PART.iter().any(|(suite, _)| *suite == name) {
            let directory = Path::new(manifest).parent().context("a manifest is in a directory")?.to_owned();
            suites.push(Suite { name: name.to_owned(), binary: binary.into(), directory, is_whole });
        }
    }
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(suites)
}

/// The names of a binary's tests, asked here, where it is quick.
fn tests_of(suite: &Suite) -> Result<Vec<String>> {
    let mut list = std::process::Command::new(&suite.binary);
    let listed = list.args(["--list", "--format", "terse"]).current_dir(&suite.directory).output();
    let listed = listed.with_context(|| format!("failed to start {}", suite.binary.display()))?;
    ensure!(listed.status.success(), "{} does not list its tests", suite.name);
    Ok(names(&String::from_utf8_lossy(&listed.stdout)))
}

fn names(listed: &str) -> Vec<String> {
    listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn links() -> Suite {
        let (binary, directory) = ("/t/links-2".into(), "/w/inject".into());
        Suite { name: "links".to_owned(), binary, directory, is_whole: true }
    }

    #[test]
    fn integration_tests_are_found_among_what_was_built() {
        let artifact = |package: &str, binary: &str, kind: &str, name: &str| {
            json!({
                "reason": "compiler-artifact",
                "package_id": format!("path+file:///w/inject#{package}@0.1.0"),
                "manifest_path": "/w/inject/Cargo.toml",
                "executable": binary,
                "target": { "kind": [kind], "name": name },
            })
        };
        let messages = [
            artifact("windtunnel-inject", "/t/inject-1", "lib", "windtunnel_inject"),
            artifact("windtunnel-inject", "/t/links-2", "test", "links"),
            artifact("windtunnel-sim", "/t/links-3", "test", "links"),
            artifact("windtunnel", "/t/safety-4", "test", "safety"),
            artifact("windtunnel", "/t/reports-5", "test", "reports"),
            json!({ "reason": "build-finished", "success": true }),
        ];
        let found = suites(&messages).expect("they say where they are");
        let binaries: Vec<_> = found.iter().map(|suite| (suite.binary.to_str(), suite.is_whole)).collect();
        assert_eq!(binaries, [(Some("/t/links-2"), true), (Some("/t/safety-4"), false)]);
        assert_eq!(found[0], links());
    }

    #[test]
    fn benchmarks_are_no_tests() {
        assert_eq!(names("a::b: test\nc: benchmark\n\n2 tests, 0 benchmarks\n"), ["a::b"]);
    }

    #[test]
    fn every_test_runs_as_both_users() {
        let script = script(&[(&links(), vec!["drops".to_owned()])]);
        assert!(script.contains("\none root '/w/inject' '/t/links-2' 'links' 'drops'\n"), "{script}");
        assert!(script.contains("\none nobody '/w/inject' '/t/links-2' 'links' 'drops'\n"), "{script}");
    }

    #[test]
    fn those_that_are_named_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the tree");
        let texts = |directory: &str| -> String {
            let tests = std::fs::read_dir(root.join(directory)).expect("there are tests");
            let files = tests.map(|entry| entry.expect("it can be listed").path()).filter(|path| path.is_file());
            files.map(|path| std::fs::read_to_string(path).expect("it is text")).collect()
        };
        let inject = texts("inject/tests");
        for test in LONG {
            assert!(inject.contains(&format!("fn {test}()")), "{test} has another name now");
            assert!(!Which::Short.has(&links(), test) && Which::All.has(&links(), test));
        }
        for (suite, test) in PART {
            let (_, name) = test.split_once("::").expect("each is in a module");
            assert!(texts(&format!("harness/tests/{suite}")).contains(&format!("fn {name}()")), "{test}");
            let suite = Suite { name: suite.to_owned(), is_whole: false, ..links() };
            assert!(Which::Short.has(&suite, test) && !Which::All.has(&suite, "another"));
        }
    }

    #[test]
    fn what_did_not_pass_has_failed() {
        let mut count = Count::default();
        for verdict in ["passed", "skipped", "failed", "late"] {
            count.add(&format!("test {verdict} 12 root links a_test"));
        }
        let failed = vec!["root links a_test".to_owned(); 2];
        assert_eq!(count, Count { passed: 1, skipped: 1, failed });
    }
}
