//! When the faults of a plan begin and end.

use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::time::sleep_until;
use windtunnel::Chaos;
use windtunnel::faults::{Plan, Start};

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// What takes a fault that long to begin or to end is not in the figures of that fault.
pub(crate) const MARGIN: Duration = ms(150);

/// From when until when each fault of a plan is to be in force, in the plan's order, since the storm began.
pub(crate) fn phases<const N: usize>(plan: &str) -> [Range<Duration>; N] {
    let plan: Plan = plan.parse().expect("the plan is one");
    let phases = plan.faults.iter().map(|fault| {
        let Start::At(start) = fault.start else { panic!("`{fault}` begins at no time") };
        start..start + fault.lasts.unwrap_or_default()
    });
    phases.collect::<Vec<_>>().try_into().expect("there are as many faults as names for them")
}

/// Tells the log when each fault of a plan is due.
pub(crate) async fn mark_all(cx: &Chaos, plan: &str, began: Instant) {
    let plan: Plan = plan.parse().expect("the plan is one");
    for fault in &plan.faults {
        let Start::At(start) = fault.start else { panic!("`{fault}` begins at no time") };
        until(began, start).await;
        cx.mark(&format!("{} is due", fault.effect.kind().name()));
    }
}

/// Waits until this long after `began`.
pub(crate) async fn until(began: Instant, after: Duration) {
    sleep_until((began + after).into()).await;
}

/// A range of time without its first and last moments.
pub(crate) fn middle(phase: &Range<Duration>) -> Range<Duration> {
    let margin = MARGIN.min((phase.end - phase.start) / 4);
    phase.start + margin..phase.end - margin
}

/// A range of time with so much of what comes before and after it.
pub(crate) fn around(phase: &Range<Duration>, before: Duration, after: Duration) -> Range<Duration> {
    phase.start.saturating_sub(before)..phase.end + after
}

#[test]
fn a_phase_is_what_the_plan_says() {
    assert_eq!(phases("100ms pause a for 150ms\n2s crash a restart after 1s"), [ms(100)..ms(250), ms(2000)..ms(3000)]);
    assert_eq!(middle(&(ms(100)..ms(300))), ms(150)..ms(250));
    assert_eq!(middle(&(ms(0)..ms(1000))), ms(150)..ms(850));
}
