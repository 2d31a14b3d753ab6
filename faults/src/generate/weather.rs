//! The swarm: which kinds a seed has in play, and how hard they blow.

use super::dice::Dice;
use super::kinds::Kinds;
use super::{Faults, Swarm};
use crate::effect::Kind;
use crate::topology::Topology;

/// How hard a kind blows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intensity {
    /// What happens every day.
    Gentle,
    /// What happens every year.
    Rough,
    /// What must not matter either.
    Wild,
}

/// What a seed has in play.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    /// With the intensity of each, if it is the same for all faults of the kind.
    kinds: Vec<(Kind, Option<Intensity>)>,
}

impl Weather {
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.kinds.iter().map(|(kind, _)| *kind).collect()
    }

    /// How hard the next fault of a kind blows.
    pub(crate) fn intensity(&self, kind: Kind, dice: &mut Dice<'_>) -> Intensity {
        let chosen = self.kinds.iter().find(|(in_play, _)| *in_play == kind).and_then(|(_, intensity)| *intensity);
        chosen.unwrap_or_else(|| draw_intensity(dice))
    }
}

fn draw_intensity(dice: &mut Dice<'_>) -> Intensity {
    *dice.pick(&[Intensity::Gentle, Intensity::Rough, Intensity::Wild]).unwrap_or(&Intensity::Rough)
}

/// Chooses what is in play: with the swarm each kind with an even chance, but at least one.
pub(crate) fn choose(faults: &Faults, dice: &mut Dice<'_>, topology: &Topology) -> Weather {
    let possible = possible(faults.kinds_in_play(), topology);
    if faults.swarm == Swarm::Off {
        return Weather { kinds: possible.into_iter().map(|kind| (kind, None)).collect() };
    }
    let mut kinds = possible.iter().copied().filter(|_| dice.once_in(2)).collect::<Vec<_>>();
    if kinds.is_empty() {
        kinds.extend(dice.pick(&possible));
    }
    Weather { kinds: kinds.into_iter().map(|kind| (kind, Some(draw_intensity(dice)))).collect() }
}

fn possible(kinds: Kinds, topology: &Topology) -> Vec<Kind> {
    let needs_two = |kind| {
        use Kind::{Bandwidth, Corruption, Duplication, Latency, Loss, Partition, Reordering};
        matches!(kind, Partition | Latency | Loss | Duplication | Reordering | Corruption | Bandwidth)
    };
    let (hosts, services) = (topology.members().len(), topology.services().count());
    // Links between parts of the test itself are nobody's concern.
    kinds.iter().filter(|kind| if needs_two(*kind) { hosts >= 2 } else { services >= 1 }).collect()
}
