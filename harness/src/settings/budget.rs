//! `CHAOS_SHRINK` and `CHAOS_TIME`: how much may be spent.

use crate::duration::IntoDuration as _;
use std::num::NonZeroU32;
use std::time::Duration;

/// `CHAOS_SHRINK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShrinkSetting {
    /// A failing plan is reported as it was drawn.
    Off,
    /// At most so many runs, however long they take.
    Runs(NonZeroU32),
    /// At most so much real time, however many runs that is.
    Time(Duration),
}

/// What shrinking one plan may spend: it ends at whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShrinkBudget {
    /// 0 when plans are not to be shrunk.
    pub(crate) runs: usize,
    /// Real time; `None` for no limit.
    pub(crate) time: Option<Duration>,
}

impl Default for ShrinkBudget {
    /// Somebody waits for the result, and most plans take fewer than 80 runs of some milliseconds.
    fn default() -> Self {
        Self { runs: 500, time: Some(Duration::from_secs(60)) }
    }
}

impl From<ShrinkSetting> for ShrinkBudget {
    fn from(setting: ShrinkSetting) -> Self {
        match setting {
            ShrinkSetting::Off => Self { runs: 0, time: None },
            ShrinkSetting::Runs(runs) => Self { runs: runs.get() as usize, time: None },
            ShrinkSetting::Time(time) => Self { runs: usize::MAX, time: Some(time) },
        }
    }
}

pub(super) fn shrink(value: &str) -> Result<ShrinkSetting, String> {
    if matches!(value, "0" | "off") {
        return Ok(ShrinkSetting::Off);
    }
    if let Ok(runs) = value.parse() {
        return Ok(ShrinkSetting::Runs(runs));
    }
    time(value)
        .map(ShrinkSetting::Time)
        .map_err(|_| "it takes a real time such as 60s, a number of runs such as 500, or off".to_owned())
}

pub(super) fn time(value: &str) -> Result<Duration, String> {
    let time = value.into_duration().map_err(|_| "it takes a real time such as 10m or 90s".to_owned())?;
    if time.is_zero() { Err("it takes a real time above 0".to_owned()) } else { Ok(time) }
}
