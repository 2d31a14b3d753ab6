//! What a plan asks for, and what a client measures of it in either world.
//!
//! Each test prints what it measured as lines of JSON, for `cargo xtask parity` to set side by side, and judges it by
//! generous bounds: that the machine is busy must not fail it.

mod figures;
mod probes;

use anyhow::Result;
use figures::{DEVIATES_999, binomial_bound, percentile, slope};
use probes::{Probe, ask, until};
use serde::Serialize;
use std::ops::Range;
use std::time::{Duration, Instant};
use windtunnel::{Chaos, chaos_test};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

// The plan below, in numbers.
const CALM: Range<Duration> = ms(0)..ms(800);
const LATENCY: Range<Duration> = ms(800)..ms(2000);
const LOSS: Range<Duration> = ms(2200)..ms(4000);
const BANDWIDTH: Range<Duration> = ms(4200)..ms(5200);
const PARTITION: Range<Duration> = ms(5500)..ms(5900);
const SKEW: Range<Duration> = ms(6100)..ms(6600);
const DRIFT: Range<Duration> = ms(6800)..ms(8300);
const END: Duration = ms(8600);

/// What takes a fault that long to begin or to end is not in the figures of that fault.
const MARGIN: Duration = ms(150);
/// So much of a second is no clock that is wrong by one and a half.
const SKEWED_S: f64 = 0.75;

/// A quantity that was asked for, and measured. What `xtask/src/parity.rs` reads.
#[derive(Serialize)]
struct Row {
    phase: &'static str,
    quantity: &'static str,
    unit: &'static str,
    /// Nothing, where the world is as it is.
    asked: Option<f64>,
    measured: Option<f64>,
    /// How far from what was asked chance alone takes 99.9 % of all measurements, where it is known.
    bound: Option<f64>,
    /// How far below and above it may lie before the test fails. That the machine is busy makes nothing weaker, but
    /// much
    /// later.
    #[serde(skip)]
    within: (f64, f64),
}

/// One fault after the other, each for long enough to be measured; nothing else goes wrong.
#[chaos_test(
    world = [sim, real],
    seed = 12,
    plan = "800ms latency test<->meter 20ms jitter 5ms for 1200ms
            2200ms loss test->meter 20% for 1800ms
            4200ms bandwidth test->meter 1MiB/s queue 64KiB for 1000ms
            5500ms partition test | meter for 400ms
            6100ms clock-skew meter +1500ms for 500ms
            6800ms clock-drift meter +5000ppm then step for 1500ms"
)]
async fn faults_are_as_strong_as_they_are_asked_for(cx: Chaos) -> Result<()> {
    let _meter = cx.host("meter").main(meter::main).start().await?;
    let probes = cx
        .storm(async || {
            let began = Instant::now();
            let marks = async {
                for (phase, label) in [
                    (&LATENCY, "latency is due"),
                    (&LOSS, "loss is due"),
                    (&BANDWIDTH, "bandwidth is due"),
                    (&PARTITION, "partition is due"),
                    (&SKEW, "skew is due"),
                    (&DRIFT, "drift is due"),
                ] {
                    until(began, phase.start).await;
                    cx.mark(label);
                }
            };
            tokio::join!(ask(began, END, BANDWIDTH), marks).0
        })
        .await?;
    if cx.is_calm() {
        return Ok(());
    }
    let rows = rows(&probes);
    for row in &rows {
        println!("measured {}", serde_json::to_string(row)?);
    }
    for row in rows {
        let measured = row.measured.unwrap_or(f64::NAN);
        if let Some(asked) = row.asked {
            let (below, above) = row.within;
            let is_within = (asked - below..=asked + above).contains(&measured);
            assert!(is_within, "{}, {}: {measured} {} for {asked}", row.phase, row.quantity, row.unit);
        }
    }
    Ok(())
}

fn rows(probes: &[Probe]) -> Vec<Row> {
    [clear_weather(probes), latency(probes), loss(probes), bandwidth(probes), partition(probes), clocks(probes)]
        .into_iter()
        .flatten()
        .collect()
}

/// Those that were sent while a fault was in force, without its first and last moments.
fn sent_in<'p>(probes: &'p [Probe], phase: &Range<Duration>) -> impl Iterator<Item = &'p Probe> {
    let phase = phase.start + MARGIN..phase.end - MARGIN;
    probes.iter().filter(move |probe| phase.contains(&probe.sent))
}

fn round_trips_ms(probes: &[Probe], phase: &Range<Duration>) -> Vec<f64> {
    sent_in(probes, phase).filter_map(|probe| Some(probe.round_trip()?.as_secs_f64() * 1e3)).collect()
}

const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

fn clear_weather(probes: &[Probe]) -> Vec<Row> {
    let calm = round_trips_ms(probes, &CALM);
    let row = |(quantity, share)| Row {
        phase: "round trip in clear weather",
        quantity,
        unit: "ms",
        asked: None,
        measured: percentile(&calm, share),
        bound: None,
        within: (f64::INFINITY, f64::INFINITY),
    };
    PERCENTILES.map(row).into()
}

/// Two ways of 20 ms, each up to 5 ms more or less: the sum of two uniform distributions is a triangular one from 30 to
/// 50 ms.
fn latency(probes: &[Probe]) -> Vec<Row> {
    const JITTER_MS: f64 = 5.0;
    let calm = percentile(&round_trips_ms(probes, &CALM), 0.5).unwrap_or(0.0);
    let is_late = |probe: &Probe| probe.round_trip().is_some_and(|way| way > ms(20));
    let late = round_trips_ms(probes, &in_force(probes, &LATENCY, is_late).unwrap_or(LATENCY));
    let row = |((quantity, share), above): ((&'static str, f64), f64)| Row {
        phase: "latency of 20 ms each way, 5 ms of jitter",
        quantity,
        unit: "ms",
        asked: Some(40.0 + 2.0 * JITTER_MS * (1.0 - (2.0 * (1.0 - share)).sqrt())),
        measured: percentile(&late, share).map(|late| late - calm),
        bound: None,
        within: (JITTER_MS, above),
    };
    let mut rows: Vec<Row> = PERCENTILES.into_iter().zip([100.0, 300.0, 1000.0]).map(row).collect();
    rows.extend(delays(probes, "latency", &LATENCY, is_late));
    rows
}

fn loss(probes: &[Probe]) -> Vec<Row> {
    const ASKED: f64 = 0.2;
    let phase = in_force(probes, &LOSS, is_lost).unwrap_or(LOSS);
    let sent = sent_in(probes, &phase).count();
    let lost = sent_in(probes, &phase).filter(|probe| probe.answer.is_none()).count();
    let bound = |deviates| binomial_bound(ASKED, sent, deviates) * 100.0;
    vec![Row {
        phase: "loss one way",
        quantity: "ratio",
        unit: "%",
        asked: Some(ASKED * 100.0),
        measured: Some(lost as f64 / sent.max(1) as f64 * 100.0),
        bound: Some(bound(DEVIATES_999)),
        // Once in two million.
        within: (bound(5.0), bound(5.0)),
    }]
}

/// What arrives at the other end of a link that is kept full: payload, without headers.
fn bandwidth(probes: &[Probe]) -> Vec<Row> {
    // Until a moment before the end, what arrives has come through the narrow link.
    let counted = BANDWIDTH.start + 2 * MARGIN..BANDWIDTH.end - MARGIN;
    let arrived: Vec<_> =
        probes.iter().filter_map(|probe| probe.answer).filter(|answer| counted.contains(&answer.at)).collect();
    let (first, last) = (arrived.iter().map(|answer| answer.at).min(), arrived.iter().map(|answer| answer.at).max());
    let took = first.zip(last).map(|(first, last)| last.saturating_sub(first).as_secs_f64());
    // The first one marks the beginning.
    let bytes: f64 = arrived.iter().skip(1).map(probes::Answer::payload_bytes).sum();
    vec![Row {
        phase: "bandwidth of a full link",
        quantity: "rate",
        unit: "MiB/s",
        asked: Some(1.0),
        measured: took.filter(|took| *took > 0.0).map(|took| bytes / took / f64::from(1 << 20)),
        bound: None,
        within: (0.6, 1.0),
    }]
}

fn partition(probes: &[Probe]) -> Vec<Row> {
    let phase = in_force(probes, &PARTITION, is_lost).unwrap_or(PARTITION);
    let passed = sent_in(probes, &phase).filter(|probe| probe.answer.is_some()).count();
    let mut rows = vec![Row {
        phase: "partition",
        quantity: "passes nonetheless",
        unit: "datagrams",
        asked: Some(0.0),
        measured: Some(passed as f64),
        bound: None,
        within: (0.0, 0.0),
    }];
    rows.extend(delays(probes, "partition", &PARTITION, is_lost));
    rows
}

fn clocks(probes: &[Probe]) -> Vec<Row> {
    let is_skewed = |probe: &Probe| probe.offset_s().is_some_and(|offset| offset > SKEWED_S);
    let phase = in_force(probes, &SKEW, is_skewed).unwrap_or(SKEW);
    let offsets: Vec<f64> = sent_in(probes, &phase).filter_map(Probe::offset_s).map(|offset| offset * 1e3).collect();
    let mut rows = vec![Row {
        phase: "clock skew",
        quantity: "offset",
        unit: "ms",
        asked: Some(1500.0),
        measured: percentile(&offsets, 0.5),
        bound: None,
        within: (20.0, 20.0),
    }];
    rows.extend(delays(probes, "clock skew", &SKEW, is_skewed));
    for (quantity, ahead) in [
        ("rate of realtime", Probe::offset_s as fn(&Probe) -> Option<f64>),
        ("rate of monotonic time", Probe::monotonic_ahead_s),
    ] {
        rows.push(Row {
            phase: "clock drift",
            quantity,
            unit: "ppm",
            asked: Some(5000.0),
            measured: drift_ppm(probes, ahead),
            bound: None,
            within: (2500.0, 2500.0),
        });
    }
    rows
}

/// By the faster half of all answers: what waited somewhere says little about clocks.
fn drift_ppm(probes: &[Probe], ahead: impl Fn(&Probe) -> Option<f64>) -> Option<f64> {
    let usual = Duration::from_secs_f64(percentile(&round_trips_ms(probes, &DRIFT), 0.5)? / 1e3);
    let fast = sent_in(probes, &DRIFT).filter(|probe| probe.round_trip().is_some_and(|way| way <= usual));
    let points: Vec<(f64, f64)> = fast.filter_map(|probe| Some((probe.sent.as_secs_f64(), ahead(probe)?))).collect();
    Some(slope(&points)? * 1e6)
}

/// From the time for which a fault was planned to the first probe that it struck, and from there, when it had lasted as
/// long as it was to, to the first that it struck no longer.
fn delays(
    probes: &[Probe],
    phase: &'static str,
    planned: &Range<Duration>,
    is_struck: impl Fn(&Probe) -> bool,
) -> [Row; 2] {
    const WITHIN_MS: f64 = 1000.0;
    let in_force = in_force(probes, planned, &is_struck);
    let due = in_force.as_ref().map(|in_force| in_force.end);
    let gone = due.and_then(|due| first(probes, due, |probe| !is_struck(probe)));
    let after = |then: Option<Duration>, time: Option<Duration>| Some((time? - then?).as_secs_f64() * 1e3);
    let began = in_force.map(|in_force| in_force.start);
    [("in force after", after(Some(planned.start), began)), ("gone after", after(due, gone))].map(
        |(quantity, measured)| Row {
            phase,
            quantity,
            unit: "ms",
            asked: Some(0.0),
            measured,
            bound: None,
            within: (0.0, WITHIN_MS),
        },
    )
}

/// When a fault was in force: from the first probe that it struck, for as long as it was planned.
fn in_force(
    probes: &[Probe],
    planned: &Range<Duration>,
    is_struck: impl Fn(&Probe) -> bool,
) -> Option<Range<Duration>> {
    let began = first(probes, planned.start, is_struck)?;
    Some(began..began + (planned.end - planned.start))
}

/// When the first of these probes was sent, not before `from`.
fn first(probes: &[Probe], from: Duration, is_it: impl Fn(&Probe) -> bool) -> Option<Duration> {
    probes.iter().filter(|probe| probe.sent >= from).find(|probe| is_it(probe)).map(|probe| probe.sent)
}

fn is_lost(probe: &Probe) -> bool {
    probe.answer.is_none()
}

/// Every kind of fault, one after the other, each long gone before the next: the log says when each was in force, and
/// when it was gone.
#[chaos_test(
    world = [sim, real],
    seed = 12,
    plan = "100ms partition test | meter for 150ms
            500ms latency test<->meter 20ms for 150ms
            900ms loss test<->meter 20% for 150ms
            1300ms duplication test<->meter 20% for 150ms
            1700ms reordering test<->meter 20% by 5ms for 150ms
            2100ms corruption test<->meter 20% for 150ms
            2500ms bandwidth test<->meter 1MiB/s for 150ms
            2900ms dns-hijack meter \"test\" answers nxdomain for 150ms
            3300ms clock-skew meter -1h for 150ms
            3700ms clock-drift meter +5000ppm then step for 150ms
            4100ms pause meter for 150ms
            4500ms cpu-burn meter 80% for 150ms
            4900ms task-leak meter 1048000 descriptors for 150ms
            5300ms task-leak meter 63000 threads for 150ms
            5700ms memory-pressure meter 99% for 150ms
            6100ms io-throttle meter 1MiB/s for 150ms
            6500ms disk-full meter for 150ms
            7300ms inode-exhaustion meter for 150ms
            7900ms crash meter by kill restart after 150ms
            8300ms crash meter restart after 150ms"
)]
async fn faults_come_and_go_when_they_are_asked_to(cx: Chaos) -> Result<()> {
    let _meter = cx.host("meter").main(meter::main).start().await?;
    cx.storm(async || tokio::time::sleep(ms(8_800)).await).await;
    Ok(())
}
