//! Whether a plan makes sense: by itself, and for the hosts of a test.

use crate::duration::{LONGEST, Shown};
use crate::effect::dns::Answer;
use crate::effect::{Complaint, Effect, Target};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::selector::ResolveError;
use crate::start::Start;
use crate::topology::{Link, Member, Part, Topology};
use std::fmt::{self, Display, Formatter};
use thiserror::Error;

/// A fault that makes no sense: which one, which of its fields, the value, and what would be right.
///
/// ```
/// use windtunnel_faults::{Plan, Topology};
///
/// let plan = "1s pause kv1 for 1s; 2s loss kv0->kv1 0% for 1s".parse::<Plan>()?;
/// let errors = plan.validate().unwrap_err();
/// assert_eq!(
///     errors.to_string(),
///     "fault 2, `2s loss kv0->kv1 0% for 1s`: the field `probability` is `0%`: nothing would be lost; \
///      write more than `0%`"
/// );
///
/// let errors = plan.validate_for(&Topology::new().group("kv", 1)).unwrap_err();
/// assert!(errors.to_string().contains("there is no host `kv1`; there is `kv0`"), "{errors}");
/// # Ok::<(), windtunnel_faults::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("fault {number}, `{fault}`: the field `{field}` is `{value}`: {kind}")]
pub struct Invalid {
    /// Its place in the plan, from 1.
    pub number: usize,
    /// The fault.
    pub fault: String,
    /// The field.
    pub field: &'static str,
    /// What the field says.
    pub value: String,
    /// What is wrong with that.
    pub kind: InvalidKind,
}

/// What is wrong with a field of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidKind {
    /// It makes no sense, whatever the hosts.
    #[error("{problem}; {remedy}")]
    Senseless {
        /// Why.
        problem: String,
        /// What would be right.
        remedy: String,
    },
    /// It does not fit the hosts that there are.
    #[error(transparent)]
    Unresolved(#[from] ResolveError),
    /// It would strike a host that runs a part of the test.
    #[error("{host} runs a part of the test, of which only the links can fail; name a host that runs a program")]
    StrikesClient {
        /// The host.
        host: String,
    },
}

/// Every fault of a plan that makes no sense; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPlan {
    /// The first problem of each of these faults, in the plan's order.
    pub problems: Vec<Invalid>,
}

impl Display for InvalidPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let problems = self.problems.iter().map(Invalid::to_string).collect::<Vec<_>>();
        f.write_str(&problems.join("\n"))
    }
}

impl std::error::Error for InvalidPlan {}

/// The concrete hosts or links that a fault strikes; the result of [`Fault::resolve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Struck<'t> {
    /// Hosts, in the topology's order.
    Hosts(Vec<&'t Member>),
    /// Links; those of a partition are the ones that it cuts.
    Links(Vec<Link<'t>>),
}

impl Fault {
    /// What it strikes; at least one host or link.
    ///
    /// ```
    /// use windtunnel_faults::{Fault, Struck, Topology};
    ///
    /// let topology = Topology::new().group("kv", 3);
    /// let fault = "1s loss kv0->kv* 30%".parse::<Fault>()?;
    /// let Struck::Links(links) = fault.resolve(&topology)? else { unreachable!() };
    /// assert_eq!(links.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A host does not exist; the error names it, and what exists.
    pub fn resolve<'t>(&self, topology: &'t Topology) -> Result<Struck<'t>, ResolveError> {
        match self.effect.target() {
            Target::Hosts(hosts) => hosts.resolve_services(topology).map(Struck::Hosts),
            Target::Links(links) => links.resolve(topology).map(Struck::Links),
            Target::Cut(partition) => partition.resolve(topology).map(Struck::Links),
        }
    }

    /// The first thing in it that makes no sense, whatever the hosts.
    fn complaint(&self) -> Option<Complaint> {
        if let Start::AfterMark { mark, .. } = &self.start
            && (mark.is_empty() || mark.contains(char::is_control))
        {
            let remedy = "write the name that the test passes to `cx.mark`, in one line";
            return Some(Complaint::new("at", mark.escape_debug(), "it is no name of a mark", remedy));
        }
        if self.lasts.is_some_and(|length| length.is_zero()) {
            let remedy = "write more, or leave it out to last until the storm ends";
            return Some(Complaint::new("for", Shown(std::time::Duration::ZERO), "nothing would happen", remedy));
        }
        let offset = match self.start {
            Start::At(time) | Start::AfterMark { offset: time, .. } => time,
            Start::AtEvent(_) => std::time::Duration::ZERO,
        };
        for (field, time) in [("at", offset), ("for", self.lasts.unwrap_or_default())] {
            if time > LONGEST {
                return Some(Complaint::new(field, Shown(time), "it is longer than 500 years", "write less"));
            }
        }
        let mut effect = self.effect.clone();
        let misspelt = effect.selectors_mut().into_iter().find_map(|selector| selector.problem());
        if let Some((value, remedy)) = misspelt {
            return Some(Complaint::new(self.target_field(), value, "it names no hosts", remedy));
        }
        self.effect.complaint()
    }

    fn target_field(&self) -> &'static str {
        match self.effect.target() {
            Target::Hosts(_) => "hosts",
            Target::Links(_) => "links",
            Target::Cut(_) => "partition",
        }
    }

    fn target_text(&self) -> String {
        match self.effect.target() {
            Target::Hosts(hosts) => hosts.to_string(),
            Target::Links(links) => links.to_string(),
            Target::Cut(partition) => partition.to_string(),
        }
    }

    fn problem(&self, topology: Option<&Topology>) -> Option<(&'static str, String, InvalidKind)> {
        if let Some(Complaint { field, value, problem, remedy }) = self.complaint() {
            return Some((field, value, InvalidKind::Senseless { problem, remedy }));
        }
        let topology = topology?;
        if let Err(error) = self.resolve(topology) {
            return Some((self.target_field(), self.target_text(), error.into()));
        }
        if let Ok(Struck::Hosts(hosts)) = self.resolve(topology)
            && let Some(client) = hosts.iter().find(|host| host.part == Part::Client)
        {
            let kind = InvalidKind::StrikesClient { host: client.name.clone() };
            return Some((self.target_field(), self.target_text(), kind));
        }
        match &self.effect {
            Effect::DnsHijack(hijack) => match &hijack.answer {
                Answer::Host(host) => {
                    let error = crate::Selector::name(host).resolve(topology).err()?;
                    Some(("answer", host.clone(), error.into()))
                }
                Answer::Address(_) | Answer::NoSuchName | Answer::Failure | Answer::Nothing | Answer::Late(_) => None,
            },
            _ => None,
        }
    }
}

impl Plan {
    /// Whether every fault makes sense, whatever the hosts.
    ///
    /// # Errors
    /// All that do not, each with field, value and remedy.
    pub fn validate(&self) -> Result<(), InvalidPlan> {
        self.check(None)
    }

    /// Whether every fault makes sense for these hosts.
    ///
    /// # Errors
    /// All that do not, each with field, value and remedy; a host that does not exist comes with those that do.
    pub fn validate_for(&self, topology: &Topology) -> Result<(), InvalidPlan> {
        self.check(Some(topology))
    }

    fn check(&self, topology: Option<&Topology>) -> Result<(), InvalidPlan> {
        let mut problems = Vec::new();
        for (fault, number) in self.faults.iter().zip(1..) {
            if let Some((field, value, kind)) = fault.problem(topology) {
                problems.push(Invalid { number, fault: fault.to_string(), field, value, kind });
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(InvalidPlan { problems }) }
    }
}
