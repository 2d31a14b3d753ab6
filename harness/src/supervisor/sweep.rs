//! A sweep: one run is recorded, and then each of its hosts loses power after every event of its storm, each time in a
//! case of its own that has the same seed. Until its crash such a case is the run that was recorded.

use super::plans::NO_STORM;
use super::run_case::CaseReport;
use std::num::NonZeroU32;
use std::time::Duration;
use windtunnel_faults::{Crash, Fault, Manner, Plan, Selector, Start};

/// How long a host is down.
const DOWN: Duration = Duration::from_secs(1);
/// The number of the case whose events are swept.
pub(super) const RECORDED: u32 = 1;

/// What is swept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sweep {
    hosts: Vec<String>,
    /// The first event and the last.
    events: (u64, u64),
    stride: u64,
}

impl Sweep {
    /// All that a recorded run has to offer.
    ///
    /// # Errors
    /// A sentence: there is no storm, or nobody in it to crash.
    pub(super) fn of(recorded: &CaseReport, stride: NonZeroU32) -> Result<Self, String> {
        let Some((began, ended)) =
            recorded.storm.as_ref().and_then(|storm| Some((&storm.began, storm.ended.as_ref()?)))
        else {
            return Err(NO_STORM.to_owned());
        };
        let hosts = began.hosts.iter().filter(|(_, _, client)| !client);
        let hosts: Vec<String> = hosts.map(|(name, ..)| name.clone()).collect();
        if hosts.is_empty() {
            return Err("there is no host to crash: those of the test's own cannot be started again".to_owned());
        }
        Ok(Self { hosts, events: (began.event + 1, ended.event), stride: u64::from(stride.get()) })
    }

    fn moments(&self) -> u64 {
        (self.events.1 + 1).saturating_sub(self.events.0).div_ceil(self.stride)
    }

    /// How many cases there are, the recorded one not counted.
    pub(super) fn cases(&self) -> u32 {
        u32::try_from(self.moments().saturating_mul(self.hosts.len() as u64)).unwrap_or(u32::MAX - RECORDED - 1)
    }

    /// The plan of a case; none of the recorded one. Hosts take turns, so that a sweep that is cut short has been
    /// everywhere up to a moment.
    pub(super) fn plan(&self, number: u32) -> Option<Plan> {
        let at = u64::from(number.checked_sub(RECORDED + 1)?);
        let (moment, host) = (at / self.hosts.len() as u64, (at % self.hosts.len() as u64) as usize);
        let crash = Crash { hosts: Selector::name(&self.hosts[host]), manner: Manner::default() };
        let start = Start::AtEvent(self.events.0 + moment * self.stride);
        Some(Plan::new([Fault { start, ..Fault::new(Duration::ZERO, crash).lasting(DOWN) }]))
    }

    /// What is about to happen, for people.
    pub(super) fn announcement(&self) -> String {
        let (hosts, (first, last)) = (self.hosts.join(", "), self.events);
        let each = match self.stride {
            1 => "every event".to_owned(),
            stride => format!("one event in {stride}"),
        };
        let lose = if self.hosts.len() == 1 { "loses" } else { "lose" };
        format!("chaos: sweep: {hosts} {lose} power after {each}, from {first} to {last}, in {} cases", self.cases())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_crashes_after_each_event() {
        let sweep = Sweep { hosts: vec!["a".to_owned(), "b".to_owned()], events: (10, 16), stride: 3 };
        let plans: Vec<String> =
            (RECORDED + 1..=RECORDED + sweep.cases()).map(|n| sweep.plan(n).expect("a plan").to_string()).collect();
        let at = |event: u64, host: &str| format!("at event {event} crash {host} restart after 1s");
        assert_eq!(plans, [at(10, "a"), at(10, "b"), at(13, "a"), at(13, "b"), at(16, "a"), at(16, "b")]);
        assert_eq!(sweep.plan(RECORDED), None);
    }
}
