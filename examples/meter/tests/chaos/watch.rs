//! When a fault was in force, as probes saw it, and how sure that is.

use crate::plan::{middle, ms};
use crate::rows::Row;
use std::ops::Range;
use std::time::Duration;

/// How many of the probes that are sent while a fault is in force it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strikes {
    /// Each.
    Each,
    /// One now and then: that it strikes no more is known by the last that it struck.
    Some,
}

/// After so long it is another fault.
const GONE_WITHIN: Duration = ms(400);
/// How late a fault may be before the test fails.
const WITHIN_MS: f64 = 1000.0;

/// Probes of one fault. All times are since the storm began.
pub(crate) struct Watch {
    kind: &'static str,
    planned: Range<Duration>,
    strikes: Strikes,
    /// When each was sent, and whether it was struck.
    probes: Vec<(Duration, bool)>,
}

impl Watch {
    pub(crate) fn new(
        kind: &'static str,
        planned: &Range<Duration>,
        strikes: Strikes,
        probes: impl IntoIterator<Item = (Duration, bool)>,
    ) -> Self {
        Self { kind, planned: planned.clone(), strikes, probes: probes.into_iter().collect() }
    }

    /// Since when it was in force: the first probe that it struck, not before it was planned.
    fn began(&self) -> Option<Duration> {
        self.first(self.planned.start, true)
    }

    /// When it was certainly in force, without its first and last moments: since the first probe that it struck, until
    /// the time for which its end was planned, before which none ends. One that came very late is believed to have
    /// lasted for its time.
    pub(crate) fn midst(&self) -> Range<Duration> {
        let lasts = self.planned.end - self.planned.start;
        let began = self.began().unwrap_or(self.planned.start);
        let is_late = began - self.planned.start > lasts / 2;
        middle(&(began..if is_late { began + lasts } else { self.planned.end }))
    }

    /// When the first probe was sent, not before `from`, that was struck or was not.
    fn first(&self, from: Duration, struck: bool) -> Option<Duration> {
        self.probes.iter().find(|probe| probe.0 >= from && probe.1 == struck).map(|probe| probe.0)
    }

    /// Since when it has struck no more, counted from when it had lasted as long as it was to.
    fn gone_after(&self) -> Option<Duration> {
        let due = self.began()? + (self.planned.end - self.planned.start);
        match self.strikes {
            Strikes::Each => self.first(due, false).map(|gone| gone - due),
            Strikes::Some => {
                let after = self.probes.iter().filter(|probe| (due..due + GONE_WITHIN).contains(&probe.0));
                let last_struck = after.clone().filter(|probe| probe.1).map(|probe| probe.0).max();
                match last_struck {
                    Some(last) => Some(last - due),
                    None if after.clone().next().is_some() => Some(Duration::ZERO),
                    None => self.first(due, false).map(|gone| gone - due),
                }
            }
        }
    }

    /// From the time for which a fault was planned to the first probe that it struck, and from there, when it had
    /// lasted as long as it was to, to the first that it struck no longer.
    pub(crate) fn delays(&self) -> Vec<Row> {
        vec![self.in_force_after(), delay(self.kind, GONE_AFTER, self.gone_after())]
    }

    /// The first of both: what stays has no second.
    pub(crate) fn in_force_after(&self) -> Row {
        delay(self.kind, IN_FORCE_AFTER, self.began().map(|began| began - self.planned.start))
    }

    /// How many probes were struck, of how many, while it was in force. Where a machine was too busy for any then: all
    /// those that were struck.
    pub(crate) fn struck(&self) -> (usize, usize) {
        let phase = self.midst();
        let struck = self.probes.iter().filter(|probe| probe.1);
        let struck_then = struck.clone().filter(|probe| phase.contains(&probe.0)).count();
        match self.probes.iter().filter(|probe| phase.contains(&probe.0)).count() {
            0 => (struck.clone().count(), struck.count()),
            sent_then => (struck_then, sent_then),
        }
    }
}

/// Of a fault that strikes every probe: which share it struck, and how late it was.
pub(crate) fn all_struck(
    kind: &'static str,
    quantity: &'static str,
    planned: &Range<Duration>,
    probes: impl IntoIterator<Item = (Duration, bool)>,
) -> Vec<Row> {
    let watch = Watch::new(kind, planned, Strikes::Each, probes);
    let (struck, sent) = watch.struck();
    let share = (sent > 0).then(|| struck as f64 / sent as f64 * 100.0);
    let row = Row::new(kind, quantity, "%").asked(100.0, (10.0, 0.0)).measured(share);
    let mut rows = vec![row.struck((struck, sent))];
    rows.extend(watch.delays());
    rows
}

const IN_FORCE_AFTER: &str = "in force after";
const GONE_AFTER: &str = "gone after";

fn delay(kind: &'static str, quantity: &'static str, delay: Option<Duration>) -> Row {
    let row = Row::new(kind, quantity, "ms").asked(0.0, (0.0, WITHIN_MS));
    row.measured(delay.map(|delay| delay.as_secs_f64() * 1e3))
}

/// As [`Watch::delays`], of a fault whose times are known otherwise.
pub(crate) fn delays(kind: &'static str, in_force_after_s: Option<f64>, gone_after_s: Option<f64>) -> Vec<Row> {
    let row = |quantity, delay_s: Option<f64>| {
        let row = Row::new(kind, quantity, "ms").asked(0.0, (WITHIN_MS / 10.0, WITHIN_MS));
        row.measured(delay_s.map(|delay_s| delay_s * 1e3))
    };
    vec![row(IN_FORCE_AFTER, in_force_after_s), row(GONE_AFTER, gone_after_s)]
}

#[test]
fn a_fault_is_in_force_from_the_first_probe_that_it_strikes() {
    let planned = ms(10)..ms(50);
    let probes = |strikes: &[u64]| (0..100).map(|at| (ms(at), strikes.contains(&at))).collect::<Vec<_>>();
    let each = Watch::new("pause", &planned, Strikes::Each, probes(&(5..60).collect::<Vec<_>>()));
    assert_eq!((each.midst(), each.gone_after()), (ms(20)..ms(40), Some(ms(10))));
    assert_eq!(each.struck(), (20, 20));
    let some = Watch::new("loss", &planned, Strikes::Some, probes(&[13, 20, 40, 55]));
    assert_eq!((some.began(), some.gone_after()), (Some(ms(13)), Some(ms(2))));
    let late = Watch::new("pause", &planned, Strikes::Each, probes(&(40..80).collect::<Vec<_>>()));
    assert_eq!((late.midst(), late.gone_after()), (ms(50)..ms(70), Some(ms(0))));
    let few = Watch::new("pause", &planned, Strikes::Each, [(ms(11), true), (ms(55), false)]);
    assert_eq!((few.struck(), few.gone_after()), ((1, 1), Some(ms(4))));
    let none = Watch::new("loss", &planned, Strikes::Some, probes(&[]));
    assert_eq!((none.began(), none.gone_after()), (None, None));
}
