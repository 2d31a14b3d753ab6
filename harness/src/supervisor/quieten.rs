//! Which randomness a failure needs: each kind is switched off, and stays so as long as the case fails in the same way;
//! of a kind that is needed, the streams are then switched off, half of them at a time.
//!
//! What is left tells the reader where to look: a failure that needs the schedule is a race, one that needs how long
//! segments take from `kv0` to `kv1` is about these two. The case that is reported keeps all of it; this is about it,
//! no other case.

use super::Context;
use super::process::{Worker, WorkerError};
use super::run_case::{CaseReport, Showing, run_case};
use crate::blackbox::{HUSH_BYTES, Orders};
use crate::definition::World;
use std::collections::BTreeSet;
use std::time::Instant;
use windtunnel_sim::world::{Hush, Quiet};

/// How many cases may be run to find the streams of one kind.
const RUNS_MAX: usize = 48;
/// What is said of a failure that needs none.
const NO_CHANCE: &str = "no chance: it also fails with fair scheduling, constant latencies, undisturbed calls and \
                         other random numbers";
/// How many streams are named; more are counted.
const NAMED_MAX: usize = 4;

/// A kind of randomness.
struct Kind {
    /// Its name in reports.
    name: &'static str,
    /// What its streams are called.
    streams: &'static str,
    /// Switches it off.
    quieten: fn(&mut Quiet, Hush),
    /// The streams that a world with these hosts has; none when it is one stream.
    all: fn(&[&str]) -> Vec<String>,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "scheduling",
        streams: "",
        quieten: |quiet, hush| quiet.scheduling = hush != Hush::Nothing,
        all: |_| Vec::new(),
    },
    Kind { name: "latencies", streams: "links", quieten: |quiet, hush| quiet.links = hush, all: links },
    Kind { name: "random numbers", streams: "hosts", quieten: |quiet, hush| quiet.entropy = hush, all: each },
    Kind {
        name: "interrupted and shortened calls",
        streams: "hosts",
        quieten: |quiet, hush| quiet.calls = hush,
        all: each,
    },
];

/// Every host.
fn each(hosts: &[&str]) -> Vec<String> {
    hosts.iter().map(|host| (*host).to_owned()).collect()
}

/// Every way from one of these hosts to another.
fn links(hosts: &[&str]) -> Vec<String> {
    let from = |from: &&str| {
        let others = hosts.iter().filter(move |to| *to != from);
        others.map(|to| format!("{from}->{to}")).collect::<Vec<_>>()
    };
    hosts.iter().flat_map(from).collect()
}

/// What the failure needs, in words. `None` when that is no question: it failed in good weather, or may not be run.
pub(super) fn needed(context: &Context<'_>, report: &CaseReport) -> Result<Option<String>, WorkerError> {
    let Some(failure) = &report.failure else { return Ok(None) };
    let budget = context.settings.shrink;
    let can_run = failure.is_repeatable() && super::is_of_the_case(&failure.kind) && budget.runs > 0;
    // Of a real kernel's randomness nothing can be switched off.
    if !can_run || report.case.calm || context.definition.world == World::Real {
        return Ok(None);
    }
    let deadline = Instant::now() + budget.time;
    let mut worker = Worker::start(context.definition)?;
    let orders = super::shrink::orders(context, report.case, &report.plan, &report.paths);
    let mut fails = |quiet: &Quiet| -> Result<bool, WorkerError> {
        let candidate = Orders { quiet: quiet.clone(), ..orders.clone() };
        let candidate = run_case(context, &mut worker, report.case, &candidate, Showing::Nothing)?;
        Ok(candidate.fails_like(report))
    };
    let (mut quiet, mut needed) = (Quiet::default(), Vec::new());
    for (at, kind) in KINDS.iter().enumerate() {
        let mut quieter = quiet.clone();
        (kind.quieten)(&mut quieter, Hush::Everything);
        if fails(&quieter)? {
            quiet = quieter;
        } else {
            needed.push(at);
        }
    }
    let hosts = report.log.hosts();
    let mut words = Vec::new();
    for kind in needed.iter().map(|at| &KINDS[*at]) {
        let all = (kind.all)(&hosts);
        let fits = all.iter().map(|name| name.len() + 1).sum::<usize>() <= HUSH_BYTES;
        let mut streams = None;
        if all.len() > 1 && fits {
            let mut runs = 0;
            let left = fewest(all, |heard| {
                runs += 1;
                if runs > RUNS_MAX || Instant::now() >= deadline {
                    return Ok(None);
                }
                let mut quieter = quiet.clone();
                (kind.quieten)(&mut quieter, Hush::AllBut(heard.iter().cloned().collect()));
                fails(&quieter).map(Some)
            })?;
            if let Some(left) = left {
                (kind.quieten)(&mut quiet, Hush::AllBut(left.iter().cloned().collect()));
                streams = Some(left);
            }
        }
        words.push(in_words(kind, streams.as_deref()));
    }
    let idle = (0..KINDS.len()).filter(|at| !needed.contains(at)).map(|at| KINDS[at].name);
    Ok(Some(sentence(&words, &idle.collect::<Vec<_>>())))
}

/// The streams without any of which the case does not fail, found by leaving ever smaller parts out. `None` when the
/// budget ends before, which is what `fails` says with `None`, or when it fails with none or only with others.
fn fewest(
    all: Vec<String>,
    mut fails: impl FnMut(&BTreeSet<String>) -> Result<Option<bool>, WorkerError>,
) -> Result<Option<Vec<String>>, WorkerError> {
    // With all of these heard it should be as it was; hosts that nobody saw may have streams too.
    if fails(&all.iter().cloned().collect())? != Some(true) {
        return Ok(None);
    }
    let mut left = all;
    let mut part = left.len().div_ceil(2);
    loop {
        let mut at = 0;
        while at < left.len() {
            let end = (at + part).min(left.len());
            let rest = || left[..at].iter().chain(&left[end..]).cloned();
            match fails(&rest().collect())? {
                None => return Ok(None),
                Some(true) => left = rest().collect(),
                Some(false) => at = end,
            }
        }
        if part == 1 {
            return Ok(Some(left));
        }
        part = part.div_ceil(2);
    }
}

/// A kind that is needed, and which of its streams when these are known.
fn in_words(kind: &Kind, streams: Option<&[String]>) -> String {
    let Kind { name, streams: noun, .. } = kind;
    match streams {
        None | Some([]) => (*name).to_owned(),
        Some(few) if few.len() <= NAMED_MAX => format!("{name} ({})", few.join(", ")),
        Some(many) => format!("{name} ({} {noun})", many.len()),
    }
}

fn sentence(needed: &[String], idle: &[&str]) -> String {
    match (needed, idle) {
        ([], _) => NO_CHANCE.to_owned(),
        (needed, []) => format!("chance in {}", needed.join(", in ")),
        (needed, [rest @ .., last]) => {
            let idle = if rest.is_empty() { (*last).to_owned() } else { format!("{} or {last}", rest.join(", ")) };
            format!("chance in {}, but not in {idle}", needed.join(", in "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("n{at}")).collect()
    }

    #[test]
    fn what_is_needed_is_a_sentence() {
        let words = |at: usize, streams: Option<&[String]>| in_words(&KINDS[at], streams);
        let sentences = [
            sentence(&[], &KINDS.map(|kind| kind.name)),
            sentence(&[words(0, None)], &[KINDS[1].name, KINDS[2].name, KINDS[3].name]),
            sentence(&[words(1, Some(&["kv0->kv1".to_owned()])), words(3, Some(&names(2)))], &[KINDS[0].name]),
            sentence(&[words(0, None), words(1, Some(&names(5))), words(2, Some(&[])), words(3, None)], &[]),
        ];
        insta::assert_snapshot!(sentences.join("\n"), @r"
        no chance: it also fails with fair scheduling, constant latencies, undisturbed calls and other random numbers
        chance in scheduling, but not in latencies, random numbers or interrupted and shortened calls
        chance in latencies (kv0->kv1), in interrupted and shortened calls (n0, n1), but not in scheduling
        chance in scheduling, in latencies (5 links), in random numbers, in interrupted and shortened calls
        ");
    }

    #[test]
    fn links_lead_from_each_host_to_each_other() {
        assert_eq!(links(&["a", "b", "c"]), ["a->b", "a->c", "b->a", "b->c", "c->a", "c->b"]);
    }

    #[test]
    fn the_streams_that_matter_are_found() {
        for wanted in [&["n3"][..], &["n0", "n19"], &["n4", "n5", "n11"]] {
            let mut runs = 0;
            let found = fewest(names(20), |heard| {
                runs += 1;
                Ok(Some(wanted.iter().all(|name| heard.contains(*name))))
            });
            assert_eq!(found.expect("nothing fails").expect("no budget"), wanted);
            assert!(runs <= RUNS_MAX, "{runs} runs");
        }
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        assert_eq!(fewest(names(3), |_| Ok(Some(false))).expect("nothing fails"), None);
        let mut budget = 3;
        let stopped = fewest(names(20), |heard| {
            budget -= 1;
            Ok((budget >= 0).then(|| heard.contains("n7")))
        });
        assert_eq!(stopped.expect("nothing fails"), None);
    }
}
