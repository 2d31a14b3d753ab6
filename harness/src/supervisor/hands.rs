//! Smaller cases, run on several workers at a time.
//!
//! Verdicts are taken in the order in which the cases were proposed, so the answer is the same however many workers
//! there are.

use super::Context;
use super::process::{Worker, WorkerError};
use crate::arguments;
use std::num::NonZeroU32;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;
use windtunnel_faults::{Plan, shrink};

/// More workers gain almost nothing: candidates depend on the verdicts of those before them.
const WORKERS_MAX: u32 = 4;

/// Knows which cases to try next.
pub(super) trait Proposer {
    type Candidate: Clone + Send;
    type Verdict: Send;

    /// The next candidates, in the order in which their verdicts count.
    fn propose(&mut self, most: usize) -> Vec<Self::Candidate>;
    /// Answers what there is to tell, if one of them was better.
    fn learn(&mut self, verdicts: Vec<Self::Verdict>) -> Option<String>;
    fn stop(&mut self);
}

impl Proposer for shrink::Shrinker {
    type Candidate = Plan;
    type Verdict = shrink::Verdict;

    fn propose(&mut self, most: usize) -> Vec<Plan> {
        self.propose(most)
    }

    fn learn(&mut self, verdicts: Vec<shrink::Verdict>) -> Option<String> {
        let before = self.best().faults.len();
        self.learn(verdicts);
        let left = self.best().faults.len();
        (left < before).then(|| format!("{left} of the faults are left"))
    }

    fn stop(&mut self) {
        self.stop();
    }
}

/// Arguments to try, and the hash of those of which it is known that they fail.
#[derive(Debug, Clone)]
pub(super) struct Simpler {
    pub(super) paths: arguments::Paths,
    pub(super) known: u64,
}

impl Proposer for arguments::Shrinker {
    type Candidate = Simpler;
    type Verdict = arguments::Verdict;

    fn propose(&mut self, most: usize) -> Vec<Simpler> {
        let paths = self.propose(most);
        let known = self.best_values();
        paths.into_iter().map(|paths| Simpler { paths, known }).collect()
    }

    fn learn(&mut self, verdicts: Vec<arguments::Verdict>) -> Option<String> {
        self.learn(verdicts);
        None
    }

    fn stop(&mut self) {
        self.stop();
    }
}

/// Has workers judge what is proposed until nothing is, or the time is over.
pub(super) fn judge_candidates<P: Proposer>(
    context: &Context<'_>,
    proposer: &mut P,
    deadline: Instant,
    judge: impl Fn(&mut Worker, &P::Candidate) -> Result<P::Verdict, WorkerError> + Sync,
) -> Result<(), WorkerError> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u32).min(WORKERS_MAX);
    let workers = context.settings.jobs.map_or(cores, NonZeroU32::get) as usize;
    thread::scope(|scope| {
        // Each worker belongs to the thread that starts it: it dies when that thread ends.
        let hands: Vec<_> = (0..workers)
            .map(|_| {
                let (candidates, next) = mpsc::channel::<P::Candidate>();
                let (say, verdicts) = mpsc::channel();
                let judge = &judge;
                scope.spawn(move || {
                    let mut worker = Worker::start(context.definition);
                    for candidate in next {
                        let verdict = match &mut worker {
                            Ok(worker) => judge(worker, &candidate),
                            Err(_) => break,
                        };
                        if say.send(verdict).is_err() {
                            break;
                        }
                    }
                    worker.map(drop)
                });
                (candidates, verdicts)
            })
            .collect();
        while Instant::now() < deadline {
            let candidates = proposer.propose(workers);
            if candidates.is_empty() {
                return Ok(());
            }
            let busy: Vec<_> = candidates.into_iter().zip(&hands).collect();
            for (candidate, (candidates, _)) in &busy {
                // A hand that is gone is noticed when its verdict is asked for.
                let _: Result<(), mpsc::SendError<P::Candidate>> = candidates.send(candidate.clone());
            }
            let verdicts: Result<Vec<_>, _> = busy
                .iter()
                .map(|(_, (_, verdicts))| verdicts.recv().unwrap_or_else(|_| Err(WorkerError::none())))
                .collect();
            if let Some(progress) = proposer.learn(verdicts?) {
                eprintln!("chaos: shrinking: {progress}");
            }
        }
        proposer.stop();
        Ok(())
    })
}
