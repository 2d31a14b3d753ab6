//! Packets that come twice, in another order, or with other bits.

use crate::plan::{mark_all, ms, phases};
use crate::rows::{Row, judge};
use crate::stream::{NEVER, Probe, ask};
use crate::watch::{Strikes, Watch};
use anyhow::Result;
use std::ops::Range;
use std::time::{Duration, Instant};
use windtunnel::{Chaos, chaos_test};

const PLAN: &str = "200ms duplication test->meter 20% for 1100ms
                    1800ms reordering test->meter 20% by 20ms for 1100ms
                    3400ms corruption test->meter 20% for 1100ms";
const SHARE: f64 = 0.2;
const END: Duration = ms(5000);

#[chaos_test(world = [sim, real], seed = 12, plan = PLAN)]
async fn packets_suffer_as_often_as_they_are_asked_to(cx: Chaos) -> Result<()> {
    let _meter = cx.host("meter").main(meter::main).start().await?;
    let [duplication, reordering, corruption] = phases(PLAN);
    let probes = cx
        .storm(async || {
            let began = Instant::now();
            tokio::join!(ask("meter", began, Duration::ZERO..END, NEVER), mark_all(&cx, PLAN, began)).0
        })
        .await?;
    if cx.is_calm() {
        return Ok(());
    }
    let overtaken = overtaken(&probes);
    let mut rows = rows("duplication", "came twice", &duplication, &probes, |index| probes[index].answers > 1);
    rows.extend(self::rows("reordering", "overtaken", &reordering, &probes, |index| overtaken[index]));
    // Of one whose header has flipped nobody knows which it is.
    let is_corrupt = |probe: &Probe| probe.answer.is_none_or(|answer| answer.reading.flipped > 0);
    rows.extend(self::rows("corruption", "flipped", &corruption, &probes, |index| is_corrupt(&probes[index])));
    judge(&rows)
}

fn rows(
    kind: &'static str,
    quantity: &'static str,
    planned: &Range<Duration>,
    probes: &[Probe],
    is_struck: impl Fn(usize) -> bool,
) -> Vec<Row> {
    let sightings = probes.iter().enumerate().map(|(index, probe)| (probe.sent, is_struck(index)));
    let watch = Watch::new(kind, planned, Strikes::Some, sightings);
    let mut rows = vec![Row::ratio(kind, quantity, SHARE, watch.struck())];
    rows.extend(watch.delays());
    rows
}

/// Who was held back for 20 ms is overtaken by so many at least; now and then one overtakes another in good weather.
const EXTENT_MIN: usize = 5;
/// How many of those that were sent later are looked at.
const LATER: usize = 100;

/// Which of them arrived after several that were sent later: what RFC 4737 calls reordered, with the extent of section
/// 4.2, by the meter's own count. Their times do not matter.
fn overtaken(probes: &[Probe]) -> Vec<bool> {
    let arrival = |probe: &Probe| Some(probe.answer?.reading.arrival);
    let is_overtaken = |(index, probe): (usize, &Probe)| {
        let later = probes.iter().skip(index + 1).take(LATER).filter_map(arrival);
        arrival(probe).is_some_and(|own| later.filter(|later| *later < own).count() >= EXTENT_MIN)
    };
    probes.iter().enumerate().map(is_overtaken).collect()
}
