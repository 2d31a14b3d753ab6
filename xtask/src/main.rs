//! `cargo xtask`: what is done to windtunnel's own tree.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::time::Duration;
use xtask::test::Step;
use xtask::vm::User;
use xtask::{bench, code_map, demo, parity, planted, root, schema, shrinking, test, tidy, vm, works_with};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "What is done to windtunnel's own tree")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs everything that has to pass before a change lands.
    Test {
        /// Runs this step only; may be given several times.
        #[arg(long, value_name = "STEP")]
        only: Vec<Step>,
        /// Runs the tests in the kernel in a box only, as `--only vm` does.
        #[arg(long, conflicts_with = "only")]
        vm: bool,
        /// Of those in the kernel in a box, the ones with this in the name of their file or their own.
        #[arg(long, value_name = "TEXT", requires = "vm")]
        filter: Option<String>,
    },
    /// Breaks mini-redis and a replicated key-value store, and repeats what was found by its seed.
    Demo,
    /// Measures against turmoil and madsim, in the workspace `bench/`.
    Bench {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Shrinks plans of kv's planted bug, and looks whether they are as small as can be.
    Shrinking {
        /// How many plans.
        #[arg(long, default_value_t = 100)]
        plans: usize,
        /// With how many other seeds a plan is tried without one of its faults.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
    },
    /// Searches for the bugs planted in `examples` from many seeds, and runs their remedies for long.
    Planted {
        /// How many searches for each bug.
        #[arg(long, default_value_t = 20)]
        searches: usize,
        /// How many cases with each remedy.
        #[arg(long, default_value_t = 5_000)]
        cases: u32,
        /// Only the bugs of this example.
        #[arg(long)]
        package: Option<String>,
    },
    /// Measures what each kind of fault does in both worlds, and prints them side by side.
    Parity {
        /// Writes the figures into the README as well.
        #[arg(long)]
        write: bool,
    },
    /// Holds the tree to its own rules.
    Tidy,
    /// Writes the code map of `ARCHITECTURE.md` from the first sentence of every file.
    CodeMap,
    /// Prints the JSON Schema of plans; kept as `faults/schema/plan.schema.json`.
    Schema,
    /// Runs the tests behind the README's table *Works with*, and writes it.
    WorksWith,
    /// Runs a command in a kernel in a box: Debian's in QEMU, which sees this machine's files and leaves them alone.
    Vm {
        /// As whom.
        #[arg(long, value_enum, default_value_t = User::Root)]
        user: User,
        /// Stops it after so many seconds.
        #[arg(long, value_name = "SECONDS")]
        deadline: Option<u64>,
        /// The command, and what it is given.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let root = root();
    let result = match Cli::parse().task {
        Task::Test { vm: true, filter, .. } => vm::prepare(&root).and_then(|unpacked| {
            vm::test(&root, &unpacked, filter.as_deref().map_or(vm::Which::All, vm::Which::Named))
        }),
        Task::Test { only, .. } => test::run(&root, &only),
        Task::Demo => demo::run(&root),
        Task::Bench { arguments } => bench::run(&root, &arguments),
        Task::Shrinking { plans, seeds } => shrinking::run(&root, plans, seeds),
        Task::Planted { searches, cases, package } => planted::run(&root, searches, cases, package.as_deref()),
        Task::Parity { write } => parity::run(&root, write),
        Task::Tidy => tidy::run(&root),
        Task::CodeMap => code_map::write(&root),
        Task::Schema => schema::print(&root),
        Task::WorksWith => works_with::write(&root),
        Task::Vm { user, deadline, command } => {
            match vm::run(&root, user, deadline.map(Duration::from_secs), &command) {
                // As a shell has it: what does not fit is some failure.
                Ok(code) => return ExitCode::from(u8::try_from(code).unwrap_or(1)),
                Err(error) => Err(error),
            }
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Not by returning it: with `RUST_BACKTRACE` set, anyhow would print a stack that interests nobody here.
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
