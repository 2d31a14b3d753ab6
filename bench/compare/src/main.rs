//! Builds the three binaries, runs the workloads in alternating rounds, and prints one table.
//!
//! `cargo run --release` in `bench/` does all of it; `--help` lists the options. Nothing is asserted on measured time:
//! the table says which bar holds, the exit code does not.

mod build;
mod facts;
mod measure;
mod table;

use measure::{Plan, Series, Subject};

/// What the command line asks for.
struct Options {
    rounds: usize,
    only: Option<String>,
    cpu: Option<usize>,
}

const USAGE: &str = "cargo run --release [-- OPTIONS]

  --rounds N    measured rounds after the warm-up (default 5)
  --only NAME   one workload: echo, pairs, timers, sleepers, idle
  --cpu N       pin every run to this processor (default: the last one, if taskset is there)
";

fn options() -> Result<Options, String> {
    let mut options = Options { rounds: 5, only: None, cpu: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("`{text}` is no number"));
        match arg.as_str() {
            "--rounds" => options.rounds = number(value()?)?,
            "--only" => options.only = Some(value()?),
            "--cpu" => options.cpu = Some(number(value()?)?),
            other => return Err(format!("unknown option {other}")),
        }
    }
    if options.rounds == 0 {
        return Err("--rounds must be at least 1".to_owned());
    }
    Ok(options)
}

fn main() {
    let options = options().unwrap_or_else(|problem| {
        eprintln!("{problem}\n{USAGE}");
        std::process::exit(2);
    });
    let binaries = build::all();
    let plans: Vec<Plan> = measure::plans()
        .into_iter()
        .filter(|plan| options.only.as_deref().is_none_or(|only| plan.workload == only || plan.needed_for(only)))
        .collect();
    let load_before = facts::load();
    let mut series: Vec<Series> = Vec::new();
    for plan in &plans {
        series.extend(measure::rounds(plan, &binaries, options.rounds, options.cpu));
    }
    println!("{}", facts::machine(load_before, options.rounds));
    println!("{}", table::draw(&plans, &series));
    println!("{}", table::bars(&series));
    let unfair = series.iter().find(|s| s.subject == Subject::Turmoil && s.is_smaller());
    if unfair.is_some() {
        println!("turmoil's work per tick grows with the cube of the hosts; it ran timers and idle at the size given.");
    }
}
