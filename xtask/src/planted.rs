//! `cargo xtask planted`: the bugs planted in `examples` are found, from many seeds, and explained by what causes them;
//! and their remedies are remedies.

use crate::examples::{self, Build, Tests};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

/// Seeds that follow one another are one search. These are so far apart that no two searches share a seed.
const BETWEEN_SEARCHES: u64 = 1 << 32;

/// What is promised: so many cases are enough, in nine of ten searches.
const CASES_MAX: u32 = 500;
const FOUND_IN_TENTHS: usize = 9;

/// A bug, and who has it.
struct Planted {
    family: &'static str,
    package: &'static str,
    /// A test that fails by design.
    buggy: &'static str,
    /// The same with the remedy.
    fixed: &'static str,
    /// What may be left of a plan: the kinds of faults that can cause it.
    causes: &'static [&'static str],
}

const PLANTED: [Planted; 14] = [
    Planted {
        family: "split brain",
        package: "pitfalls",
        buggy: "tickets::split_brain",
        fixed: "tickets::a_majority_hands_out_each_ticket_once",
        causes: &["partition", "latency", "pause"],
    },
    Planted {
        family: "stale read",
        package: "pitfalls",
        buggy: "replica::stale_read",
        fixed: "replica::a_confirmed_read_is_never_stale",
        causes: &["partition", "latency", "loss"],
    },
    Planted {
        family: "token under skew",
        package: "pitfalls",
        buggy: "tokens::token_under_skew",
        fixed: "tokens::a_checked_clock_accepts_nothing_that_has_expired",
        causes: &["clock-skew", "clock-drift"],
    },
    Planted {
        family: "retry storm",
        package: "pitfalls",
        buggy: "retries::retry_storm",
        fixed: "retries::a_budget_keeps_retries_few",
        causes: &["loss", "latency"],
    },
    Planted {
        family: "descriptor leak",
        package: "pitfalls",
        buggy: "pool::descriptor_leak",
        fixed: "pool::a_connection_that_is_closed_leaves_nothing",
        causes: &["partition", "latency", "loss", "pause"],
    },
    Planted {
        family: "poisoned cache",
        package: "pitfalls",
        buggy: "names::poisoned_cache",
        fixed: "names::a_cache_that_forgets_finds_the_way_back",
        causes: &["dns-hijack"],
    },
    Planted {
        family: "answer before the sync",
        package: "ledger",
        buggy: "a_step_is_left_out::case_1_sync_before_answer",
        fixed: "what_was_answered_is_on_the_disk",
        causes: &["crash"],
    },
    Planted {
        family: "directory not synced",
        package: "ledger",
        buggy: "a_step_is_left_out::case_2_directory_sync",
        fixed: "what_was_answered_is_on_the_disk",
        causes: &["crash"],
    },
    Planted {
        family: "start without a sync",
        package: "ledger",
        buggy: "a_step_is_left_out::case_3_sync_at_start",
        fixed: "what_was_answered_is_on_the_disk",
        causes: &["crash"],
    },
    Planted {
        family: "torn record",
        package: "ledger",
        buggy: "a_step_is_left_out::case_4_checksums",
        fixed: "what_was_answered_is_on_the_disk",
        causes: &["crash"],
    },
    Planted {
        family: "snapshot not synced",
        package: "ledger",
        buggy: "a_step_is_left_out::case_5_snapshot_sync",
        fixed: "what_was_answered_is_on_the_disk",
        causes: &["crash"],
    },
    Planted {
        family: "journal that comes back",
        package: "accounts",
        buggy: "a_sync_is_left_out::case_1_journal_back",
        fixed: "a_rollback_journal_keeps_what_was_answered",
        causes: &["crash"],
    },
    Planted {
        family: "torn write-ahead log",
        package: "accounts",
        buggy: "a_sync_is_left_out::case_2_log_not_synced",
        fixed: "a_write_ahead_log_keeps_what_was_answered",
        causes: &["crash"],
    },
    Planted {
        family: "torn journal",
        package: "accounts",
        buggy: "a_sync_is_left_out::case_3_journal_not_synced",
        fixed: "a_rollback_journal_that_comes_back_is_consistent",
        causes: &["crash"],
    },
];

/// What came of a search.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// In which case, from 1.
    case: usize,
    /// What is left of its plan.
    faults: Vec<String>,
}

/// Searches for each bug, or each of one example, from so many seeds, and runs so many cases with its remedy.
///
/// # Errors
/// Something could not be built or run, or a promise does not hold.
pub fn run(root: &Path, searches: usize, cases: u32, only: Option<&str>) -> Result<()> {
    let chosen: Vec<&Planted> =
        PLANTED.iter().filter(|planted| only.is_none_or(|only| planted.package == only)).collect();
    ensure!(!chosen.is_empty(), "no bug is planted in {}", only.unwrap_or_default());
    let mut examples = BTreeMap::new();
    for package in chosen.iter().map(|planted| planted.package) {
        if let Entry::Vacant(missing) = examples.entry(package) {
            missing.insert(Example(Tests::build(root, package, Build::AloneReleased, "planted")?));
        }
    }
    let (mut broken, mut remedies) = (Vec::new(), BTreeMap::new());
    for planted in chosen {
        let example = &examples[planted.package];
        println!("\n{} ({})", planted.family, planted.package);
        let mut found = Vec::new();
        for search in 1..=searches as u64 {
            match example.search(planted, search * BETWEEN_SEARCHES)? {
                Some(one) => {
                    println!("  case {:>3}  {}", one.case, one.faults.join("; "));
                    found.push(one);
                }
                None => println!("  not found in {CASES_MAX} cases"),
            }
        }
        let mut needed: Vec<usize> = found.iter().map(|found| found.case).collect();
        needed.sort_unstable();
        let (median, most) = (needed.get(needed.len() / 2).unwrap_or(&0), needed.last().unwrap_or(&0));
        println!("  found in {} of {searches} searches; {median} cases in the median, at most {most}", found.len());
        if found.len() * 10 < searches * FOUND_IN_TENTHS {
            broken.push(format!("{} is found in {} of {searches} searches only", planted.family, found.len()));
        }
        if let Some(fault) = found.iter().flat_map(|found| &found.faults).find(|fault| !planted.is_a_cause(fault)) {
            broken.push(format!("{} is explained by `{fault}`", planted.family));
        }
        let remedy = match remedies.entry((planted.package, planted.fixed)) {
            Entry::Occupied(known) => *known.get(), // several bugs have one
            Entry::Vacant(missing) => *missing.insert(example.passes(planted, cases)?),
        };
        if remedy {
            println!("  its remedy passes {cases} cases");
        } else {
            broken.push(format!("the remedy of {} fails within {cases} cases", planted.family));
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n       "));
    Ok(())
}

impl Planted {
    /// Whether this fault, in its text form, is of a kind that can cause the bug: `1.5s pause kv0 for 1s`.
    fn is_a_cause(&self, fault: &str) -> bool {
        fault.split_whitespace().nth(1).is_some_and(|kind| self.causes.contains(&kind))
    }
}

struct Example(Tests);

impl Example {
    fn search(&self, planted: &Planted, seed: u64) -> Result<Option<Found>> {
        let (passed, printed) = self.run(planted.buggy, seed, CASES_MAX, "none")?;
        if passed {
            return Ok(None);
        }
        read(&printed).map(Some).with_context(|| format!("{} was not explained:\n{printed}", planted.family))
    }

    fn passes(&self, planted: &Planted, cases: u32) -> Result<bool> {
        let (passed, printed) = self.run(planted.fixed, BETWEEN_SEARCHES, cases, "failed")?;
        if !passed {
            println!("{printed}");
        }
        Ok(passed)
    }

    /// Whether it passed, and what it printed.
    fn run(&self, test: &str, seed: u64, cases: u32, log: &str) -> Result<(bool, String)> {
        let (seed, cases) = (format!("{seed:#x}"), cases.to_string());
        self.0.run(test, &[("CHAOS_SEED", &seed), ("CHAOS_CASES", &cases), ("CHAOS_LOG", log)])
    }
}

/// Reads a failure's block.
fn read(printed: &str) -> Option<Found> {
    let case = printed.lines().find_map(|line| line.strip_prefix("  found ")?.trim().strip_prefix("in case "))?;
    let case = case.split_whitespace().next()?.parse().ok()?;
    let faults = examples::faults(printed);
    (!faults.is_empty()).then_some(Found { case, faults })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read() {
        let printed = "chaos: case 11 failed\n\n  found      in case 11 of 500, seed 0x2a, event 6,838, after 3 s\n  \
            shrunk     8 faults to 1, in 7 runs (2.6 s)\n\n  \
            faults\n    0s dns-hijack gateway0 \"site2\" answers nxdomain for 100ms  bit 1×\n\n  test\n";
        let faults = vec!["0s dns-hijack gateway0 \"site2\" answers nxdomain for 100ms".to_owned()];
        assert_eq!(read(printed), Some(Found { case: 11, faults }));
        assert_eq!(read("passed 500 cases"), None);
    }

    #[test]
    fn a_fault_of_another_kind_is_no_cause() {
        let [split_brain, ..] = PLANTED;
        assert!(split_brain.is_a_cause("0s partition node0->node1 for 1s"));
        assert!(!split_brain.is_a_cause("0s clock-skew node0 +1s for 1s"));
    }
}
