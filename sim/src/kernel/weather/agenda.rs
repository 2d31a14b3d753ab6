//! When which fault of a plan begins and ends.

use crate::weather::{Begins, Fault};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What happens to a fault, in this order if at the same instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Turn {
    Begins,
    Ends,
}

/// When which fault of a plan begins and ends.
#[derive(Default)]
pub(super) struct Agenda {
    /// Virtual time, the fault's place in the plan, and what happens to it: in the order in which it is carried out.
    pub(super) due: BTreeSet<(u64, usize, Turn)>,
    /// Faults that wait for a label.
    waiting: BTreeMap<String, Vec<usize>>,
    /// Faults that wait for an event, by its number.
    pub(super) awaited: BTreeSet<(u64, usize)>,
}

impl Agenda {
    /// The agenda of a plan that begins now.
    pub(super) fn new(faults: &[Fault], now: u64) -> Agenda {
        let mut agenda = Agenda::default();
        for (number, fault) in faults.iter().enumerate() {
            match &fault.begins {
                Begins::At(after) => {
                    agenda.enter(number, fault, now, *after);
                }
                Begins::Mark { label, .. } => agenda.waiting.entry(label.clone()).or_default().push(number),
                Begins::Event(event) => drop(agenda.awaited.insert((*event, number))),
            }
        }
        agenda
    }

    /// Enters a fault that begins this long after now; answers when it begins and ends. What virtual time cannot count
    /// to does not happen.
    pub(super) fn enter(&mut self, number: usize, fault: &Fault, now: u64, after: Duration) -> [Option<u64>; 2] {
        let begins = later(now, after);
        let ends = begins.and_then(|begins| later(begins, fault.lasts));
        self.due.extend(begins.map(|at| (at, number, Turn::Begins)));
        self.due.extend(ends.map(|at| (at, number, Turn::Ends)));
        [begins, ends]
    }

    /// The faults that wait for this label: none if it has come before.
    pub(super) fn marked(&mut self, label: &str) -> Vec<usize> {
        self.waiting.remove(label).unwrap_or_default()
    }

    /// The faults whose event has happened.
    pub(super) fn reached(&mut self, event: u64) -> Vec<usize> {
        let later = self.awaited.split_off(&(event + 1, 0));
        std::mem::replace(&mut self.awaited, later).into_iter().map(|(_, number)| number).collect()
    }

    /// What is to be carried out next, if it is due.
    pub(super) fn take_due(&mut self, now: u64) -> Option<(usize, Turn)> {
        let (at, number, turn) = *self.due.first()?;
        (at <= now).then(|| {
            self.due.pop_first();
            (number, turn)
        })
    }
}

/// A time this long after another, unless virtual time ends before.
fn later(now: u64, after: Duration) -> Option<u64> {
    now.checked_add(u64::try_from(after.as_nanos()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::Turn::{Begins as Begin, Ends as End};
    use super::{Agenda, Turn};
    use crate::weather::{Begins, Fault, FaultKind};
    use crate::world::HostId;
    use std::time::Duration;

    const NOW: u64 = 1_000;

    fn ns(ns: u64) -> Duration {
        Duration::from_nanos(ns)
    }

    fn fault(begins: Begins, lasts: Duration) -> Fault {
        Fault { begins, lasts, kind: FaultKind::Pause { host: HostId(1) } }
    }

    fn at(after: u64, lasts: u64) -> Fault {
        fault(Begins::At(ns(after)), ns(lasts))
    }

    fn labelled(label: &str, after: u64) -> Fault {
        fault(Begins::Mark { label: label.to_owned(), after: ns(after) }, ns(1))
    }

    fn due(agenda: &mut Agenda, now: u64) -> Vec<(usize, Turn)> {
        std::iter::from_fn(|| agenda.take_due(now)).collect()
    }

    #[test]
    fn nothing_is_due_before_its_time_and_everything_once() {
        let mut agenda = Agenda::new(&[at(5, 10)], NOW);
        assert_eq!(due(&mut agenda, NOW + 4), []);
        assert_eq!(due(&mut agenda, NOW + 5), [(0, Begin)]);
        assert_eq!(due(&mut agenda, NOW + 14), []);
        assert_eq!(due(&mut agenda, NOW + 1_000), [(0, End)]);
        assert_eq!(due(&mut agenda, u64::MAX), []);
    }

    #[test]
    fn an_instant_follows_the_plan_and_a_fault_of_no_length_still_begins_and_ends() {
        let mut agenda = Agenda::new(&[at(5, 0), at(0, 5), at(5, 1), at(3, 2)], NOW);
        assert_eq!(due(&mut agenda, NOW + 3), [(1, Begin), (3, Begin)]);
        assert_eq!(due(&mut agenda, NOW + 5), [(0, Begin), (0, End), (1, End), (2, Begin), (3, End)]);
    }

    #[test]
    fn time_that_has_leapt_is_caught_up_with_in_order_of_time() {
        let mut agenda = Agenda::new(&[at(5, 5), at(0, 7)], NOW);
        assert_eq!(due(&mut agenda, NOW + 100), [(1, Begin), (0, Begin), (1, End), (0, End)]);
    }

    #[test]
    fn what_virtual_time_cannot_count_to_does_not_come() {
        let mut agenda = Agenda::new(&[fault(Begins::At(ns(1)), Duration::MAX), at(u64::MAX, 1)], NOW);
        assert_eq!(due(&mut agenda, u64::MAX), [(0, Begin)]);
    }

    #[test]
    fn a_label_concerns_those_that_wait_for_it_once() {
        let plan = [labelled("a", 2), labelled("b", 0), labelled("a", 0), at(3, 1)];
        let mut agenda = Agenda::new(&plan, NOW);
        for number in agenda.marked("a") {
            let Begins::Mark { after, .. } = plan[number].begins else { unreachable!() };
            agenda.enter(number, &plan[number], NOW + 1, after);
        }
        assert_eq!(agenda.marked("a"), [0; 0]);
        assert_eq!(due(&mut agenda, NOW + 3), [(2, Begin), (2, End), (0, Begin), (3, Begin)]);
        assert_eq!(agenda.marked("b"), [1]);
    }
}
