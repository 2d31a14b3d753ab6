//! When a replica counts: from fresh, by founding or by resynchronisation, to ready. Pure.
//!
//! A replica is [`Fresh`](Phase::Fresh) when it starts, and a fresh replica may have lost what a
//! former life acknowledged. Only a [`Ready`](Phase::Ready) one answers reads, holds writes and
//! gives snapshots. The question is when "we are all empty" means *nobody ever held anything*:
//!
//! - A fresh replica founds when every peer has answered, since it started, that it is not ready.
//! - A [`Founding`](Phase::Founding) one is ready when every peer is at least founding, or any is
//!   ready.
//! - A fresh one whose peers are all ready takes a snapshot of each, and is then ready.
//! - In all other cases it asks again later.
//!
//! **A founding replica has lost nothing that was acknowledged.** Suppose its former life had
//! acknowledged something: then some peer was ready at that time. That peer does not lose its
//! memory before this replica is ready again (one at a time), so it answers "ready", and this
//! replica does not found.
//!
//! **Nobody is stuck** while peers can be reached, one replica at most being fresh after the
//! barrier. Before anybody is ready, each fresh replica sees only fresh and founding ones and
//! founds; once all have, all become ready. From the first ready replica on, founding ones follow
//! it, and a replica that starts afresh sees all others ready in the end. That is why founding is a
//! phase of its own: if a fresh replica went straight to ready, the first to do so would look to
//! the others as though it survived a crash of the third, and they would wait for each other.

use serde::{Deserialize, Serialize};

/// How far a replica has come since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Just started; may have lost what its former life held.
    Fresh,
    /// Knows that the cluster holds nothing yet, but not that everybody knows.
    Founding,
    /// Holds all it ever acknowledged; counts in majorities.
    Ready,
}

/// What a replica should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask again later.
    Wait,
    /// Become [`Phase::Founding`].
    Found,
    /// Take a snapshot of every peer, then become [`Phase::Ready`].
    Resync,
    /// Become [`Phase::Ready`].
    Serve,
}

/// What a replica in phase `own` should do, given what each peer answered; `None` for one that did
/// not.
pub(crate) fn next(own: Phase, peers: &[Option<Phase>]) -> Step {
    let all = |holds: fn(Phase) -> bool| peers.iter().all(|peer| peer.is_some_and(holds));
    let any_ready = peers.contains(&Some(Phase::Ready));
    match own {
        Phase::Fresh if all(|peer| peer < Phase::Ready) => Step::Found,
        Phase::Fresh if all(|peer| peer == Phase::Ready) => Step::Resync,
        Phase::Founding if any_ready || all(|peer| peer >= Phase::Founding) => Step::Serve,
        Phase::Fresh | Phase::Founding | Phase::Ready => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::Phase::{Founding, Fresh, Ready};
    use super::*;

    #[test]
    fn a_replica_alone_founds_and_serves() {
        assert_eq!(next(Fresh, &[]), Step::Found);
        assert_eq!(next(Founding, &[]), Step::Serve);
    }

    #[test]
    fn a_fresh_replica_decides_nothing_without_an_answer_from_everybody() {
        for answered in [Fresh, Founding, Ready] {
            assert_eq!(next(Fresh, &[Some(answered), None]), Step::Wait);
        }
    }

    #[test]
    fn a_fresh_replica_resyncs_only_when_all_peers_are_ready() {
        assert_eq!(next(Fresh, &[Some(Ready), Some(Ready)]), Step::Resync);
        assert_eq!(next(Fresh, &[Some(Ready), Some(Founding)]), Step::Wait);
        assert_eq!(next(Fresh, &[Some(Ready), Some(Fresh)]), Step::Wait, "a majority lost its memory");
    }

    #[test]
    fn a_founding_replica_follows_one_that_is_ready() {
        assert_eq!(next(Founding, &[Some(Ready), None]), Step::Serve);
        assert_eq!(next(Founding, &[Some(Fresh), Some(Founding)]), Step::Wait);
    }

    /// Explores every order in which three replicas ask, answers are received and replicas crash,
    /// losing their memory, one at a time: none founds that may have lost a write, and once the
    /// crashes end all are ready.
    #[test]
    fn every_schedule_of_a_start_with_crashes_is_safe_and_ends_with_all_ready() {
        let mut seen = std::collections::HashSet::new();
        let mut to_visit = vec![World::new()];
        while let Some(world) = to_visit.pop() {
            if !seen.insert(world.clone()) {
                continue;
            }
            assert_eq!(world.without_more_crashes().phases, [Ready; 3], "stuck after {world:?}");
            for replica in 0..3 {
                to_visit.extend((0..3).filter(|&peer| peer != replica).map(|peer| world.ask(replica, peer)));
                to_visit.extend(world.crash(replica));
            }
        }
        assert!(seen.len() > 1_000, "only {} states", seen.len());
    }

    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct World {
        phases: [Phase; 3],
        /// What each replica has been answered by each peer in its present round of questions.
        answers: [[Option<Phase>; 3]; 3],
        /// Whether the replica, in any of its lives, was ready while a peer was, and so may have
        /// acknowledged a write.
        served: [bool; 3],
        /// The replica that crashed and is not ready again.
        down: Option<usize>,
    }

    impl World {
        fn new() -> Self {
            Self { phases: [Fresh; 3], answers: [[None; 3]; 3], served: [false; 3], down: None }
        }

        /// `replica` receives the answer of `peer`, and acts when it has both.
        fn ask(&self, replica: usize, peer: usize) -> Self {
            let mut after = self.clone();
            after.answers[replica][peer] = Some(self.phases[peer]);
            let peers: Vec<_> = (0..3).filter(|&p| p != replica).map(|p| after.answers[replica][p]).collect();
            if peers.iter().all(Option::is_some) {
                after.answers[replica] = [None; 3];
                after.act(replica, next(self.phases[replica], &peers));
            }
            after
        }

        fn act(&mut self, replica: usize, step: Step) {
            match step {
                Step::Wait => return,
                Step::Found => {
                    assert!(!self.served[replica], "{replica} founds but may have lost a write: {self:?}");
                    self.phases[replica] = Founding;
                }
                Step::Resync | Step::Serve => {
                    self.phases[replica] = Ready;
                    self.down = self.down.filter(|&down| down != replica);
                }
            }
            let ready: Vec<_> = (0..3).filter(|&r| self.phases[r] == Ready).collect();
            if ready.len() > 1 {
                ready.into_iter().for_each(|r| self.served[r] = true);
            }
        }

        fn crash(&self, replica: usize) -> Option<Self> {
            let mut after = self.clone();
            if after.down.is_some_and(|down| down != replica) {
                return None;
            }
            after.down = Some(replica);
            after.phases[replica] = Fresh;
            after.answers[replica] = [None; 3];
            Some(after)
        }

        /// The world after all replicas have asked all peers, time and again.
        fn without_more_crashes(&self) -> Self {
            let mut world = self.clone();
            for _round in 0..8 {
                for (replica, peer) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
                    world = world.ask(replica, peer);
                }
            }
            world
        }
    }
}
