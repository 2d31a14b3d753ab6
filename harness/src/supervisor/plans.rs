//! Which faults a case has: none in the rehearsal, those of the test's own plan, or those that its seed draws for the
//! hosts and the time that the rehearsal showed.

use super::run_case::CaseReport;
use super::sweep::Sweep;
use crate::cases::Case;
use crate::definition::TestDefinition;
use crate::duration::for_people;
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::time::Duration;
use windtunnel_faults::{Faults, Plan, Topology, Window};

/// More than anybody reads, and far less than an order has room for.
const FAULTS_MAX: usize = 1000;
/// A workload that takes no virtual time at all gives no time for faults; they get this.
const WINDOW_MIN: Duration = Duration::from_millis(1);

/// Why faults that were ordered could not be tried.
pub(super) const NO_STORM: &str = "the test has faults, but its body never called `cx.storm(..)`: put the workload \
                                   that the faults are to strike into `cx.storm(async || …).await`";

/// The plans of a test.
#[derive(Debug)]
pub(crate) struct Plans {
    source: Source,
    rehearsed: OnceLock<Rehearsed>,
}

#[derive(Debug)]
enum Source {
    /// No faults but those by hand.
    Nothing,
    /// The same in every case.
    Pinned(Plan),
    /// Each seed has its own.
    Drawn(Faults),
    /// None in the first case; in each of the others a host crashes after one of the first one's events.
    Swept(OnceLock<Sweep>),
}

/// What the rehearsal showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rehearsed {
    pub(crate) topology: Topology,
    /// How long the storm's workload ran.
    pub(crate) window: Duration,
}

impl Plans {
    /// What the attribute says.
    ///
    /// # Errors
    /// A sentence: the plan cannot be read, or a fault cannot be done.
    pub(super) fn of(definition: &TestDefinition) -> Result<Self, String> {
        let source = match (definition.plan, &definition.faults) {
            (Some(text), _) => Source::Pinned(pinned(text)?),
            (None, Some(faults)) => Source::Drawn(drawn(faults)?),
            (None, None) => Source::Nothing,
        };
        Ok(Self { source, rehearsed: OnceLock::new() })
    }

    /// The same plan in every case, whatever the test says.
    pub(super) fn pinned(plan: Plan) -> Self {
        Self { source: Source::Pinned(plan), rehearsed: OnceLock::new() }
    }

    /// One crash in each case, at all moments of one run.
    pub(super) fn swept() -> Self {
        Self { source: Source::Swept(OnceLock::new()), rehearsed: OnceLock::new() }
    }

    /// Learns from a sweep's first case what there is to be swept; answers it.
    ///
    /// # Errors
    /// A sentence: there is no storm, or nobody in it to crash.
    pub(super) fn sweep(&self, first: &CaseReport, stride: NonZeroU32) -> Result<&Sweep, String> {
        let Source::Swept(sweep) = &self.source else { return Err("no sweep was asked for".to_owned()) };
        let found = Sweep::of(first, stride)?;
        Ok(sweep.get_or_init(|| found))
    }

    /// Whether each seed has a plan of its own. One that somebody wrote is as small as they want it.
    pub(super) fn are_drawn(&self) -> bool {
        matches!(self.source, Source::Drawn(_))
    }

    /// Whether plans can only be drawn after a rehearsal.
    pub(super) fn need_rehearsal(&self) -> bool {
        matches!(self.source, Source::Drawn(_)) && self.rehearsed.get().is_none()
    }

    /// Learns from the rehearsal for what plans are drawn.
    ///
    /// # Errors
    /// A sentence: there is nothing for which a plan could be drawn.
    pub(super) fn learn(&self, rehearsal: &CaseReport) -> Result<(), String> {
        if matches!(self.source, Source::Nothing | Source::Swept(_)) {
            return Ok(());
        }
        let Some(storm) = &rehearsal.storm else {
            return Err(NO_STORM.to_owned());
        };
        let mut topology = Topology::new();
        for (name, group, client) in &storm.began.hosts {
            if *client { topology.add_client(name) } else { topology.add(name, group) }
        }
        let window = storm.length().unwrap_or_default().max(WINDOW_MIN);
        let rehearsed = self.rehearsed.get_or_init(|| Rehearsed { topology, window });
        match &self.source {
            Source::Drawn(faults) if nothing_is_drawn(faults, rehearsed) => {
                let hosts: Vec<&str> = rehearsed.topology.members().iter().map(|host| host.name.as_str()).collect();
                Err(format!(
                    "no fault could be drawn: when the storm began there were the hosts {}; faults of links need two, \
                     crashes and pauses one that is not the test's own",
                    hosts.join(", ")
                ))
            }
            _ => Ok(()),
        }
    }

    /// What the rehearsal showed, once it has run.
    pub(super) fn rehearsed(&self) -> Option<&Rehearsed> {
        self.rehearsed.get()
    }

    /// The faults of a case.
    pub(super) fn plan(&self, case: Case) -> Plan {
        match (&self.source, self.rehearsed.get()) {
            (Source::Pinned(plan), _) if !case.calm => plan.clone(),
            (Source::Drawn(faults), Some(Rehearsed { topology, window })) if !case.calm => {
                faults.draw(case.seed, topology, *window)
            }
            (Source::Swept(sweep), _) if !case.calm => {
                sweep.get().and_then(|sweep| sweep.plan(case.number)).unwrap_or_default()
            }
            _ => Plan::default(),
        }
    }

    /// For what plans are drawn, for people.
    pub(super) fn announcement(&self) -> Option<String> {
        match (&self.source, self.rehearsed.get()) {
            (Source::Drawn(faults), Some(Rehearsed { window, .. })) => {
                let kinds: Vec<&str> = faults.kinds_in_play().iter().map(|kind| kind.name()).collect();
                Some(format!("chaos: the storm takes {}; faults: {}", for_people(*window), kinds.join(", ")))
            }
            _ => None,
        }
    }
}

/// Whether seeds draw nothing. One may well draw nothing where another does: each has kinds of its own.
fn nothing_is_drawn(faults: &Faults, Rehearsed { topology, window }: &Rehearsed) -> bool {
    const SEEDS: u64 = 64;
    (0..SEEDS).all(|seed| faults.draw(seed, topology, *window).faults.is_empty())
}

fn pinned(text: &str) -> Result<Plan, String> {
    let plan: Plan = text.parse().map_err(|error| format!("`plan` cannot be read\n{error}"))?;
    plan.validate().map_err(|problems| format!("`plan` makes no sense:\n{problems}"))?;
    if plan.faults.is_empty() {
        return Err("`plan` has no faults: leave it out, or write some, such as `1s pause kv1 for 2s`".to_owned());
    }
    Ok(plan)
}

fn drawn(faults: &Faults) -> Result<Faults, String> {
    if faults.most() == 0 {
        return Err("`faults` asks for at most 0 faults in a plan: leave it out, or ask for more".to_owned());
    }
    if let Some(Window { from, until }) = faults.window().filter(|window| window.from > window.until) {
        let (from, until) = (for_people(from), for_people(until));
        return Err(format!("`faults` are to begin within {from}..{until}, which ends before it begins"));
    }
    if faults.most() > FAULTS_MAX {
        return Err(format!("`faults` asks for up to {} faults in a plan; at most {FAULTS_MAX} fit", faults.most()));
    }
    Ok(faults.clone())
}
