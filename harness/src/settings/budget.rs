//! `CHAOS_SHRINK` and `CHAOS_TIME`: how much may be spent.

use crate::duration::IntoDuration as _;
use std::time::Duration;

/// What shrinking one plan may spend: it ends at whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShrinkBudget {
    /// Real time.
    pub(crate) time: Duration,
    /// 0 when plans are not to be shrunk.
    pub(crate) runs: usize,
}

/// Longer than anybody waits, and short enough to be added to any moment.
const UNLIMITED: Duration = Duration::from_secs(10 * 365 * 86_400);

impl Default for ShrinkBudget {
    /// Somebody waits for the result, and most plans take fewer than 80 runs of some milliseconds.
    fn default() -> Self {
        Self { time: Duration::from_secs(60), runs: 500 }
    }
}

/// `CHAOS_SHRINK`: one of the two limits lifts the other.
pub(super) fn shrink(value: &str) -> Result<ShrinkBudget, String> {
    if value == "off" {
        return Ok(ShrinkBudget { time: Duration::ZERO, runs: 0 });
    }
    if let Ok(runs) = value.parse() {
        return Ok(ShrinkBudget { time: UNLIMITED, runs });
    }
    match time(value) {
        Ok(time) => Ok(ShrinkBudget { time: time.min(UNLIMITED), runs: usize::MAX }),
        Err(_) => Err("it takes a real time such as 60s, a number of runs such as 500, or off".to_owned()),
    }
}

pub(super) fn time(value: &str) -> Result<Duration, String> {
    let time = value.into_duration().map_err(|_| "it takes a real time such as 10m or 90s".to_owned())?;
    if time.is_zero() { Err("it takes a real time above 0".to_owned()) } else { Ok(time) }
}
