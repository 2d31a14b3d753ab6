//! `cargo xtask shrinking`: how small plans become, and in how many simulations.
//!
//! kv with a planted bug, in drawn storms of up to sixty faults: the plans of so many failing cases are shrunk. Each is
//! then looked at: does it still fail without one of its faults, with its own seed or with others? And are its numbers
//! round?

use crate::examples::{self, Build, Tests};
use anyhow::{Context, Result, ensure};
use std::path::Path;

const PACKAGE: &str = "kv";
const TEST: &str = "a_drawn_storm_of_sixty_faults";
/// Seeds are tried in this order until enough of them fail.
const FIRST_SEED: u64 = 1;

/// What is promised.
const MEAN_RUNS_MAX: usize = 80;
const P95_RUNS_MAX: usize = 200;

/// A plan that was shrunk.
#[derive(Debug, PartialEq, Eq)]
struct Shrunk {
    before: usize,
    runs: usize,
    /// In the text form.
    faults: Vec<String>,
}

/// Shrinks so many plans, looks at each without each of its faults with so many other seeds, and says what came of it.
///
/// # Errors
/// Something could not be built or run, or a promise does not hold.
pub fn run(root: &Path, plans: usize, seeds: u64) -> Result<()> {
    let kv = Kv(Tests::build(root, PACKAGE, Build::AloneReleased, "shrinking")?);
    std::fs::create_dir_all(&kv.0.place)?;
    let mut found = Vec::new();
    let (mut removals, mut superfluous) = (0, Vec::new());
    for seed in FIRST_SEED.. {
        if found.len() == plans {
            break;
        }
        let (passed, printed) = kv.run(&[("CHAOS_SEED", &seed.to_string())])?;
        if passed {
            continue;
        }
        let shrunk = read(&printed).with_context(|| format!("seed {seed} did not shrink:\n{printed}"))?;
        println!("{seed:>6}  {} faults to {} in {} runs", shrunk.before, shrunk.faults.len(), shrunk.runs);
        shrunk.faults.iter().filter(|fault| !is_round(fault)).for_each(|fault| println!("        not round: {fault}"));
        for left_out in 0..shrunk.faults.len() {
            removals += 1;
            for seeds in [seed.to_string(), format!("1-{seeds}")] {
                if !kv.passes_without(&shrunk.faults, left_out, &seeds)? {
                    superfluous.push(format!("seed {seed}: {} (seeds {seeds})", shrunk.faults[left_out]));
                }
            }
        }
        found.push(shrunk);
    }
    let mut runs: Vec<usize> = found.iter().map(|shrunk| shrunk.runs).collect();
    runs.sort_unstable();
    let (mean, p95) = (runs.iter().sum::<usize>() / runs.len().max(1), runs[percentile(runs.len())]);
    let round = found.iter().filter(|shrunk| shrunk.faults.iter().all(|fault| is_round(fault))).count();
    let counts: Vec<usize> = found.iter().map(|shrunk| shrunk.faults.len()).collect();
    println!("\n  plans      {} of {} faults in the mean", found.len(), mean_of(found.iter().map(|s| s.before)));
    println!("  left       {} faults in the mean, at most {}", mean_of(counts.iter().copied()), most(&counts));
    println!("  runs       {mean} in the mean, {p95} at the 95th percentile, at most {}", most(&runs));
    println!("  round      all numbers of {round} plans have at most two digits that count");
    println!("  minimal    {removals} times a fault was left out; {} times it still failed", superfluous.len());
    superfluous.iter().for_each(|fault| println!("             {fault}"));
    ensure!(mean <= MEAN_RUNS_MAX, "more than {MEAN_RUNS_MAX} runs in the mean");
    ensure!(p95 <= P95_RUNS_MAX, "more than {P95_RUNS_MAX} runs at the 95th percentile");
    ensure!(superfluous.is_empty(), "not every plan is minimal");
    Ok(())
}

struct Kv(Tests);

impl Kv {
    /// Whether it passed, and what it printed.
    fn run(&self, variables: &[(&str, &str)]) -> Result<(bool, String)> {
        self.0.run(TEST, variables)
    }

    fn passes_without(&self, faults: &[String], left_out: usize, seeds: &str) -> Result<bool> {
        let rest = faults.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, fault)| format!("{fault}\n"));
        let plan = self.0.place.join("plan.txt");
        std::fs::write(&plan, rest.collect::<String>()).context("failed to write a plan")?;
        let replay = plan.to_string_lossy();
        let variables = [("CHAOS_REPLAY", &*replay), ("CHAOS_SEED", seeds), ("CHAOS_SHRINK", "0")];
        let (passed, printed) = self.run(&variables)?;
        // A plan that was refused would prove nothing.
        ensure!(!printed.contains("impossible"), "the plan could not be run:\n{printed}");
        Ok(passed)
    }
}

/// Reads a failure's block.
fn read(printed: &str) -> Option<Shrunk> {
    let shrunk = printed.lines().find_map(|line| line.strip_prefix("  shrunk "))?.trim();
    let number_before = |text: &str| -> Option<usize> {
        let (before, _) = shrunk.split_once(text)?;
        before.split_whitespace().next_back()?.parse().ok()
    };
    let before = number_before(" fault")?;
    Some(Shrunk { before, runs: number_before(" runs")?, faults: examples::faults(printed) })
}

/// Whether every number has at most two digits that are not zeros at an end.
fn is_round(fault: &str) -> bool {
    // Digits in the names of hosts are none of ours: a number begins a word.
    let numbers = fault.split_whitespace().filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    numbers.into_iter().all(|word| {
        let digits: String = word.chars().filter(char::is_ascii_digit).collect();
        digits.trim_matches('0').len() <= 2
    })
}

fn percentile(count: usize) -> usize {
    (count * 95).div_ceil(100).saturating_sub(1)
}

fn most(numbers: &[usize]) -> usize {
    numbers.iter().copied().max().unwrap_or_default()
}

fn mean_of(numbers: impl ExactSizeIterator<Item = usize>) -> String {
    let count = numbers.len().max(1);
    format!("{:.1}", numbers.sum::<usize>() as f64 / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read() {
        let printed = "chaos: case 1 failed; shrinking its 10 faults\n  \
            shrunk     10 faults to 2, in 32 runs (5.6 s)\n  digest     df6bb6c2, equal in a second run\n\n  \
            faults\n    0s partition kv0->{kv1,kv2} for 1s           bit 36×\n    \
            700ms crash kv0 by kill restart after 100ms  bit 1×\n\n  test\n";
        let faults = ["0s partition kv0->{kv1,kv2} for 1s", "700ms crash kv0 by kill restart after 100ms"];
        let expected = Shrunk { before: 10, runs: 32, faults: faults.map(str::to_owned).to_vec() };
        assert_eq!(read(printed), Some(expected));
        assert_eq!(read("passed 20 cases"), None);
    }

    #[test]
    fn round_numbers_have_two_digits_that_count() {
        assert!(is_round("1.5s latency kv10->kv2 100ms jitter 20ms for 30s"));
        assert!(is_round("0s loss kv0 35% for 1s"));
        assert!(!is_round("1.234s pause kv0 for 1s"));
        assert!(!is_round("0s pause kv0 for 387ms"));
    }

    #[test]
    fn the_95th_of_a_hundred_is_the_95th_percentile() {
        assert_eq!([percentile(100), percentile(20), percentile(1)], [94, 18, 0]);
    }
}
