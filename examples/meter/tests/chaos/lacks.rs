//! Descriptors, threads, memory and processors that are taken.

use crate::figures::percentile;
use crate::plan::{around, mark_all, middle, ms, phases, until};
use crate::rows::{Row, judge};
use crate::stream::{NEVER, Probe, ask};
use crate::turns::{Client, Question, Turn, take_turns};
use crate::watch::{Strikes, Watch, all_struck};
use anyhow::{Context, Result};
use meter::{ALLOCATED_BYTES, Task};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};
use windtunnel::{Chaos, chaos_test};

// Of 1,024 descriptors and 63,536 threads, six are left, and three.
const PLAN: &str = "200ms task-leak opens 1018 descriptors for 400ms
                    700ms task-leak starts 63533 threads for 400ms
                    1400ms memory-pressure hungry 75% for 600ms
                    2200ms memory-pressure victim oom-kill for 400ms
                    3000ms cpu-burn works 80% for 1500ms";
const DESCRIPTORS_LEFT: u32 = 6;
const THREADS_LEFT: u32 = 3;

/// errno(3), on Linux.
const EAGAIN: i32 = 11;
const EMFILE: i32 = 24;

const MEMORY_MIB: f64 = 256.0;
const TAKEN: f64 = 0.75;
const ALLOCATED_BYTES_MAX: u64 = 128 << 20;

const BURNT: f64 = 0.8;
/// proc_pid_stat(5): `sysconf(_SC_CLK_TCK)` is 100 on every x86-64.
const TICKS_PER_S: f64 = 100.0;

/// For so long at a time a share is kept.
const PERIOD_S: f64 = 0.025;
/// Less than the time for which everybody stands still in each, and more than a turn takes.
const HELD_UP_MS: f64 = 15.0;

/// Few, and seldom: what comes and goes when somebody counts it makes another leak of it.
const OPEN: Question = Question { task: Task::Open, amount: 4, pause: ms(5), ..Question::of("opens") };
const START: Question = Question { task: Task::Start, amount: 4, pause: ms(5), ..Question::of("starts") };

#[chaos_test(world = [sim, real], seed = 12, plan = PLAN)]
async fn programs_lack_as_much_as_they_are_asked_to(cx: Chaos) -> Result<()> {
    let opens = cx.host("opens").main(meter::main).descriptors(1024).start().await?;
    let starts = cx.host("starts").main(meter::main).start().await?;
    let _hungry = cx.host("hungry").main(meter::main).memory("256MiB").start().await?;
    let _victim = cx.host("victim").main(meter::main).start().await?;
    let _works = cx.host("works").main(meter::main).start().await?;
    // Work takes time in one world only.
    let amount = if cx.is_real() { 20 } else { 1 };
    let work = Question { task: Task::Work, amount, ..Question::of("works") };
    let [descriptors_at, threads_at, pressure_at, kill_at, burn_at] = phases(PLAN);
    // What they have themselves counts, as soon as they have begun.
    for host in [OPEN.host, START.host] {
        let has_begun = Client::of(host).await?.ask(Task::Answer, 0, OPEN.patience).await;
        has_begun.with_context(|| format!("{host} does not answer"))?;
    }
    let (descriptors, threads) = (opens.usage().descriptors, starts.usage().threads);
    let probes = cx
        .storm(async || {
            let began = Instant::now();
            let near = |phase: &Range<Duration>| around(phase, ms(100), ms(1000));
            let probes = async {
                tokio::try_join!(
                    take_turns(OPEN, began, near(&descriptors_at)),
                    take_turns(START, began, near(&threads_at)),
                    grow(began, &pressure_at),
                    ask("victim", began, around(&kill_at, ms(50), ms(1000)), NEVER),
                    take_turns(work, began, around(&burn_at, ms(200), ms(600))),
                    // It is to have something to do whenever it may.
                    take_turns(work, began, around(&burn_at, ms(200), ms(600))),
                )
            };
            tokio::join!(probes, mark_all(&cx, PLAN, began)).0
        })
        .await?;
    if cx.is_calm() {
        return Ok(());
    }
    let (opened, started, grown, asked, worked, _) = probes;
    let level = leak_level("descriptors it can have", DESCRIPTORS_LEFT);
    let mut rows = leak(level, &descriptors_at, &opened, EMFILE, descriptors);
    let level = leak_level("threads it can have", THREADS_LEFT);
    rows.extend(leak(level, &threads_at, &started, EAGAIN, threads));
    rows.extend(oom_kill(&kill_at, &asked));
    rows.push(pressure(grown));
    rows.extend(burn(&burn_at, &worked, cx.is_real()));
    judge(&rows)
}

fn leak_level(quantity: &'static str, left: u32) -> Row {
    Row::new("task-leak", quantity, "").asked(f64::from(left), (2.0, 2.0))
}

/// What it had itself, and what it could have beside that.
fn leak(level: Row, planned: &Range<Duration>, turns: &[Turn], errno: i32, used: u32) -> Vec<Row> {
    let sightings = turns.iter().map(|turn| (turn.sent, turn.is_refused(errno)));
    let watch = Watch::new("task-leak", planned, Strikes::Each, sightings);
    let refused = turns.iter().filter(|turn| turn.is_refused(errno));
    let had: Vec<f64> = refused.filter_map(|turn| Some(turn.amount()? + f64::from(used))).collect();
    let mut rows = vec![level.measured(percentile(&had, 0.5)).struck(watch.struck())];
    rows.extend(watch.delays());
    rows
}

/// Takes memory: all of it while nothing is wrong, then until it is killed for that. How much it had then; nothing if
/// it could have all.
async fn grow(began: Instant, pressure_at: &Range<Duration>) -> io::Result<Option<u64>> {
    let mut hungry = Client::of("hungry").await?;
    let had = had(&mut hungry, Question::of("hungry").patience).await;
    if had < ALLOCATED_BYTES_MAX {
        return Err(io::Error::other(format!("{had} bytes are all that it can have in good weather")));
    }
    until(began, pressure_at.start + ms(200)).await;
    let had = self::had(&mut hungry, ms(500)).await;
    Ok((had < ALLOCATED_BYTES_MAX).then_some(had))
}

/// How much it says that it has, step by step.
async fn had(hungry: &mut Client, patience: Duration) -> u64 {
    hungry.send(Task::Allocate, ALLOCATED_BYTES_MAX).await;
    let mut had = 0;
    // One answer for each step, and one at the end. They overtake each other.
    for _ in 0..=ALLOCATED_BYTES_MAX / ALLOCATED_BYTES {
        let Some(reading) = hungry.next(patience).await else { break };
        had = had.max(reading.amount);
    }
    had
}

/// The program's own memory counts as well: some MiB of its code and its stack.
fn pressure(grown: Option<u64>) -> Row {
    const OWN_MIB: f64 = 24.0;
    let left_mib = MEMORY_MIB * (1.0 - TAKEN);
    let step_mib = ALLOCATED_BYTES as f64 / f64::from(1 << 20);
    let row = Row::new("memory-pressure", "can be had, by steps of 4 MiB", "MiB").asked(left_mib, (OWN_MIB, step_mib));
    row.measured(grown.map(|bytes| bytes as f64 / f64::from(1 << 20)))
}

fn oom_kill(planned: &Range<Duration>, probes: &[Probe]) -> Vec<Row> {
    let sightings = probes.iter().map(|probe| (probe.sent, probe.is_lost()));
    all_struck("memory-pressure", "dead by `oom-kill`", planned, sightings)
}

/// What a program that wants all processors gets of their time, by the kernel's own account. In the simulated world
/// work takes no time; there whoever is woken waits for a turn.
fn burn(planned: &Range<Duration>, turns: &[Turn], is_real: bool) -> Vec<Row> {
    let before: Vec<f64> =
        turns.iter().filter(|turn| turn.ended < planned.start).map(|turn| turn.took_s() * 1e3).collect();
    let usual_ms = percentile(&before, 0.5).unwrap_or(f64::NAN);
    // Nobody runs for most of a period, and then everybody.
    let long_ms = if is_real { HELD_UP_MS } else { 3.0 * usual_ms };
    let is_held_up = |turn: &Turn| turn.took_s() * 1e3 > long_ms;
    let sightings = turns.iter().map(|turn| (turn.sent, is_held_up(turn)));
    let watch = Watch::new("cpu-burn", planned, Strikes::Some, sightings);
    let phase = middle(planned);
    let within: Vec<&Turn> = turns.iter().filter(|turn| phase.contains(&turn.ended)).collect();
    let ends = within.first().zip(within.last());
    let wall_s = ends.map_or(f64::NAN, |(first, last)| (last.ended - first.ended).as_secs_f64());
    let taken = ends.and_then(|(first, last)| {
        let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        let got_s = (last.amount()? - first.amount()?) / TICKS_PER_S;
        Some((1.0 - got_s / wall_s / processors) * 100.0)
    });
    let row = Row::new("cpu-burn", "processors' time taken", "%");
    // The ends may stand anywhere in a period, and in a tick.
    let bound = ((1.0 - BURNT) * PERIOD_S + 1.0 / TICKS_PER_S) / wall_s * 100.0;
    let row = if is_real { row.asked(BURNT * 100.0, (10.0, 20.0)).measured(taken).bound(bound) } else { row };
    let longest_ms = within.iter().map(|turn| turn.took_s() * 1e3).fold(f64::NAN, f64::max);
    let wait = Row::new("cpu-burn", "longest turn", "ms").measured(Some(longest_ms).filter(|ms| ms.is_finite()));
    let mut rows = vec![row, wait];
    // Turns are late on a busy machine, too.
    rows.extend(watch.delays().into_iter().map(|row| if is_real { row.unjudged() } else { row }));
    rows
}
