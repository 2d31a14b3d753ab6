//! What varies between two processes that run the same case, and must not matter.

use crate::binaries::{cargo, profile};
use crate::start::{Seeds, Start};
use crate::{CASE, SEEDS};
use std::ffi::OsString;
use std::path::Path;

/// One way of starting the same test.
pub(crate) struct Variation {
    pub(crate) name: &'static str,
    pub(crate) seeds: Seeds,
    pub(crate) vary: fn(Start) -> Start,
}

/// The case alone, started otherwise.
const fn alone(name: &'static str, vary: fn(Start) -> Start) -> Variation {
    Variation { name, seeds: Seeds::one(CASE), vary }
}

/// The case among others, started otherwise.
const fn among_others(name: &'static str, vary: fn(Start) -> Start) -> Variation {
    Variation { name, seeds: SEEDS, vary }
}

pub(crate) const VARIATIONS: [Variation; 21] = [
    alone("as before", |start| start),
    alone("addresses not randomised", |start| start.under(&["setarch", "-R"])),
    alone("on the first processor", |start| start.under(&["taskset", "-c", "0"])),
    alone("on the second processor", |start| start.under(&["taskset", "-c", "1"])),
    alone("a small stack", |start| start.under(&["sh", "-c", "ulimit -S -s 512 && exec \"$0\" \"$@\""])),
    alone("a stack that stays small", |start| start.under(&["sh", "-c", "ulimit -s 4096 && exec \"$0\" \"$@\""])),
    alone("a stack without limit", |start| start.under(&["sh", "-c", "ulimit -s unlimited && exec \"$0\" \"$@\""])),
    alone("few descriptors, some of them open", |start| {
        start.under(&["sh", "-c", "ulimit -n 256 && exec \"$0\" \"$@\" 7</dev/null 8</dev/null 9>/dev/null"])
    }),
    alone("signals ignored, another umask", |start| {
        start.under(&["sh", "-c", "trap '' PIPE USR1 USR2 CHLD && umask 077 && exec \"$0\" \"$@\""])
    }),
    alone("no environment", |start| Start { env_is_empty: true, ..start }),
    alone("a large environment", |start| {
        start.env("FILLER", "x".repeat(100_000)).env("TZ", "Asia/Kathmandu").env("LANG", "de_DE.UTF-8")
    }),
    alone("another working directory", |start| Start { directory: Some("/".into()), ..start }),
    alone("the binary elsewhere", |start| {
        let elsewhere = start.scratch.path().join("a directory whose name is somewhat longer").join("another-name");
        copied_to(start, &elsewhere)
    }),
    alone("on a terminal", on_a_terminal),
    alone("everything logged", |start| start.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full")),
    among_others("everything logged, several cases", |start| start.env("RUST_LOG", "trace")),
    alone("all output shown", |start| start.env("CHAOS_LOG", "all")),
    alone("by cargo nextest", by_nextest),
    alone("by cargo test", by_cargo_test),
    among_others("two cases at a time", |start| start.env("CHAOS_JOBS", "2")),
    among_others("four cases at a time", |start| start.env("CHAOS_JOBS", "4")),
];

fn copied_to(start: Start, elsewhere: &Path) -> Start {
    // Its parent is a directory that was made for this start.
    std::fs::create_dir_all(elsewhere.parent().unwrap_or(elsewhere)).expect("the scratch directory is writable");
    std::fs::copy(&start.program, elsewhere).expect("the binary can be read");
    Start { program: elsewhere.to_owned(), ..start }
}

/// `script` gives its child a terminal; it takes one word for the shell.
fn on_a_terminal(start: Start) -> Start {
    let quoted = |word: &OsString| format!("'{}'", word.to_string_lossy());
    let words = [start.program.clone().into_os_string()].into_iter().chain(start.args.clone());
    let command: Vec<String> = words.map(|word| quoted(&word)).collect();
    let args = ["--quiet", "--return", "--command", &command.join(" "), "/dev/null"].map(Into::into).into();
    Start { program: "script".into(), args, ..start }
}

fn by_nextest(start: Start) -> Start {
    let profile = profile();
    let filter = format!("package(={}) & test(={})", start.package, start.test);
    let args = [
        "nextest",
        "run",
        "--workspace",
        "--test",
        "chaos",
        "--cargo-profile",
        &profile,
        "--no-capture",
        "-E",
        &filter,
    ];
    Start { program: cargo(), args: args.map(Into::into).into(), ..start }
}

fn by_cargo_test(start: Start) -> Start {
    let profile = profile();
    let args =
        ["test", "--workspace", "--test", "chaos", "--profile", &profile, "--", "--exact", start.test, "--nocapture"];
    Start { program: cargo(), args: args.map(Into::into).into(), ..start }
}
