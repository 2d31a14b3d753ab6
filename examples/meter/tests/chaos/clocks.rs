//! Clocks that are wrong, and names.

use crate::figures::{percentile, slope};
use crate::plan::{MARGIN, around, mark_all, middle, ms, phases};
use crate::rows::{Row, judge};
use crate::stream::{NEVER, Probe, ask, round_trips_ms, sent_in};
use crate::turns::{Question, Turn, take_turns};
use crate::watch::{Strikes, Watch, all_struck, delays};
use anyhow::Result;
use meter::Task;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::{Duration, Instant};
use windtunnel::{Chaos, chaos_test};

const PLAN: &str = "200ms clock-skew meter +1500ms for 500ms
                    1100ms clock-drift meter +5000ppm then step for 1500ms
                    1200ms dns-hijack asks \"test\" answers 10.99.99.99 for 400ms";
const END: Duration = ms(3100);
/// So much of a second is no clock that is wrong by one and a half.
const SKEWED_S: f64 = 0.75;
const DRIFT_PPM: f64 = 5000.0;
const HIJACKED: Ipv4Addr = Ipv4Addr::new(10, 99, 99, 99);
const RESOLVE: Question = Question { task: Task::Resolve, ..Question::of("asks") };

#[chaos_test(world = [sim, real], seed = 12, plan = PLAN)]
async fn clocks_and_names_are_as_wrong_as_they_are_asked_to_be(cx: Chaos) -> Result<()> {
    let _meter = cx.host("meter").main(meter::main).start().await?;
    let _asks = cx.host("asks").main(meter::main).start().await?;
    let [skew_at, drift_at, hijack_at] = phases(PLAN);
    let (probes, names) = cx
        .storm(async || {
            let began = Instant::now();
            let probes = async {
                tokio::try_join!(
                    ask("meter", began, Duration::ZERO..END, NEVER),
                    take_turns(RESOLVE, began, around(&hijack_at, ms(100), ms(1000))),
                )
            };
            tokio::join!(probes, mark_all(&cx, PLAN, began)).0
        })
        .await?;
    if cx.is_calm() {
        return Ok(());
    }
    let mut rows = skew(&probes, &skew_at);
    rows.extend(drift(&probes, &drift_at));
    rows.extend(hijack(&names, &hijack_at));
    judge(&rows)
}

fn skew(probes: &[Probe], planned: &Range<Duration>) -> Vec<Row> {
    let is_skewed = |probe: &Probe| probe.offset_s().is_some_and(|offset| offset > SKEWED_S);
    let sightings = probes.iter().map(|probe| (probe.sent, is_skewed(probe)));
    let watch = Watch::new("clock-skew", planned, Strikes::Each, sightings);
    let phase = watch.midst();
    // What waited nowhere says most about clocks: RFC 5905, section 10, takes the one with the least delay.
    let fastest = sent_in(probes, &phase).filter(|probe| probe.answer.is_some()).min_by_key(|probe| probe.round_trip());
    let offset_ms = fastest.and_then(Probe::offset_s).map(|offset_s| offset_s * 1e3);
    let row = Row::new("clock-skew", "offset", "ms").asked(1500.0, (20.0, 20.0));
    let mut rows = vec![row.measured(offset_ms).struck(watch.struck())];
    rows.extend(watch.delays());
    rows
}

/// How fast a clock runs is not seen at once: since when, is where the line that it follows begins; and when it is put
/// right it goes back by a step.
fn drift(probes: &[Probe], planned: &Range<Duration>) -> Vec<Row> {
    let phase = middle(planned);
    let row = |quantity, ahead: fn(&Probe) -> Option<f64>| {
        let measured = line(probes, &phase, ahead).map(|(slope, _)| slope * 1e6);
        Row::new("clock-drift", quantity, "ppm").asked(DRIFT_PPM, (DRIFT_PPM / 2.0, DRIFT_PPM / 2.0)).measured(measured)
    };
    let before = fastest(probes, &(planned.start - 2 * MARGIN..planned.start), Probe::offset_s);
    let before: Vec<f64> = before.into_iter().map(|(_, offset_s)| offset_s).collect();
    let before_s = percentile(&before, 0.5).unwrap_or_default();
    let lasts_s = (planned.end - planned.start).as_secs_f64();
    let ahead_s = lasts_s * DRIFT_PPM / 1e6;
    // At its end it is ahead by 7.5 ms, and then it is not.
    let is_ahead = |probe: &Probe| probe.offset_s().is_none_or(|offset_s| offset_s - before_s > ahead_s / 2.0);
    let began_s = line(probes, &phase, Probe::offset_s).map(|(slope, at_zero)| (before_s - at_zero) / slope);
    let due_s = began_s.map(|began_s| began_s + lasts_s);
    let gone = due_s.and_then(|due_s| {
        probes.iter().find(|probe| probe.sent.as_secs_f64() >= due_s && !is_ahead(probe)).map(|probe| probe.sent)
    });
    let phase = planned.start + (planned.end - planned.start) * 3 / 4..planned.end;
    let late = fastest(probes, &phase, Probe::offset_s);
    let struck = (late.iter().filter(|(_, offset_s)| offset_s - before_s > ahead_s / 2.0).count(), late.len());
    let mut rows = vec![
        row("rate of realtime", Probe::offset_s).struck(struck),
        row("rate of monotonic time", |probe| probe.monotonic_ahead_s()),
    ];
    let since = |then: Option<f64>, time: Option<f64>| Some(time? - then?);
    rows.extend(delays(
        "clock-drift",
        since(Some(planned.start.as_secs_f64()), began_s),
        since(due_s, gone.map(|gone| gone.as_secs_f64())),
    ));
    rows
}

/// How a clock gets ahead, as a line: its slope, and where it is when the storm begins.
fn line(probes: &[Probe], phase: &Range<Duration>, ahead: fn(&Probe) -> Option<f64>) -> Option<(f64, f64)> {
    let points = fastest(probes, phase, ahead);
    let slope = slope(&points)?;
    let at_zero = points.iter().map(|(x, y)| y - slope * x).sum::<f64>() / points.len() as f64;
    Some((slope, at_zero))
}

/// How far a clock is ahead, and when, by the faster half of all answers: what waited somewhere says little about
/// clocks.
fn fastest(probes: &[Probe], phase: &Range<Duration>, ahead: fn(&Probe) -> Option<f64>) -> Vec<(f64, f64)> {
    let usual_ms = percentile(&round_trips_ms(probes, phase), 0.5).unwrap_or_default();
    let usual = Duration::from_secs_f64(usual_ms / 1e3);
    let fast = sent_in(probes, phase).filter(|probe| probe.round_trip().is_some_and(|way| way <= usual));
    fast.filter_map(|probe| Some((probe.sent.as_secs_f64(), ahead(probe)?))).collect()
}

fn hijack(turns: &[Turn], planned: &Range<Duration>) -> Vec<Row> {
    let is_wrong = |turn: &Turn| turn.reading.is_some_and(|reading| reading.amount == u64::from(HIJACKED.to_bits()));
    let sightings = turns.iter().map(|turn| (turn.sent, is_wrong(turn)));
    all_struck("dns-hijack", "names answered wrongly", planned, sightings)
}
