//! Hosts: names, addresses, clocks, and whether their program runs.

use super::beat::Beat;
use super::burn::Burn;
use super::disk::{Disk, Drawn, Enumerated};
use super::dispatch::{Event, Kernel};
use super::entropy::{Purpose, Stream, mix};
use super::event::What;
use super::lack::Lacks;
use super::machine::{DiskDevice, Troubles, VOLATILE};
use super::process::ProcessId;
use super::wall::Wall;
use crate::world::{DiskEntry, Exit, HostId, HostState, OnExit, Outcome, Program};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::{Index, IndexMut};
use std::path::PathBuf;

/// A machine that has been up for a while when its world begins, so that no program sees `CLOCK_MONOTONIC` near zero
/// (subtracting a duration from an `Instant` must work).
pub(crate) const UPTIME_NS: i64 = 5_000_000_000_000;

/// A simulated machine.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
    pub(crate) process: Option<ProcessId>,
    pub(crate) program: Option<Program>,
    /// How often a program was started on it; the incarnation of its connections.
    pub(crate) starts: u32,
    pub(crate) last_exit: Option<Exit>,
    /// Ends in a row that nobody asked for, for the backoff.
    pub(crate) exits: u32,
    /// Lost power: it neither answers nor refuses.
    pub(crate) dark: bool,
    /// The test has asked its program to stop.
    pub(crate) asked_to_stop: bool,
    /// Nothing rare happens on it: see `Quiet::calls`.
    pub(crate) hushed: bool,
    pub(crate) next_pid: i32,
    pub(crate) disk: Disk,
    /// The disk as it was when its host lost power, while all that could be left of it is gone through.
    pub(crate) crash_states: Option<Box<(Disk, Enumerated)>>,
    pub(crate) device: DiskDevice,
    pub(crate) troubles: Troubles,
    /// What a crash leaves of its disk, how long that takes, and what of it fails.
    pub(crate) disk_crash: Stream,
    pub(crate) disk_errors: Stream,
    pub(crate) disk_pace: Stream,
    /// What it adds to virtual time for its clocks.
    pub(crate) wall: Wall,
    pub(crate) beat: Beat,
    pub(crate) burn: Burn,
    pub(crate) lacks: Lacks,
    /// Its `getrandom`.
    pub(crate) entropy: Stream,
}

/// All hosts, in order of creation.
#[derive(Default)]
pub(crate) struct Hosts {
    list: Vec<Host>,
    names: BTreeMap<String, HostId>,
}

impl Hosts {
    /// The host of that name.
    pub(crate) fn by_name(&self, name: &str) -> Option<HostId> {
        self.names.get(name).copied()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }
}

impl Index<HostId> for Hosts {
    type Output = Host;
    fn index(&self, id: HostId) -> &Host {
        &self.list[id.0 as usize]
    }
}

impl IndexMut<HostId> for Hosts {
    fn index_mut(&mut self, id: HostId) -> &mut Host {
        &mut self.list[id.0 as usize]
    }
}

impl Kernel {
    /// Adds a machine; it is down until a program is started on it.
    ///
    /// # Errors
    /// A sentence when the name is taken or no host name.
    pub(crate) fn add_host(&mut self, name: &str) -> Result<HostId, String> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
        if name.is_empty() || name.len() > 63 || !name.chars().all(legal) {
            return Err(format!("`{name}` is no host name: use 1 to 63 letters, digits, `-`, `.` or `_`"));
        }
        if self.hosts.by_name(name).is_some() || name == "localhost" {
            return Err(format!("there is a host `{name}` already"));
        }
        let number = self.hosts.len() as u32 + 1;
        if number >= 1 << 16 {
            return Err("a world has at most 65,534 hosts".to_owned());
        }
        let id = HostId(number - 1);
        let (v4, v6) = crate::world::addresses(id);
        self.hosts.names.insert(name.to_owned(), id);
        let hushed = self.hushed_calls.covers(|| name.to_owned());
        self.net.add_host(id, name, v4, v6, hushed);
        let root = self.attributes_of_root();
        self.hosts.list.push(Host {
            name: name.to_owned(),
            v4,
            v6,
            process: None,
            program: None,
            starts: 0,
            last_exit: None,
            exits: 0,
            dark: false,
            asked_to_stop: false,
            hushed,
            next_pid: 101,
            disk: Disk::new(root, self.syncs),
            crash_states: None,
            device: DiskDevice::default(),
            troubles: Troubles::default(),
            disk_crash: Stream::new(self.seed, Purpose::DiskCrash, u64::from(id.0)),
            disk_errors: Stream::new(self.seed, Purpose::DiskErrors, u64::from(id.0)),
            disk_pace: Stream::new(self.seed, Purpose::DiskPace, u64::from(id.0)),
            wall: Wall::right(self.start_unix_ns as i64),
            beat: Beat::right(UPTIME_NS),
            burn: Burn::default(),
            lacks: Lacks::default(),
            entropy: Stream::new(self.entropy_seed(name), Purpose::Host, u64::from(id.0)),
        });
        Ok(id)
    }

    /// Whether a host's program runs.
    pub(crate) fn host_state(&self, id: HostId) -> HostState {
        let host = &self.hosts[id];
        match host.process.and_then(|p| self.processes.get(p)) {
            None => HostState::Down(host.last_exit),
            Some(process) if process.held.is_some() => HostState::Paused,
            Some(_) => HostState::Up,
        }
    }

    /// Entropy of a host's new start: a restarted program does not see its predecessor's random numbers again.
    pub(crate) fn reseed_host(&mut self, id: HostId) {
        let seed = self.entropy_seed(&self.hosts[id].name);
        let host = &mut self.hosts[id];
        let entity = u64::from(id.0) ^ mix(u64::from(host.starts));
        host.entropy = Stream::new(seed, Purpose::Host, entity);
    }

    /// Tells the reader of the log, and the digest, what happened to a host.
    pub(crate) fn note_host(&mut self, id: HostId, code: i64, text: &str) {
        self.record(0, What::Host, code, u64::from(id.0));
        let at = self.position();
        let name = self.hosts[id].name.clone();
        self.sink.note(at, &name, text);
    }

    /// Power loss: threads never run again, files vanish, nobody is told.
    pub(crate) fn crash_host(&mut self, id: HostId) {
        self.cut_power(id);
        self.crash_disk(id);
    }

    /// Nothing of a host runs any more; its disk is as it was at that moment.
    fn cut_power(&mut self, id: HostId) {
        self.hosts[id].dark = true;
        self.note_host(id, 3, "crashed");
        self.net_crash(id);
        if let Some(process) = self.hosts[id].process {
            self.end_process(process, Exit::Signal(libc::SIGKILL));
        }
        self.unix_forget_paths(id);
    }

    /// What is on the disks: host, path and content.
    pub(crate) fn all_on_disks(&mut self) -> Vec<(String, PathBuf, DiskEntry)> {
        for id in 0..self.hosts.len() as u32 {
            self.absorb_all_mapped(HostId(id));
        }
        let of_host = |host: &Host| {
            let name = host.name.clone();
            host.disk.entries().into_iter().map(move |(path, content)| (name.clone(), path, content))
        };
        self.hosts.list.iter().flat_map(of_host).collect()
    }

    /// Cuts a host's power, to go through all that this can leave of its disk.
    pub(crate) fn begin_crash_states(&mut self, id: HostId) {
        self.cut_power(id);
        let disk = self.hosts[id].disk.clone();
        self.hosts[id].crash_states = Some(Box::new((disk, Enumerated::default())));
    }

    /// Gives a host, whose power is cut if need be, the next disk that its crash could have left; false when it has had
    /// all of them, and keeps the last.
    pub(crate) fn next_crash_state(&mut self, id: HostId) -> bool {
        let Some(mut states) = self.hosts[id].crash_states.take() else { return false };
        if self.hosts[id].process.is_some() {
            self.cut_power(id);
        }
        let (disk, choices) = &mut *states;
        let more = !choices.is_over();
        if more {
            let mut disk = disk.clone();
            disk.crash(self.now, &VOLATILE, choices);
            self.hosts[id].disk = disk;
            choices.advance();
            self.hosts[id].crash_states = Some(states);
        }
        self.record(0, What::Host, 9, u64::from(id.0) << 1 | u64::from(more));
        more
    }

    /// The disk loses power as well.
    fn crash_disk(&mut self, id: HostId) {
        let now = self.now;
        let Host { disk, disk_crash, device, .. } = &mut self.hosts[id];
        disk.crash(now, &VOLATILE, &mut Drawn::new(disk_crash));
        device.free_at = now;
    }

    /// SIGKILL: the kernel closes what was open.
    pub(crate) fn kill_host(&mut self, id: HostId) {
        if let Some(process) = self.hosts[id].process {
            self.note_host(id, 4, "killed");
            self.end_process(process, Exit::Signal(libc::SIGKILL));
        }
    }

    /// SIGSTOP: threads keep their state and do not run.
    pub(crate) fn pause_host(&mut self, id: HostId) {
        let Some(process) = self.hosts[id].process else { return };
        if self.processes[process].held.is_some() {
            return;
        }
        self.note_host(id, 5, "paused");
        let threads = self.processes[process].threads.clone();
        let mut held = Vec::new();
        for thread in threads {
            let t = &mut self.threads[thread];
            if t.state == super::thread::State::Ready {
                match t.turn.take() {
                    Some(key) => drop(self.timers.cancel(key)),
                    None => self.sched.remove(thread, t.priority),
                }
                held.push(thread);
            }
        }
        self.processes[process].held = Some(held);
    }

    /// SIGCONT.
    pub(crate) fn resume_host(&mut self, id: HostId) {
        let Some(process) = self.hosts[id].process else { return };
        let Some(held) = self.processes[process].held.take() else { return };
        self.note_host(id, 6, "resumed");
        for thread in held {
            if self.threads.get(thread).is_some() {
                self.make_eligible(thread);
            }
        }
    }

    /// A process ended by itself: the host's policy decides.
    pub(crate) fn process_ended_by_itself(&mut self, id: HostId, exit: Exit) {
        let text = match exit {
            Exit::Code(code) => format!("exited with code {code}"),
            Exit::Signal(signal) => format!("was killed by signal {signal}"),
        };
        self.note_host(id, 7, &text);
        let host = &mut self.hosts[id];
        host.exits += 1;
        let starts = host.starts;
        match host.program.as_ref().map(|p| p.on_exit).unwrap_or_default() {
            OnExit::Fail => {
                let host = host.name.clone();
                self.end(Outcome::HostFailed { host, exit });
            }
            OnExit::Restart { backoff } => {
                let delay = crate::world::restart_delay(backoff, host.exits);
                let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX >> 2);
                self.timers.schedule(self.now + delay, Event::Restart(id, starts));
            }
            OnExit::Ignore => {}
        }
    }

    /// The backoff is over. A host that was started meanwhile, and may have been killed since, owes nothing to it.
    pub(crate) fn restart_after_exit(&mut self, id: HostId, starts: u32) {
        let host = &self.hosts[id];
        if host.starts == starts && host.process.is_none() && !host.dark {
            self.start_again(id);
        }
    }

    /// Whether a host runs a program that can be started again, which a client cannot.
    pub(crate) fn runs_program(&self, id: HostId) -> bool {
        let host = &self.hosts[id];
        host.program.is_some() && host.process.is_some_and(|process| self.processes[process].image.is_some())
    }

    /// Starts a host's last program again; answers whether it runs.
    pub(crate) fn start_again(&mut self, id: HostId) -> bool {
        let Some(program) = self.hosts[id].program.clone() else { return false };
        let started = self.start_program(id, program);
        if let Err(problem) = &started {
            let at = self.position();
            let name = self.hosts[id].name.clone();
            self.sink.fatal(at, &format!("host {name} could not be restarted: {problem}"));
        }
        started.is_ok()
    }
}
