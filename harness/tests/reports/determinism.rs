//! The same case is the same run, whatever surrounds the process.

use super::{Run, run};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Everything a case printed and its digest.
fn drawn(run: Run) -> (String, String) {
    let printed = run.seed("0x5f1d").printed();
    let lines = printed.block().lines().filter(|line| line.contains(" | ")).map(str::to_owned);
    (printed.field("digest").to_owned(), lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_case_does_not_depend_on_its_surroundings() {
    let first = drawn(run("draws"));
    assert!(first.1.contains("order [") && first.1.contains("addresses "), "{}", first.1);
    let large = "x".repeat(100_000);
    let changed = [
        run("draws"),
        run("draws").env("LARGE", &large),
        run("draws").env("PATH", "/bin").env("LD_LIBRARY_PATH", "/usr/lib:/some/where"),
        run("draws").env("CHAOS_JOBS", "3"),
        run("draws").env("TERM", "xterm-256color").env("COLORTERM", "truecolor").env("HOME", "/root"),
        with_stack(run("draws"), 64 << 20),
        with_stack(run("draws"), 4 << 20),
    ];
    for (place, run) in changed.into_iter().enumerate() {
        assert_eq!(drawn(run), first, "change {place} of the surroundings");
    }
}

/// Addresses are left out: the kernel's own memory still depends on the directory's name.
#[test]
fn a_case_does_not_depend_on_the_working_directory() {
    let without_addresses = |run: Run| {
        let (digest, lines) = drawn(run);
        let lines: Vec<String> = lines.lines().filter(|line| !line.contains("addresses")).map(str::to_owned).collect();
        (digest, lines)
    };
    let mut elsewhere = run("draws");
    elsewhere.command.current_dir("/");
    assert_eq!(without_addresses(elsewhere), without_addresses(run("draws")));
}

/// Runs it below `prlimit`, which changes the limit that decides where mappings lie.
fn with_stack(run: Run, bytes: u64) -> Run {
    let mut command = Command::new("prlimit");
    command.arg(format!("--stack={bytes}:")).arg(run.command.get_program()).args(run.command.get_args()).env_clear();
    command.arg0("prlimit");
    Run { command }
}

#[test]
fn a_case_is_the_same_alone_and_among_others() {
    let among = run("panics_at_seed_five").seed("1-8").printed();
    let alone = run("panics_at_seed_five").seed("5").printed();
    assert_eq!(among.field("digest"), alone.field("digest"));
    let logging = run("panics_at_seed_five").seed("5").env("RUST_LOG", "trace").env("CHAOS_LOG", "all").printed();
    assert_eq!(logging.field("digest"), alone.field("digest"));
}
