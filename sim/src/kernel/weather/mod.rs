//! Weather: the kernel carries a plan of faults out by itself, so that they blow at their times whatever the test does.
//!
//! [`Agenda`] knows when what is due, [`Weather`] what is in force. To add a kind of fault, follow the compiler: what
//! it does stands in [`Weather::act`], what undoes it in [`Weather::end`], and [`Grip`] has what that needs. How it
//! works is the business of whoever is harmed: nothing of network or hosts is done here.
//!
//! Nothing is drawn here: what is random about a fault belongs to the link or host that it concerns, so that removing
//! a fault from a plan does not change what the others do.

mod agenda;
mod checks;
mod words;

use agenda::{Agenda, Turn};
use checks::harm;

use super::dispatch::{Event, Kernel};
use super::event::What;
use super::net::Draws;
use super::timers::TimerKey;
use super::wall::Motion;
use crate::holds::{Felled, Holds, Plight};
use crate::weather::{Begins, DiskTrouble, Fault, FaultKind, FaultReport, Lack, WeatherReport};
use crate::world::{FaultId, HostId};
use std::time::Duration;

/// The host `test`, on whose log links are told of. It has nobody to start it again.
const TEST: HostId = HostId(0);

/// What a fault in force has got hold of.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Grip {
    /// Nothing: it came too late to make a difference.
    Nothing,
    /// Links.
    Links(FaultId),
    /// A host's wall clock: which shift it is, how it moves, and how often it had been read before, if that is what
    /// decides whether it bit.
    Clock(HostId, u64, Motion, Option<u64>),
    /// A host's clocks: which shift of the wall clock it is, how fast they drift, and how that clock is put right.
    Drift(HostId, u64, i64, Motion),
    /// A host's processors: by how much, and how many threads had waited before.
    Processors(HostId, f64, u64),
    /// A name.
    Name(u64),
    /// What a program gets less of: which taking it is, of what, and how often such had bitten before.
    Lack(HostId, u64, Lack, u64),
    /// A disk: which of its troubles it is, of what kind, and how often that kind had bitten before.
    Disk(HostId, u64, DiskTrouble, u64),
    /// A host's program.
    Host(HostId),
}

impl Grip {
    /// What the fault has bitten on so far.
    fn bit(self, kernel: &Kernel) -> u64 {
        match self {
            Grip::Nothing => 0,
            Grip::Links(fault) => kernel.net_affected(fault),
            Grip::Clock(host, _, _, reads) => u64::from(reads.is_none_or(|before| kernel.wall_reads(host) > before)),
            Grip::Processors(host, _, before) => kernel.waited(host) - before,
            Grip::Name(hijack) => kernel.net.misled(hijack),
            Grip::Disk(host, _, trouble, before) => kernel.disk_bitten(host, trouble) - before,
            Grip::Lack(host, _, lack, before) => kernel.lack_bitten(host, lack) - before,
            Grip::Drift(..) | Grip::Host(_) => 1,
        }
    }
}

/// A fault of the plan.
struct Entry {
    fault: Fault,
    /// While it is in force.
    grip: Option<Grip>,
    report: FaultReport,
}

/// A plan that is being carried out.
pub(crate) struct Weather {
    began: u64,
    agenda: Agenda,
    entries: Vec<Entry>,
    holds: Holds,
    /// One for each entry of the agenda. They are set as soon as its time is known, so that other faults do not change
    /// who comes first at an instant.
    timers: Vec<TimerKey>,
}

impl Kernel {
    /// Begins to carry a plan out.
    ///
    /// # Errors
    /// A sentence when a plan is being carried out already, or when a fault is impossible.
    pub(crate) fn begin_weather(&mut self, faults: Vec<Fault>) -> Result<(), String> {
        if self.weather.is_some() {
            return Err("there is weather already: call `end_weather` before the next `begin_weather`".to_owned());
        }
        for (number, fault) in faults.iter().enumerate() {
            self.check_fault(&fault.kind).map_err(|problem| format!("fault {}: {problem}", number + 1))?;
        }
        let agenda = Agenda::new(&faults, self.now);
        let timers = agenda.due.iter().map(|(at, ..)| self.timers.schedule(*at, Event::Weather)).collect();
        let entry = |fault| Entry { fault, grip: None, report: FaultReport::default() };
        self.weather = Some(Box::new(Weather {
            began: self.now,
            agenda,
            entries: faults.into_iter().map(entry).collect(),
            holds: Holds::default(),
            timers,
        }));
        self.await_faults();
        Ok(())
    }

    /// Waits for the event of the next fault that waits for one.
    fn await_faults(&mut self) {
        let next = self.weather.as_ref().and_then(|weather| weather.agenda.awaited.first().copied());
        if let Some((event, _)) = next {
            self.await_event(event);
        }
    }

    /// The event of a fault has happened: it begins now.
    #[cold]
    pub(crate) fn weather_reached(&mut self) {
        let (event, now) = (self.position().event, self.now);
        let Some(weather) = &mut self.weather else { return };
        for number in weather.agenda.reached(event) {
            let times = weather.agenda.enter(number, &weather.entries[number].fault, now, Duration::ZERO);
            let timers = times.into_iter().flatten().map(|at| self.timers.schedule(at, Event::Weather));
            weather.timers.extend(timers);
        }
        self.weather_due();
        self.await_faults();
    }

    /// Something of the weather may be due.
    pub(crate) fn weather_due(&mut self) {
        let Some(mut weather) = self.weather.take() else { return };
        while let Some((number, turn)) = weather.agenda.take_due(self.now) {
            match turn {
                Turn::Begins => weather.begin(self, number),
                Turn::Ends => weather.end(self, number, Felled::StartAgain),
            }
        }
        self.weather = Some(weather);
    }

    /// The test has passed a label.
    pub(crate) fn weather_marked(&mut self, label: &str) {
        let Some(weather) = &mut self.weather else { return };
        for number in weather.agenda.marked(label) {
            let fault = &weather.entries[number].fault;
            let Begins::Mark { after, .. } = fault.begins else { continue };
            let times = weather.agenda.enter(number, fault, self.now, after);
            let timers = times.into_iter().flatten().map(|at| self.timers.schedule(at, Event::Weather));
            weather.timers.extend(timers);
        }
    }

    /// Heals what is in force, cancels what has not begun, and accounts for all of it.
    pub(crate) fn end_weather(&mut self) -> WeatherReport {
        let Some(mut weather) = self.weather.take() else { return WeatherReport::default() };
        for timer in std::mem::take(&mut weather.timers) {
            self.timers.cancel(timer);
        }
        for number in 0..weather.entries.len() {
            weather.end(self, number, Felled::LeaveDown);
        }
        weather.report(self)
    }

    /// The account of the weather so far, if there is any.
    pub(crate) fn weather_so_far(&self) -> Option<WeatherReport> {
        self.weather.as_ref().map(|weather| weather.report(self))
    }

    /// Memory is lacking on a host: whether a fault is to blame, which starts its program again when it ends.
    pub(crate) fn weather_kills_for_memory(&mut self, host: HostId) -> bool {
        let Some(mut weather) = self.weather.take() else { return false };
        let to_blame = weather.hold_for_memory(self, host);
        self.weather = Some(weather);
        to_blame
    }

    /// Tells the digest, and the reader of the log, what happens to a fault.
    fn note_weather(&mut self, number: usize, turn: Turn, kind: &FaultKind, bit: u64, text: &str) {
        self.record(0, What::Weather, (number as i64) << 1 | i64::from(turn == Turn::Ends), bit);
        let at = self.position();
        let host = self.hosts[kind.host().unwrap_or(TEST)].name.clone();
        self.sink.note(at, &host, text);
    }
}

impl Weather {
    fn since(&self, kernel: &Kernel) -> Duration {
        Duration::from_nanos(kernel.now - self.began)
    }

    fn begin(&mut self, kernel: &mut Kernel, number: usize) {
        let Fault { kind, lasts, .. } = self.entries[number].fault.clone();
        let vulnerable = kernel.is_vulnerable(&kind);
        let what = kernel.describe_fault(&kind);
        let length = if lasts == Duration::MAX { "until the weather ends".into() } else { format!("for {lasts:?}") };
        let in_vain = if vulnerable { "" } else { ", which changes nothing here" };
        let text = format!("fault {} begins: {what} {length}{in_vain}", number + 1);
        kernel.note_weather(number, Turn::Begins, &kind, 0, &text);
        let grip = if vulnerable { self.act(kernel, number, &kind) } else { Grip::Nothing };
        self.entries[number].report.began = Some(self.since(kernel));
        self.entries[number].grip = Some(grip);
    }

    /// Does what a fault is.
    fn act(&mut self, kernel: &mut Kernel, number: usize, kind: &FaultKind) -> Grip {
        match kind {
            FaultKind::Links { links, trouble } => Grip::Links(kernel.net_harm(harm(trouble), links, Draws::AsPlanned)),
            FaultKind::Skew { host, by_ns, slewed } => {
                let motion = if *slewed { Motion::Slew } else { Motion::Step };
                let reads = kernel.wall_reads(*host);
                let (shift, waited_for) = kernel.skew_clock(*host, *by_ns, motion);
                // Whoever waits for a time of day need not look to be struck.
                Grip::Clock(*host, shift, motion, if waited_for { None } else { Some(reads) })
            }
            FaultKind::Burn { host, load } => Grip::Processors(*host, *load, kernel.burn(*host, *load)),
            FaultKind::Lack { host, lack } => {
                let (taking, before) = kernel.take_away(*host, *lack);
                if *lack == (Lack::Memory { share: 1.0 }) {
                    self.hold(kernel, number, *host, Plight::Felled { startable: kernel.runs_program(*host) });
                    kernel.kill_for_memory(*host);
                }
                Grip::Lack(*host, taking, *lack, before)
            }
            FaultKind::Disk { host, trouble } => {
                let (number, before) = kernel.trouble_disk(*host, *trouble);
                Grip::Disk(*host, number, *trouble, before)
            }
            FaultKind::Hijack { host, name, answer } => Grip::Name(kernel.net.hijack(*host, name, *answer)),
            FaultKind::Drift { host, ppm, stepped } => {
                let motion = if *stepped { Motion::Step } else { Motion::Slew };
                let (shift, ppm) = kernel.drift_clocks(*host, *ppm);
                Grip::Drift(*host, shift, ppm, motion)
            }
            FaultKind::Crash { host } => {
                self.hold(kernel, number, *host, Plight::Felled { startable: kernel.runs_program(*host) });
                kernel.crash_host(*host);
                Grip::Host(*host)
            }
            FaultKind::Kill { host } => {
                self.hold(kernel, number, *host, Plight::Felled { startable: kernel.runs_program(*host) });
                kernel.kill_host(*host);
                Grip::Host(*host)
            }
            FaultKind::Pause { host } => {
                self.hold(kernel, number, *host, Plight::Paused);
                kernel.pause_host(*host);
                Grip::Host(*host)
            }
        }
    }

    /// Whether a fault that takes memory has hold of a host: then the host is its to start again.
    fn hold_for_memory(&mut self, kernel: &Kernel, host: HostId) -> bool {
        let takes = |entry: &Entry| match entry.grip {
            Some(Grip::Lack(of, _, Lack::Memory { .. } | Lack::Tasks { .. }, _)) => of == host,
            _ => false,
        };
        let Some(number) = self.entries.iter().rposition(takes) else { return false };
        self.hold(kernel, number, host, Plight::Felled { startable: kernel.runs_program(host) });
        true
    }

    fn hold(&mut self, kernel: &Kernel, fault: usize, host: HostId, plight: Plight) {
        self.holds.take(fault, host, kernel.hosts[host].starts, plight);
    }

    /// Ends a fault, if it is in force.
    fn end(&mut self, kernel: &mut Kernel, number: usize, felled: Felled) {
        let Some(grip) = self.entries[number].grip.take() else { return };
        let bit = grip.bit(kernel);
        match grip {
            Grip::Links(fault) => drop(kernel.net_heal(fault)),
            Grip::Clock(host, shift, motion, _) => kernel.right_clock(host, shift, motion),
            Grip::Processors(host, load, _) => kernel.end_burn(host, load),
            Grip::Name(hijack) => kernel.net.end_hijack(hijack),
            Grip::Disk(host, number, ..) => kernel.end_trouble(host, number),
            Grip::Lack(host, number, ..) => kernel.give_back(host, number),
            Grip::Drift(host, shift, ppm, motion) => kernel.steady_clocks(host, ppm, shift, motion),
            Grip::Nothing | Grip::Host(_) => {}
        }
        let ended = Some(self.since(kernel));
        let Entry { fault, report, .. } = &mut self.entries[number];
        (report.ended, report.bit) = (ended, bit);
        let what = kernel.describe_fault(&fault.kind);
        let effect = match grip {
            Grip::Links(_) => format!(", which bit on {bit} segments and datagrams"),
            Grip::Processors(..) => format!(", for which somebody waited {bit} times"),
            Grip::Name(_) => format!(", which misled {bit} times"),
            Grip::Lack(.., Lack::Memory { .. } | Lack::Tasks { .. }, _) => {
                format!(", for which {bit} programs were killed")
            }
            Grip::Lack(..) => format!(", for which {bit} were refused"),
            Grip::Disk(.., DiskTrouble::Rotting { .. }, _) => format!(", which flipped {bit} bits"),
            Grip::Disk(.., DiskTrouble::Slow { .. }, _) => format!(", which made {bit} operations slower"),
            Grip::Disk(..) => format!(", which made {bit} operations fail"),
            Grip::Nothing | Grip::Clock(..) | Grip::Drift(..) | Grip::Host(_) => String::new(),
        };
        let text = format!("fault {} ends: {what}{effect}", number + 1);
        // Looking at a clock is no event, so whether anybody has is none either.
        let recorded = if matches!(grip, Grip::Clock(..)) { 0 } else { bit };
        kernel.note_weather(number, Turn::Ends, &fault.kind, recorded, &text);
        if let Grip::Host(host) | Grip::Lack(host, ..) = grip {
            self.release(kernel, number, host, felled);
        }
    }

    /// What has become of the plan.
    fn report(&self, kernel: &Kernel) -> WeatherReport {
        let bit = |entry: &Entry| entry.grip.map_or(entry.report.bit, |grip| grip.bit(kernel));
        WeatherReport {
            faults: self.entries.iter().map(|entry| FaultReport { bit: bit(entry), ..entry.report }).collect(),
            left_down: self.holds.left_down(|host| kernel.hosts[host].starts),
            restarted: self.holds.all_restarted(),
        }
    }

    /// Lets go of a host, if it is still this fault that holds it.
    fn release(&mut self, kernel: &mut Kernel, number: usize, host: HostId, felled: Felled) {
        match self.holds.of(number, host, kernel.hosts[host].starts) {
            Some(Plight::Paused) => {
                kernel.resume_host(host);
                self.holds.resumed(host);
            }
            // Who is not started again is reported as left down.
            Some(Plight::Felled { startable: true }) if felled == Felled::StartAgain && kernel.start_again(host) => {
                self.holds.restarted(host);
            }
            Some(Plight::Felled { .. }) | None => {}
        }
    }
}
