//! Programs that stand still, are killed, or lose power.

use crate::plan::{around, mark_all, ms, phases};
use crate::rows::{Row, judge};
use crate::stream::{NEVER, Probe, ask};
use crate::turns::{Client, Question, Turn, take_turns};
use crate::watch::{Strikes, Watch, all_struck, delays};
use anyhow::{Context, Result};
use meter::Task;
use std::ops::Range;
use std::time::{Duration, Instant};
use windtunnel::{Chaos, chaos_test};

const PLAN: &str = "300ms pause meter for 300ms
                    900ms crash meter by kill restart after 400ms
                    1600ms crash stores restart after 400ms";
const PAUSED_MS: f64 = 300.0;
/// Who has not answered for so long has gone down with the question: no sync takes longer.
const PATIENCE: Duration = ms(1000);
const APPEND: Question = Question { task: Task::Append, patience: PATIENCE, ..Question::of("stores") };

#[chaos_test(world = [sim, real], seed = 12, plan = PLAN)]
async fn programs_are_down_when_they_are_asked_to_be(cx: Chaos) -> Result<()> {
    let _meter = cx.host("meter").main(meter::main).start().await?;
    let _stores = cx.host("stores").main(meter::main).start().await?;
    let [paused, killed, crashed] = phases(PLAN);
    let (at_pause, at_kill, at_power_loss, appended) = cx
        .storm(async || {
            let began = Instant::now();
            let probes = async {
                tokio::try_join!(
                    ask("meter", began, around(&paused, ms(200), ms(200)), NEVER),
                    ask("meter", began, around(&killed, ms(50), ms(1000)), NEVER),
                    ask("stores", began, around(&crashed, ms(50), ms(1000)), NEVER),
                    take_turns(APPEND, began, ms(600)..crashed.start),
                )
            };
            tokio::join!(probes, mark_all(&cx, PLAN, began)).0
        })
        .await?;
    if cx.is_calm() {
        return Ok(());
    }
    let mut stores = Client::of("stores").await?;
    let mut length = async |task| {
        let reading = stores.ask(task, 0, Question::of("stores").patience).await.context("the stores do not answer")?;
        Ok::<_, anyhow::Error>(reading.amount)
    };
    let kept = (length(Task::Synced).await?, length(Task::Unsynced).await?);
    let mut rows = pause(&paused, &at_pause);
    rows.extend(kill(&killed, &at_kill));
    rows.extend(power_loss(&crashed, &at_power_loss, &appended, kept));
    judge(&rows)
}

/// What was asked meanwhile is answered afterwards: so it is by the gap between two answers.
fn pause(planned: &Range<Duration>, probes: &[Probe]) -> Vec<Row> {
    let answers: Vec<Duration> = {
        let mut answers: Vec<_> = probes.iter().filter_map(|probe| Some(probe.answer?.at)).collect();
        answers.sort_unstable();
        answers
    };
    let gap = answers.windows(2).map(|pair| pair[0]..pair[1]).max_by_key(|gap| gap.end - gap.start);
    let s = |time: Duration| time.as_secs_f64();
    let gap_ms = gap.as_ref().map(|gap| s(gap.end - gap.start) * 1e3);
    let in_force_after = gap.as_ref().map(|gap| s(gap.start) - s(planned.start));
    let lasts = planned.end - planned.start;
    let gone_after = gap.as_ref().map(|gap| s(gap.end) - s(gap.start + lasts));
    // The last answer before it is from before it.
    let inside = gap.unwrap_or_default();
    let sent: Vec<&Probe> =
        probes.iter().filter(|probe| probe.sent > inside.start && probe.sent < inside.end - ms(1)).collect();
    // Not every one of them finds room to wait in.
    let held = sent.iter().filter(|probe| probe.answer.is_none_or(|answer| answer.at >= inside.end)).count();
    let row = Row::new("pause", "longest silence", "ms").asked(PAUSED_MS, (50.0, 1000.0)).measured(gap_ms);
    let mut rows = vec![row.struck((held, sent.len()))];
    rows.extend(delays("pause", in_force_after, gone_after));
    rows
}

fn kill(planned: &Range<Duration>, probes: &[Probe]) -> Vec<Row> {
    let sightings = probes.iter().map(|probe| (probe.sent, probe.is_lost()));
    all_struck("crash", "not answered, by kill", planned, sightings)
}

/// What was acknowledged as synced has to be there; of the rest nothing has to. Each turn appends to both files, and is
/// told how long the synced one is.
fn power_loss(planned: &Range<Duration>, probes: &[Probe], turns: &[Turn], (synced, unsynced): (u64, u64)) -> Vec<Row> {
    let sightings = probes.iter().map(|probe| (probe.sent, probe.is_lost()));
    let watch = Watch::new("crash", planned, Strikes::Each, sightings);
    let acknowledged = turns.iter().filter_map(|turn| turn.reading).filter(|reading| reading.errno == 0);
    let written = acknowledged.map(|reading| reading.amount).max();
    let lost = |kept: u64| written.map(|written| written.saturating_sub(kept) as f64);
    let row = Row::new("crash", "synced and lost, by power loss", "KiB").asked(0.0, (0.0, 0.0));
    let row = row.measured(lost(synced).map(|bytes| bytes / 1024.0)).struck(watch.struck());
    let share = lost(unsynced).zip(written).map(|(lost, written)| lost / written as f64 * 100.0);
    let mut rows = vec![row, Row::new("crash", "not synced and lost, by power loss", "%").measured(share)];
    rows.extend(watch.delays());
    rows
}
