//! Quantities that were asked for and measured: printed, and judged.

use crate::figures::{DEVIATES_999, at_least, binomial_bound};
use anyhow::{Result, ensure};
use serde::Serialize;

/// A quantity that was asked for, and measured. What `xtask/src/parity` reads.
#[derive(Serialize)]
pub(crate) struct Row {
    /// As plans have it.
    kind: &'static str,
    quantity: &'static str,
    unit: &'static str,
    /// Nothing, where the world is as it is.
    asked: Option<f64>,
    measured: Option<f64>,
    /// How far from what was asked chance alone takes 99.9 % of all measurements, where it is known.
    bound: Option<f64>,
    /// Probes that were struck, and all that were sent while the fault was in force.
    struck: Option<(usize, usize)>,
    /// What share of probes is struck at least, at a confidence of 99.9 %, in percent.
    at_least: Option<f64>,
    /// How far below and above it may lie before the test fails. That the machine is busy makes nothing weaker, but
    /// much later.
    #[serde(skip)]
    within: (f64, f64),
}

/// How many of the probes that a fault is to strike it has to.
const STRUCK_MIN: f64 = 0.9;

impl Row {
    pub(crate) fn new(kind: &'static str, quantity: &'static str, unit: &'static str) -> Self {
        let within = (f64::INFINITY, f64::INFINITY);
        Self { kind, quantity, unit, asked: None, measured: None, bound: None, struck: None, at_least: None, within }
    }

    /// With what was asked for, and how far below and above it the measurement may lie.
    pub(crate) fn asked(self, asked: f64, within: (f64, f64)) -> Self {
        Self { asked: Some(asked), within, ..self }
    }

    /// With what is only shown.
    pub(crate) fn unjudged(self) -> Self {
        Self { asked: None, ..self }
    }

    pub(crate) fn measured(self, measured: Option<f64>) -> Self {
        Self { measured, ..self }
    }

    /// Of a fault that strikes each probe: how many it did.
    pub(crate) fn struck(self, (struck, sent): (usize, usize)) -> Self {
        Self { struck: Some((struck, sent)), at_least: Some(at_least(struck, sent, 0.001) * 100.0), ..self }
    }

    /// A share of probes that chance decides on, in percent.
    pub(crate) fn ratio(kind: &'static str, quantity: &'static str, asked: f64, (hit, all): (usize, usize)) -> Self {
        let bound = |deviates| binomial_bound(asked, all, deviates) * 100.0;
        // Once in two million.
        let within = (bound(5.0), bound(5.0));
        let measured = (all > 0).then(|| hit as f64 / all as f64 * 100.0);
        let row = Self::new(kind, quantity, "%").asked(asked * 100.0, within).measured(measured);
        Self { bound: Some(bound(DEVIATES_999)), struck: Some((hit, all)), ..row }
    }

    /// What it may be wrong by.
    pub(crate) fn bound(self, bound: f64) -> Self {
        Self { bound: Some(bound), ..self }
    }

    fn judge(&self) -> Result<()> {
        let Self { kind, quantity, unit, within: (below, above), .. } = self;
        if let Some(asked) = self.asked {
            let measured = self.measured.unwrap_or(f64::NAN);
            let is_within = (asked - below..=asked + above).contains(&measured);
            ensure!(is_within, "{kind}, {quantity}: {measured} {unit} for {asked}");
        }
        if let (Some((struck, sent)), None) = (self.struck, self.bound) {
            // Of few, one is a tenth soon.
            let is_enough = struck > 0 && (struck + 1) as f64 >= STRUCK_MIN * sent as f64;
            ensure!(is_enough, "{kind}: {struck} of {sent} probes were struck");
        }
        Ok(())
    }
}

/// Prints all, then fails for the first that is not as it was asked for.
pub(crate) fn judge(rows: &[Row]) -> Result<()> {
    for row in rows {
        println!("measured {}", serde_json::to_string(row)?);
    }
    rows.iter().try_for_each(Row::judge)
}

#[test]
fn what_is_far_from_what_was_asked_for_is_an_error() {
    let row = || Row::new("loss", "ratio", "%").asked(20.0, (1.0, 2.0));
    assert!(row().measured(Some(19.5)).judge().is_ok());
    assert!(row().measured(Some(18.0)).judge().is_err() && row().measured(None).judge().is_err());
    assert!(Row::ratio("loss", "ratio", 0.2, (190, 1000)).judge().is_ok());
    assert!(Row::ratio("loss", "ratio", 0.2, (90, 1000)).judge().is_err());
    assert!(Row::new("pause", "gap", "ms").struck((9, 10)).judge().is_ok());
    assert!(Row::new("pause", "gap", "ms").struck((0, 0)).judge().is_err());
    assert!(Row::new("pause", "gap", "ms").struck((70, 80)).judge().is_err());
}
