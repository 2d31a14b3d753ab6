//! `cargo chaos`: what windtunnel does outside of tests.

mod doctor;
mod leaks;
mod recover;
mod tests;

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use windtunnel_inject::offer::Offer;

#[derive(Parser)]
#[command(bin_name = "cargo chaos", version, about = "What windtunnel does outside of tests")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Looks in test binaries for instructions that reach past the simulated kernel: system calls made without libc,
    /// and random numbers of the processor's.
    Leaks {
        /// Binaries to look at; all tests of this workspace unless given, which are built first.
        binaries: Vec<PathBuf>,
        /// Passed on to `cargo test --no-run`, such as `-p kv`.
        #[arg(last = true)]
        cargo: Vec<String>,
    },
    /// Says what this machine offers: which faults of the real world work for this user, by what, and what would help
    /// where they do not. Each is tried, in namespaces of its own, and undone.
    Doctor {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
        /// Fails if this world is not possible here.
        #[arg(long, value_name = "WORLD")]
        require: Option<World>,
    },
    /// Undoes what tests of the real world have left in force that died together with whoever was to clean up. Safe at
    /// any time: what belongs to a process that still runs is not touched.
    Recover,
}

#[derive(Clone, Copy, ValueEnum)]
enum World {
    /// The real kernel.
    Real,
}

/// Whether everything is as it should be.
type Verdict = anyhow::Result<bool>;

fn main() -> ExitCode {
    // Cargo passes the subcommand's own name on.
    let arguments = std::env::args_os().enumerate().filter(|(at, word)| !(*at == 1 && word == "chaos"));
    let result = match Cli::parse_from(arguments.map(|(_, word)| word)).task {
        Task::Leaks { binaries, cargo } if binaries.is_empty() => tests::binaries(&cargo).and_then(|all| leaks(&all)),
        Task::Leaks { binaries, .. } => leaks(&binaries),
        Task::Doctor { json, require } => doctor(json, require),
        Task::Recover => recover(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was found in each binary. All is well if nothing escapes.
fn leaks(binaries: &[PathBuf]) -> Verdict {
    let mut escapes = 0;
    for binary in binaries {
        let found = leaks::scan(binary)?;
        escapes += found.iter().filter(|leak| leak.escapes()).count();
        print!("{}", leaks::tell(binary, &found));
    }
    Ok(escapes == 0)
}

/// Prints what the machine offers. All is well if there is what is required.
fn doctor(json: bool, require: Option<World>) -> Verdict {
    let offer = Offer::of_this_machine();
    if json {
        println!("{}", serde_json::to_string_pretty(&offer)?);
    } else {
        print!("{}", doctor::tell(&offer));
    }
    match require {
        None => Ok(true),
        Some(World::Real) => Ok(doctor::lacking(&offer).is_none()),
    }
}

/// Prints what has been undone. All is well if nothing failed.
fn recover() -> Verdict {
    let report = windtunnel_inject::recover::recover()?;
    print!("{}", recover::tell(&report));
    Ok(report.is_clean())
}
