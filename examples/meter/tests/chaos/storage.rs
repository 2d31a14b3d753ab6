//! Disks that are full, out of inodes, failing, slow, or rotting.

use crate::figures::percentile;
use crate::plan::{around, mark_all, ms, phases};
use crate::rows::{Row, judge};
use crate::turns::{Question, Turn, take_turns};
use crate::watch::{Strikes, Watch};
use anyhow::Result;
use meter::Task;
use std::ops::Range;
use std::time::{Duration, Instant};
use windtunnel::{Chaos, chaos_test};

const PLAN: &str = "200ms disk-full fills free 64KiB for 400ms
                    1000ms disk-errors stores reads 20% for 500ms
                    1900ms disk-errors stores syncs 50% for 500ms
                    2800ms io-throttle stores 1MiB/s for 1500ms
                    1000ms inode-exhaustion makes free 3 for 400ms
                    2500ms bit-rot rots bits 16";

/// errno(3), on Linux.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

const KIB: u64 = 1024;
const FREE_KIB: u64 = 64;
const FREE_INODES: u64 = 3;
/// What is written in one piece while the disk is slow: more than what Linux lets through at once in 100 ms
/// (`throtl_slice`, block/blk-throttle.c).
const WRITTEN_BYTES: u64 = 128 * KIB;
const WRITTEN_S: f64 = 0.125;
const ROTTEN_BITS: f64 = 16.0;

const FILL: Question = Question { host: "fills", ..stores(Task::Fill, 4 * FREE_KIB * KIB) };
const MAKE: Question = Question { host: "makes", ..stores(Task::Make, 4 * FREE_INODES) };
/// So many that one of them all but always fails.
const READ: Question = stores(Task::Read, 20);
const SYNC: Question = stores(Task::Sync, 5);
const WRITE: Question = stores(Task::Write, WRITTEN_BYTES);
const COMPARE: Question = Question { host: "rots", ..stores(Task::Compare, 64 * KIB) };

const fn stores(task: Task, amount: u64) -> Question {
    Question { task, amount, ..Question::of("stores") }
}

#[chaos_test(world = [sim, real], seed = 12, plan = PLAN)]
async fn disks_are_as_bad_as_they_are_asked_to_be(cx: Chaos) -> Result<()> {
    for host in ["fills", "stores", "makes", "rots"] {
        cx.host(host).main(meter::main).start().await?;
    }
    let [full, reads, syncs, slow, inodes, rot] = phases(PLAN);
    let rot = rot.start..rot.start + ms(1000);
    let turns = cx
        .storm(async || {
            let began = Instant::now();
            let turns =
                |question, phase: &Range<Duration>, after| take_turns(question, began, around(phase, ms(100), after));
            // What is to rot has to be there in time.
            let compared = take_turns(COMPARE, began, around(&rot, ms(1500), ms(0)));
            let turns = async {
                tokio::try_join!(
                    turns(FILL, &full, ms(1000)),
                    turns(READ, &reads, ms(400)),
                    turns(SYNC, &syncs, ms(400)),
                    turns(WRITE, &slow, ms(500)),
                    turns(MAKE, &inodes, ms(1000)),
                    compared,
                )
            };
            tokio::join!(turns, mark_all(&cx, PLAN, began)).0
        })
        .await?;
    if cx.is_calm() {
        return Ok(());
    }
    let (filled, read, synced, written, made, compared) = turns;
    let free = Row::new("disk-full", "still fits", "KiB").asked(FREE_KIB as f64, (FREE_KIB as f64, 64.0));
    let mut rows = refused("disk-full", &full, &filled, free, 1.0 / KIB as f64);
    let free = Row::new("inode-exhaustion", "can still be made", "files").asked(FREE_INODES as f64, (3.0, 3.0));
    rows.extend(refused("inode-exhaustion", &inodes, &made, free, 1.0));
    rows.extend(errors("reads that fail", 0.2, &reads, &read, READ.amount));
    rows.extend(errors("syncs that fail", 0.5, &syncs, &synced, SYNC.amount));
    rows.extend(throttle(&slow, &written));
    rows.extend(rotten(&rot, &compared));
    judge(&rows)
}

/// What is refused, and after how much.
fn refused(kind: &'static str, planned: &Range<Duration>, turns: &[Turn], level: Row, unit: f64) -> Vec<Row> {
    let sightings = turns.iter().map(|turn| (turn.sent, turn.is_refused(ENOSPC)));
    let watch = Watch::new(kind, planned, Strikes::Each, sightings);
    let refused = turns.iter().filter(|turn| turn.is_refused(ENOSPC));
    let levels: Vec<f64> = refused.filter_map(|turn| Some(turn.amount()? * unit)).collect();
    let mut rows = vec![level.measured(percentile(&levels, 0.5)).struck(watch.struck())];
    rows.extend(watch.delays());
    rows
}

/// A share of reads or syncs: each turn makes several.
fn errors(quantity: &'static str, asked: f64, planned: &Range<Duration>, turns: &[Turn], each: u64) -> Vec<Row> {
    let sightings = turns.iter().map(|turn| (turn.sent, turn.is_refused(EIO)));
    let watch = Watch::new("disk-errors", planned, Strikes::Some, sightings);
    let phase = watch.midst();
    let failed: Vec<f64> = turns.iter().filter(|turn| phase.contains(&turn.sent)).filter_map(Turn::amount).collect();
    let all = failed.len() * each as usize;
    let mut rows = vec![Row::ratio("disk-errors", quantity, asked, (failed.iter().sum::<f64>() as usize, all))];
    rows.extend(watch.delays());
    rows
}

/// By how long writes take that are synced one after the other, without what is between them.
fn throttle(planned: &Range<Duration>, turns: &[Turn]) -> Vec<Row> {
    // Four fifths of it may have been saved up.
    let is_slow = |turn: &Turn| turn.took_s() > WRITTEN_S / 6.0;
    // The one that is under way when the fault begins is the first to see it.
    let since = |turn: &Turn| turn.sent.max(planned.start.min(turn.ended));
    let sightings = turns.iter().map(|turn| (since(turn), is_slow(turn)));
    let watch = Watch::new("io-throttle", planned, Strikes::Each, sightings);
    let phase = watch.midst();
    let within = turns.iter().filter(|turn| turn.sent >= phase.start && turn.ended <= phase.end);
    let within: Vec<f64> = within.map(Turn::took_s).collect();
    let took_s: f64 = within.iter().sum();
    let rate = (took_s > 0.0).then(|| within.len() as f64 * WRITTEN_BYTES as f64 / took_s / f64::from(1 << 20));
    let row = Row::new("io-throttle", "rate", "MiB/s").asked(1.0, (0.7, 0.5));
    let mut rows = vec![row.measured(rate).struck(watch.struck())];
    rows.extend(watch.delays());
    rows
}

/// What has rotted stays so.
fn rotten(planned: &Range<Duration>, turns: &[Turn]) -> Vec<Row> {
    let sightings = turns.iter().map(|turn| (turn.sent, turn.amount().is_some_and(|bits| bits > 0.0)));
    let watch = Watch::new("bit-rot", planned, Strikes::Each, sightings);
    // A bit that is drawn twice is as it was.
    let row = Row::new("bit-rot", "bits flipped", "").asked(ROTTEN_BITS, (4.0, 0.0));
    let row = row.measured(turns.last().and_then(Turn::amount)).struck(watch.struck());
    vec![row, watch.in_force_after()]
}
