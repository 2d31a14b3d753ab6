//! Links that are slow, lossy, narrow or cut.

use crate::figures::{percentile, slope};
use crate::plan::{MARGIN, mark_all, middle, ms, phases};
use crate::rows::{Row, judge};
use crate::stream::{Probe, ask, round_trips_ms, sent_in};
use crate::watch::{Strikes, Watch};
use anyhow::Result;
use std::ops::Range;
use std::time::{Duration, Instant};
use windtunnel::{Chaos, chaos_test};

const PLAN: &str = "800ms latency test<->meter 20ms jitter 5ms for 1200ms
                    2200ms loss test->meter 20% for 1800ms
                    4600ms bandwidth test->meter 1MiB/s queue 64KiB for 1000ms
                    5900ms partition test | meter for 400ms";
const CALM: Range<Duration> = ms(0)..ms(800);
const END: Duration = ms(6900);

const PERCENTILES: [(&str, f64); 3] = [("round trip, p50", 0.5), ("round trip, p90", 0.9), ("round trip, p99", 0.99)];

/// One fault after the other, each for long enough to be measured; nothing else goes wrong.
#[chaos_test(world = [sim, real], seed = 12, plan = PLAN)]
async fn links_are_as_bad_as_they_are_asked_to_be(cx: Chaos) -> Result<()> {
    let _meter = cx.host("meter").main(meter::main).start().await?;
    let [latency_at, loss_at, bandwidth_at, partition_at] = phases(PLAN);
    let probes = cx
        .storm(async || {
            let began = Instant::now();
            let probes = ask("meter", began, Duration::ZERO..END, bandwidth_at.clone());
            tokio::join!(probes, mark_all(&cx, PLAN, began)).0
        })
        .await?;
    if cx.is_calm() {
        return Ok(());
    }
    let mut rows = clear_weather(&probes);
    rows.extend(latency(&probes, &latency_at));
    rows.extend(loss(&probes, &loss_at));
    rows.extend(bandwidth(&probes, &bandwidth_at));
    rows.extend(partition(&probes, &partition_at));
    judge(&rows)
}

fn watch(
    kind: &'static str,
    planned: &Range<Duration>,
    strikes: Strikes,
    probes: &[Probe],
    is_struck: impl Fn(&Probe) -> bool,
) -> Watch {
    Watch::new(kind, planned, strikes, probes.iter().map(|probe| (probe.sent, is_struck(probe))))
}

fn clear_weather(probes: &[Probe]) -> Vec<Row> {
    let calm = round_trips_ms(probes, &middle(&CALM));
    let row = |(quantity, share)| Row::new("clear weather", quantity, "ms").measured(percentile(&calm, share));
    PERCENTILES.map(row).into()
}

/// Two ways of 20 ms, each up to 5 ms more or less: the sum of two uniform distributions is a triangular one from 30 to
/// 50 ms.
fn latency(probes: &[Probe], planned: &Range<Duration>) -> Vec<Row> {
    const JITTER_MS: f64 = 5.0;
    let calm = percentile(&round_trips_ms(probes, &middle(&CALM)), 0.5).unwrap_or(0.0);
    let is_late = |probe: &Probe| probe.round_trip().is_some_and(|way| way > ms(20));
    let watch = watch("latency", planned, Strikes::Each, probes, is_late);
    let late = round_trips_ms(probes, &watch.midst());
    let row = |((quantity, share), above): ((&'static str, f64), f64)| {
        let asked = 40.0 + 2.0 * JITTER_MS * (1.0 - (2.0 * (1.0 - share)).sqrt());
        let measured = percentile(&late, share).map(|late| late - calm);
        Row::new("latency", quantity, "ms").asked(asked, (JITTER_MS, above)).measured(measured)
    };
    let mut rows: Vec<Row> = PERCENTILES.into_iter().zip([100.0, 300.0, 1000.0]).map(row).collect();
    rows[0] = std::mem::replace(&mut rows[0], Row::new("", "", "")).struck(watch.struck());
    rows.extend(watch.delays());
    rows
}

fn loss(probes: &[Probe], planned: &Range<Duration>) -> Vec<Row> {
    let watch = watch("loss", planned, Strikes::Some, probes, Probe::is_lost);
    let mut rows = vec![Row::ratio("loss", "lost", 0.2, watch.struck())];
    rows.extend(watch.delays());
    rows
}

/// What arrives at the other end of a link that is kept full: payload, without headers.
fn bandwidth(probes: &[Probe], planned: &Range<Duration>) -> Vec<Row> {
    // The queue of 64 KiB is full after 37 ms, and then takes 62 ms.
    let is_queued = |probe: &Probe| probe.round_trip().is_none_or(|way| way > ms(10));
    let watch = watch("bandwidth", planned, Strikes::Each, probes, is_queued);
    // Until a moment before the end, what arrives has come through the narrow link.
    let phase = watch.midst();
    let counted = phase.start + MARGIN..phase.end;
    let arrived = probes.iter().filter_map(|probe| probe.answer).filter(|answer| counted.contains(&answer.at));
    // When it came to the meter, by whose clock; how long the answer takes says nothing.
    let mut arrived: Vec<_> = arrived.map(|answer| (answer.reading.monotonic_ns, answer.payload_bytes())).collect();
    arrived.sort_unstable_by_key(|(came_ns, _)| *came_ns);
    let sums = arrived.iter().scan(0.0, |sum, (came_ns, bytes)| {
        *sum += bytes;
        Some((*came_ns as f64 / 1e9, *sum))
    });
    let rate = slope(&sums.collect::<Vec<_>>()).map(|bytes_per_s| bytes_per_s / f64::from(1 << 20));
    let row = Row::new("bandwidth", "rate", "MiB/s").asked(1.0, (0.6, 1.0)).measured(rate);
    let mut rows = vec![row.struck(watch.struck())];
    rows.extend(watch.delays());
    rows
}

fn partition(probes: &[Probe], planned: &Range<Duration>) -> Vec<Row> {
    let watch = watch("partition", planned, Strikes::Each, probes, Probe::is_lost);
    let passed = sent_in(probes, &watch.midst()).filter(|probe| probe.answer.is_some()).count();
    let row = Row::new("partition", "passes nonetheless", "datagrams").asked(0.0, (0.0, 0.0));
    let mut rows = vec![row.measured(Some(passed as f64)).struck(watch.struck())];
    rows.extend(watch.delays());
    rows
}
