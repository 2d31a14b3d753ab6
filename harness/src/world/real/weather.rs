//! A plan of faults, carried out by a thread while a storm blows.

use super::faults::{Begun, Refusal};
use super::{World, lock};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use windtunnel_sim::holds::{Felled, Holds, Plight};
use windtunnel_sim::weather::{Begins, Fault, FaultReport, WeatherReport};
use windtunnel_sim::world::HostId;

/// The name of the thread that carries plans out.
const THREAD: &str = "weather";
/// The highest priority among threads that share their processors fairly (sched(7)).
const NICE_LEAST: i32 = -20;
/// How often faults in force are asked whether they still are.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long it may take to tell what has become of the plan: a fault takes milliseconds to begin or end.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// The weather, when there is any.
#[derive(Default)]
pub(super) struct Weather(Mutex<Option<Sender<Command>>>);

enum Command {
    Mark(String, Instant),
    End(Sender<WeatherReport>),
    SoFar(Sender<WeatherReport>),
}

struct Planned {
    fault: Fault,
    stage: Stage,
    report: FaultReport,
}

enum Stage {
    /// It begins at this time, if that is known.
    Waiting(Option<Instant>),
    InForce {
        begun: Begun,
        ends: Option<Instant>,
    },
    Over,
}

impl World {
    /// Has a plan carried out from now on.
    pub(crate) fn begin_weather(&'static self, faults: &[Fault]) {
        let (sender, commands) = channel();
        self.prepare_links(faults);
        let began = Instant::now();
        let planned = faults.iter().map(|fault| {
            let begins = match fault.begins {
                Begins::At(after) => began.checked_add(after),
                // Events of a real run have no numbers that another run has too.
                Begins::Mark { .. } | Begins::Event(_) => None,
            };
            Planned { fault: fault.clone(), stage: Stage::Waiting(begins), report: FaultReport::default() }
        });
        let run =
            Run { world: self, began, planned: planned.collect(), holds: Holds::default(), looked: began, commands };
        let spawn = move || thread::Builder::new().name(THREAD.to_owned()).spawn(move || run.carry_out());
        // A thread sees the files that whoever starts it sees.
        let runner = self.engine.run(spawn);
        match runner {
            Ok(_detached) => *lock(&self.weather.0) = Some(sender),
            Err(error) => panic!("no thread for the plan of faults: {error}"),
        }
    }

    /// Heals everything that is in force, and accounts for it.
    pub(crate) fn end_weather(&'static self) -> WeatherReport {
        let Some(sender) = lock(&self.weather.0).take() else { return WeatherReport::default() };
        let (reply, answer) = channel();
        let report = sender.send(Command::End(reply)).ok().and_then(|()| answer.recv().ok());
        report.unwrap_or_else(|| self.broken("the plan of faults was not carried out: its thread has ended"))
    }

    /// What has become of the plan so far, if there is weather. Its own thread has nobody to ask; and when that does
    /// not answer it waits for the world's end itself, or for somebody who was stopped.
    pub(super) fn weather_so_far(&self) -> Option<WeatherReport> {
        if thread::current().name() == Some(THREAD) {
            return None;
        }
        let sender = lock(&self.weather.0).clone()?;
        let (reply, answer) = channel();
        sender.send(Command::SoFar(reply)).ok()?;
        answer.recv_timeout(ANSWERS_WITHIN).ok()
    }

    /// Tells the weather of a label.
    pub(super) fn weather_hears(&self, label: &str) {
        if let Some(sender) = &*lock(&self.weather.0) {
            // It is over, then.
            let _ = sender.send(Command::Mark(label.to_owned(), Instant::now()));
        }
    }
}

/// The thread's own.
struct Run {
    world: &'static World,
    began: Instant,
    planned: Vec<Planned>,
    holds: Holds,
    /// When faults in force were last asked whether they still are.
    looked: Instant,
    commands: Receiver<Command>,
}

impl Run {
    fn carry_out(mut self) {
        // Of this thread alone (setpriority(2), "C library/kernel differences"): a plan is late when it has to wait for
        // a processor. Who may not has it wait.
        let _ = rustix::process::setpriority_process(None, NICE_LEAST);
        loop {
            self.do_what_is_due(Instant::now());
            if self.looked.elapsed() >= LOOK_INTERVAL {
                self.look();
            }
            let wait = self.next_due().saturating_duration_since(Instant::now());
            match self.commands.recv_timeout(wait) {
                Ok(Command::Mark(label, at)) => self.heard(&label, at),
                Ok(Command::SoFar(reply)) => {
                    let report = self.report();
                    let _ = reply.send(report);
                }
                Ok(Command::End(reply)) => {
                    // Who is down stays so: the storm's end starts it.
                    for index in 0..self.planned.len() {
                        self.end(index, Felled::LeaveDown);
                    }
                    let report = self.report();
                    let _ = reply.send(report);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// When something begins or ends next; soon enough to look after what is in force.
    fn next_due(&self) -> Instant {
        let times = self.planned.iter().filter_map(|planned| match &planned.stage {
            Stage::Waiting(at) => *at,
            Stage::InForce { ends, .. } => *ends,
            Stage::Over => None,
        });
        times.fold(self.looked + LOOK_INTERVAL, Instant::min)
    }

    fn heard(&mut self, heard: &str, at: Instant) {
        for planned in &mut self.planned {
            if let (Stage::Waiting(begins @ None), Begins::Mark { label, after }) =
                (&mut planned.stage, &planned.fault.begins)
                && label == heard
            {
                *begins = at.checked_add(*after);
            }
        }
    }

    /// Ends come before beginnings, as in the simulated world.
    fn do_what_is_due(&mut self, now: Instant) {
        for index in 0..self.planned.len() {
            if matches!(self.planned[index].stage, Stage::InForce { ends: Some(at), .. } if at <= now) {
                self.end(index, Felled::StartAgain);
            }
        }
        for index in 0..self.planned.len() {
            if matches!(self.planned[index].stage, Stage::Waiting(Some(at)) if at <= now) {
                self.begin(index);
            }
        }
    }

    fn begin(&mut self, index: usize) {
        let planned = &mut self.planned[index];
        match self.world.begin_fault(&planned.fault.kind, Some(index + 1)) {
            Ok(begun) => {
                planned.report.began = Some(self.began.elapsed());
                if let Begun::Struck { host, plight } = begun {
                    self.holds.take(index, host, self.world.starts(host), plight);
                }
                let ends = Instant::now().checked_add(planned.fault.lasts);
                planned.stage = Stage::InForce { begun, ends };
            }
            Err(refusal) => {
                planned.stage = Stage::Over;
                self.refused(index, &refusal);
            }
        }
    }

    /// A fault that this machine does not do. Of a plan that was drawn it is left out, and that is said; a plan that
    /// somebody wrote is meant as it stands.
    fn refused(&self, index: usize, refusal: &Refusal) {
        let text = format!("{} does nothing here: {refusal}", self.world.fault_name(&self.planned[index].fault.kind));
        self.world.note("test", &text);
        self.world.left_out(text);
    }

    fn end(&mut self, index: usize, felled: Felled) {
        let planned = &mut self.planned[index];
        let Stage::InForce { begun, .. } = std::mem::replace(&mut planned.stage, Stage::Over) else { return };
        let struck = match begun {
            Begun::Struck { host, .. } | Begun::Starved { host, .. } => Some(host),
            Begun::Asked(_) | Begun::Injected(_) | Begun::OnNobody => None,
        };
        let starves = matches!(begun, Begun::Starved { .. });
        let bit = self.world.end_fault(begun);
        (planned.report.bit, planned.report.ended) = (bit, Some(self.began.elapsed()));
        let times = if bit == 1 { "time" } else { "times" };
        self.world.note_fault(&planned.fault.kind, Some(index + 1), "ends", &format!(", and bit {bit} {times}"));
        let Some(host) = struck else { return };
        // As in the simulated world, the last fault that takes its memory has whoever was killed for want of it.
        if starves && self.world.has_starved(host) && !self.is_starved_after(index, host) {
            self.holds.take(index, host, self.world.starts(host), Plight::Felled { startable: true });
        }
        self.release(index, host, felled);
    }

    /// Whether a later fault of the plan takes a host's memory too.
    fn is_starved_after(&self, index: usize, host: HostId) -> bool {
        self.planned[index + 1..].iter().any(|planned| match planned.stage {
            Stage::InForce { begun: Begun::Starved { host: of, .. }, .. } => of == host,
            _ => false,
        })
    }

    /// Lets go of a host, if it is still this fault that holds it.
    fn release(&mut self, index: usize, host: HostId, felled: Felled) {
        match self.holds.of(index, host, self.world.starts(host)) {
            Some(Plight::Paused) => {
                self.world.resume(host);
                self.holds.resumed(host);
            }
            Some(Plight::Felled { startable: true }) if felled == Felled::StartAgain => {
                match self.world.restart(host) {
                    Ok(()) => self.holds.restarted(host),
                    Err(reason) => self.world.not_started_again(host, &reason),
                }
            }
            Some(Plight::Felled { .. }) | None => {}
        }
    }

    /// Asks faults in force whether they still are.
    fn look(&mut self) {
        self.looked = Instant::now();
        for planned in &mut self.planned {
            if let Stage::InForce { begun, .. } = &mut planned.stage {
                self.world.look_after(begun, &planned.fault.kind);
            }
        }
    }

    fn report(&mut self) -> WeatherReport {
        let faults = self.planned.iter_mut().map(|planned| {
            if let Stage::InForce { begun, .. } = &mut planned.stage {
                planned.report.bit = begun.bit();
            }
            planned.report.unseen = self.world.counts_no_refusals_of(&planned.fault.kind);
            planned.report
        });
        let faults = faults.collect();
        let left_down = self.holds.left_down(|host| self.world.starts(host));
        WeatherReport { faults, left_down, restarted: self.holds.all_restarted() }
    }
}
