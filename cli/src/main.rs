//! `cargo chaos`: what windtunnel does outside of tests.

mod leaks;
mod tests;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

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
}

fn main() -> ExitCode {
    // Cargo passes the subcommand's own name on.
    let arguments = std::env::args_os().enumerate().filter(|(at, word)| !(*at == 1 && word == "chaos"));
    let result = match Cli::parse_from(arguments.map(|(_, word)| word)).task {
        Task::Leaks { binaries, cargo } if binaries.is_empty() => tests::binaries(&cargo).and_then(|all| report(&all)),
        Task::Leaks { binaries, .. } => report(&binaries),
    };
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was found in each binary; answers how much of it escapes.
fn report(binaries: &[PathBuf]) -> anyhow::Result<usize> {
    let mut escapes = 0;
    for binary in binaries {
        let found = leaks::scan(binary)?;
        escapes += found.iter().filter(|leak| leak.escapes()).count();
        print!("{}", leaks::tell(binary, &found));
    }
    Ok(escapes)
}
