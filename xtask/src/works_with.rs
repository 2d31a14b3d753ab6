//! `cargo xtask works-with`: the table of the README that says what runs in the tunnel, from tests that run it.
//!
//! A row names a test. The command runs the tests and writes the table when they pass; tidy checks that the table is
//! the one that would be written and that every test it names is there. So a row that stands in the README is one that
//! passes in every run of `cargo xtask test`, with the versions of the lock file.

use crate::marked;
use crate::process::{cargo, run as run_command};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use toml::{Table, Value};

const DOCUMENT: &str = "README.md";

/// What is known to run.
struct Row {
    /// Packages of the lock file; `std` is the standard library.
    crates: &'static [&'static str],
    what: &'static str,
    /// The file of an integration test, and the test.
    test: (&'static str, &'static str),
}

const KV: &str = "examples/kv/tests/chaos.rs";
const REDIS: &str = "examples/redis/tests/chaos.rs";
const LEDGER: &str = "examples/ledger/tests/chaos.rs";
const ACCOUNTS: &str = "examples/accounts/tests/chaos.rs";
const ALLOCATOR: &str = "examples/allocator/tests/chaos.rs";
const WORKLOADS: &str = "examples/workloads/tests/chaos.rs";

const ROWS: &[Row] = &[
    Row {
        crates: &["axum", "hyper", "tower-http"],
        what: "a replicated service, started by its own `#[tokio::main]`",
        test: (KV, "acknowledged_writes_survive"),
    },
    Row {
        crates: &["clap", "tracing-subscriber", "prometheus", "anyhow"],
        what: "its arguments, logs and metrics: one set per host",
        test: (KV, "acknowledged_writes_survive"),
    },
    Row {
        crates: &["reqwest", "rustls", "aws-lc-rs"],
        what: "clients with default features; HTTP/2 over TLS",
        test: (WORKLOADS, "tls_is_spoken_over_http_2"),
    },
    Row { crates: &["tonic", "prost"], what: "unary calls and streams", test: (WORKLOADS, "grpc_calls_and_streams") },
    Row {
        crates: &["hyper"],
        what: "1,000 connections at once",
        test: (WORKLOADS, "a_thousand_connections_are_open_at_once"),
    },
    Row {
        crates: &["tokio"],
        what: "the multi-thread runtime, `spawn_blocking`, `block_in_place`",
        test: (WORKLOADS, "blocking_work_ends_in_some_order"),
    },
    Row {
        crates: &["mini-redis"],
        what: "server and client as they are on the registry",
        test: (REDIS, "clients_go_on_after_crashes"),
    },
    Row {
        crates: &["std"],
        what: "threads, channels, mutexes, condition variables, barriers, `std::net`",
        test: (WORKLOADS, "threads_serve_and_are_counted"),
    },
    Row {
        crates: &["std"],
        what: "files: a write-ahead log that is appended to, synced, renamed, in crashes",
        test: (LEDGER, "what_was_answered_is_on_the_disk"),
    },
    Row {
        crates: &["rusqlite"],
        what: "SQLite with its write-ahead log or its rollback journal, in crashes",
        test: (ACCOUNTS, "a_write_ahead_log_keeps_what_was_answered"),
    },
    Row {
        crates: &["mimalloc"],
        what: "a global allocator of the program's own, one per host",
        test: (ALLOCATOR, "services_bring_their_allocator"),
    },
    Row { crates: &["tokio", "std"], what: "UDP", test: (WORKLOADS, "udp_echoes_answer") },
    Row {
        crates: &["tokio", "std"],
        what: "Unix stream and datagram sockets, abstract names",
        test: (WORKLOADS, "unix_sockets_of_all_kinds_work"),
    },
    Row {
        crates: &["rstest"],
        what: "cases and values above or below `#[chaos_test]`",
        test: ("harness/tests/rstest.rs", "above"),
    },
];

/// Runs the tests of all rows, then writes the table.
///
/// # Errors
/// A test fails, or a file cannot be read or written.
pub fn write(root: &Path) -> Result<()> {
    let filters: BTreeSet<String> = ROWS.iter().map(|row| filter(row.test)).collect();
    let filter = filters.into_iter().collect::<Vec<_>>().join(" | ");
    let arguments = ["nextest", "run", "--workspace", "--locked", "-E", &filter];
    run_command(&mut cargo(root, &arguments))?;
    let read = |path: &str| std::fs::read_to_string(root.join(path)).with_context(|| format!("failed to read {path}"));
    let document = read(DOCUMENT)?;
    let current = current(&document, &read("Cargo.lock")?, |path| read(path).ok())?;
    if current != document {
        std::fs::write(root.join(DOCUMENT), current).with_context(|| format!("failed to write {DOCUMENT}"))?;
    }
    println!("{DOCUMENT} is up to date");
    Ok(())
}

/// Selects a test, with all its cases, in the binary that cargo builds of the file.
fn filter((path, test): (&str, &str)) -> String {
    let binary = Path::new(path).file_stem().unwrap_or_default().to_string_lossy();
    format!("binary(={binary}) & test(/^{test}\\b/)")
}

/// `README.md` as it should be, given what it is, the lock file and a way to read sources.
///
/// # Errors
/// It has no place for the table, or a row names a crate or a test that is not there.
pub fn current(document: &str, lock: &str, source: impl Fn(&str) -> Option<String>) -> Result<String> {
    let lock: Table = lock.parse().context("failed to read the lock file")?;
    let mut table = "| crates | what runs | shown by |\n| --- | --- | --- |\n".to_owned();
    for Row { crates, what, test: (path, test) } in ROWS {
        let text = source(path).with_context(|| format!("a row names {path}, which is not there"))?;
        ensure!(text.contains(&format!("fn {test}(")), "a row names the test {test}, which is not in {path}");
        let crates: Vec<String> = crates.iter().map(|name| named(name, &lock)).collect::<Result<_>>()?;
        writeln!(table, "| {} | {what} | [`{test}`]({path}) |", crates.join(", "))?;
    }
    marked::replaced(document, "works with", &table)
}

/// A crate with its version.
fn named(name: &str, lock: &Table) -> Result<String> {
    if name == "std" {
        return Ok("std".to_owned());
    }
    let packages = lock.get("package").and_then(Value::as_array).into_iter().flatten();
    let text = |package: &Value, key| package.get(key).and_then(Value::as_str).map(str::to_owned);
    let versions = packages.filter(|package| text(package, "name").as_deref() == Some(name));
    // Of several versions the newest is ours; the others are somebody's dependency.
    let newest = versions.filter_map(|package| text(package, "version")).max_by_key(|version| numbers(version));
    Ok(format!("{name} {}", newest.with_context(|| format!("a row names {name}, which the lock file lacks"))?))
}

fn numbers(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "<!-- works with: begin -->\n<!-- works with: end -->\n";

    fn lock() -> String {
        let package = |name: &str, version: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
        let names = ROWS.iter().flat_map(|row| row.crates).filter(|name| **name != "std");
        let mut lock: String = names.map(|name| package(name, "1.9.0")).collect();
        lock.push_str(&package("clap", "1.10.0"));
        lock
    }

    #[test]
    fn rows_name_the_newest_version_and_the_test() {
        let all_tests: String = ROWS.iter().map(|row| format!("async fn {}() {{}}\n", row.test.1)).collect();
        let table = current(DOCUMENT, &lock(), |_| Some(all_tests.clone())).expect("all are there");
        assert!(table.contains("| clap 1.10.0, tracing-subscriber 1.9.0,"), "{table}");
        assert!(table.contains("[`grpc_calls_and_streams`](examples/workloads/tests/chaos.rs)"), "{table}");
    }

    #[test]
    fn a_row_without_its_test_is_an_error() {
        let error = current(DOCUMENT, &lock(), |_| Some(String::new())).expect_err("no tests");
        assert!(error.to_string().contains("which is not in examples/kv/tests/chaos.rs"), "{error}");
        assert!(current(DOCUMENT, "", |_| None).is_err());
    }
}
