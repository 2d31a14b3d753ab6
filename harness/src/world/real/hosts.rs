//! Hosts: their programs' starts and ends.

use super::throttle::Rule;
use super::{World, clocks, files_of, lock};
use crate::blackbox::Kind;
use crate::system::HostProgram;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use windtunnel_faults::{Effect, Fault};
use windtunnel_inject::boundary;
use windtunnel_inject::cgroup::{Device, Group, Limit, Limited};
use windtunnel_inject::clock::{ClockPage, ForeignClocks};
use windtunnel_inject::disk::DiskKind;
use windtunnel_inject::error::{Error, ErrorKind};
use windtunnel_inject::keeper::{Child, Inodes, Program as Executed, Start, StartFds};
use windtunnel_inject::netlink::new_namespace;
use windtunnel_inject::process::MemoryWatch;
use windtunnel_inject::switch::PortId;
use windtunnel_inject::sys::End;
use windtunnel_sim::world::{Exit, HostId, HostState, Limits, OnExit, Position, Program, restart_delay};

/// How long a process may take to end when it was killed: the kernel closes what it had open.
pub(super) const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// How long reading what a program wrote may take when it has ended: that comes before its end.
const READ_WITHIN: Duration = Duration::from_millis(100);
/// A command that ends with success has probably left its work to a child.
const BACKGROUND: &str =
    "exited with code 0 (if it goes to the background: on a host it has to stay in the foreground)";

/// All hosts of the world, by number.
#[derive(Default)]
pub(super) struct Hosts(Mutex<Vec<Host>>);

struct Host {
    name: String,
    /// Its network namespace, and where that is joined to the others: a machine that loses its power loses both.
    network: Option<(Arc<OwnedFd>, PortId)>,
    /// What its disk is made of, when it has one.
    disk: Option<(DiskKind, Option<Device>)>,
    /// What holds its disk to a rate: to be told of another device beneath it.
    throttles: Vec<Weak<Rule>>,
    /// Held while it loses its power or is started: whoever sees that it is down may start it at once, and a disk that
    /// is about to lose its power is not to be started on.
    power: Arc<Mutex<()>>,
    pages: Arc<Pages>,
    /// What its clocks show if it runs a command: made for the first fault of them.
    foreign_clocks: Option<Arc<ForeignClocks>>,
    limits: Limits,
    /// Its control group, where it can have one.
    group: Option<Arc<Group>>,
    /// What holds it to its limits: its group, or a watch over its program's memory.
    limited: Vec<Limited>,
    watch: Option<MemoryWatch>,
    /// How many faults take its memory: being killed for that is no end by itself.
    may_be_killed: u32,
    /// That is why it is down.
    has_starved: bool,
    program: Option<Program>,
    /// What is executed in place of the program's function.
    command: Option<String>,
    state: HostState,
    child: Option<Arc<Child>>,
    /// How often its program has been started: who waits for the end of one start must not end another.
    starts: u32,
    /// Its end was asked for, so it is none by itself.
    is_felled: bool,
    /// How often it has ended by itself, for the delay before the next start.
    restarts: u32,
}

impl Host {
    /// What the clocks of its command show.
    fn foreign_clocks(&self) -> Option<Arc<ForeignClocks>> {
        self.foreign_clocks.clone().filter(|_| self.command.is_some())
    }
}

/// What the libc of a host's program goes by, where that is windtunnel's.
pub(super) struct Pages {
    /// What its clocks show.
    pub(super) clocks: ClockPage,
    /// What becomes of its calls.
    pub(super) calls: Arc<boundary::Page>,
}

impl Pages {
    fn make() -> windtunnel_inject::Result<Self> {
        Ok(Self { clocks: ClockPage::make()?, calls: Arc::new(boundary::Page::make()?) })
    }
}

/// What a program is started on.
struct Machine {
    name: String,
    network: Arc<OwnedFd>,
    pages: Arc<Pages>,
    foreign_clocks: Option<Arc<ForeignClocks>>,
    group: Option<Arc<Group>>,
    program: Program,
    command: Option<String>,
    limits: Limits,
}

fn index(host: HostId) -> usize {
    host.0 as usize
}

impl World {
    pub(crate) fn add_host(&self, name: &str) -> Result<HostId, String> {
        let mut hosts = lock(&self.hosts.0);
        let id = HostId(u32::try_from(hosts.len()).map_err(|_| "there are too many hosts".to_owned())?);
        let network = self.plug_in(id, name)?;
        hosts.push(Host {
            name: name.to_owned(),
            network: Some(network),
            disk: None,
            throttles: Vec::new(),
            power: Arc::default(),
            pages: Arc::new(Pages::make().map_err(|error| error.to_string())?),
            foreign_clocks: None,
            limits: Limits::default(),
            group: None,
            limited: Vec::new(),
            watch: None,
            may_be_killed: 0,
            has_starved: false,
            program: None,
            command: None,
            state: HostState::Down(None),
            child: None,
            starts: 0,
            is_felled: false,
            restarts: 0,
        });
        Ok(id)
    }

    /// A network namespace for a host, joined to the others'.
    fn plug_in(&self, host: HostId, name: &str) -> Result<(Arc<OwnedFd>, PortId), String> {
        let made = new_namespace().and_then(|namespace| {
            let port = self.network.join(host, name, namespace.as_fd())?;
            Ok((Arc::new(namespace), port))
        });
        made.map_err(|error| error.to_string())
    }

    pub(crate) fn limit(&self, host: HostId, limits: Limits) {
        lock(&self.hosts.0)[index(host)].limits = limits;
    }

    pub(crate) fn name(&self, host: HostId) -> String {
        lock(&self.hosts.0)[index(host)].name.clone()
    }

    pub(crate) fn state(&self, host: HostId) -> HostState {
        lock(&self.hosts.0)[index(host)].state
    }

    /// The number of the process that is a host's program, while there is one.
    pub(super) fn pid(&self, host: HostId) -> Option<u32> {
        Some(self.child(host)?.process().pid)
    }

    /// The network namespace that a host is in, while it has power.
    pub(super) fn namespace(&self, host: HostId) -> Option<Arc<OwnedFd>> {
        lock(&self.hosts.0)[index(host)].network.as_ref().map(|(namespace, _)| Arc::clone(namespace))
    }

    /// What a host's libc goes by, unless it runs a command, which has a libc of its own.
    pub(super) fn pages(&self, host: HostId) -> Option<Arc<Pages>> {
        let hosts = lock(&self.hosts.0);
        let host = &hosts[index(host)];
        (host.command.is_none() && host.program.is_some()).then(|| Arc::clone(&host.pages))
    }

    /// The clocks of a host that runs a command, made if need be; none of another host. A program that is started from
    /// now on has them.
    pub(super) fn foreign_clocks(
        &self,
        host: HostId,
        make: impl FnOnce() -> windtunnel_inject::Result<ForeignClocks>,
    ) -> windtunnel_inject::Result<Option<Arc<ForeignClocks>>> {
        let host = &mut lock(&self.hosts.0)[index(host)];
        if host.command.is_none() {
            return Ok(None);
        }
        Ok(Some(match &host.foreign_clocks {
            Some(clocks) => Arc::clone(clocks),
            None => Arc::clone(host.foreign_clocks.insert(Arc::new(make()?))),
        }))
    }

    /// The block device beneath a host's disk, if there is one.
    pub(super) fn device(&self, host: HostId) -> Option<Device> {
        lock(&self.hosts.0)[index(host)].disk.and_then(|(_, device)| device)
    }

    /// From now on this is told when a host's disk is on another device. Answers the one that it is on now.
    pub(super) fn follows_disk(&self, host: HostId, rule: &Arc<Rule>) -> Option<Device> {
        let host = &mut lock(&self.hosts.0)[index(host)];
        host.throttles.retain(|rule| rule.strong_count() > 0);
        host.throttles.push(Arc::downgrade(rule));
        host.disk.and_then(|(_, device)| device)
    }

    fn power(&self, host: HostId) -> Arc<Mutex<()>> {
        Arc::clone(&lock(&self.hosts.0)[index(host)].power)
    }

    /// A host's control group, if it has one.
    pub(super) fn group(&self, host: HostId) -> Option<Arc<Group>> {
        lock(&self.hosts.0)[index(host)].group.clone()
    }

    pub(super) fn limits(&self, host: HostId) -> Limits {
        lock(&self.hosts.0)[index(host)].limits
    }

    pub(super) fn may_be_killed(&self, host: HostId, may: bool) {
        let host = &mut lock(&self.hosts.0)[index(host)];
        host.may_be_killed = if may { host.may_be_killed + 1 } else { host.may_be_killed.saturating_sub(1) };
    }

    /// Whether a host is down because a fault took its memory.
    pub(super) fn has_starved(&self, host: HostId) -> bool {
        lock(&self.hosts.0)[index(host)].has_starved
    }

    /// How often a host's program has been started.
    pub(super) fn starts(&self, host: HostId) -> u32 {
        lock(&self.hosts.0)[index(host)].starts
    }

    pub(super) fn child(&self, host: HostId) -> Option<Arc<Child>> {
        lock(&self.hosts.0)[index(host)].child.clone()
    }

    /// Has the calling thread, and those that it starts, be on a host's network.
    pub(super) fn enter_network(&self, host: HostId) -> Result<(), String> {
        let (network, _) = lock(&self.hosts.0)[index(host)].network.clone().ok_or("its network is gone")?;
        rustix::thread::move_into_link_name_space(network.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network))
            .map_err(|error| format!("failed to enter a network namespace: {error}"))
    }

    pub(crate) fn start(&'static self, host: HostId, program: &Program, command: Option<&str>) -> Result<(), String> {
        {
            let mut hosts = lock(&self.hosts.0);
            let host = &mut hosts[index(host)];
            host.program = Some(program.clone());
            host.command = command.map(str::to_owned);
        }
        self.restart(host)
    }

    /// Starts a host's program, for the first time or again.
    pub(crate) fn restart(&'static self, id: HostId) -> Result<(), String> {
        let power = self.power(id);
        let _until_it_is_up = lock(&power);
        self.engine.run(move || self.boot(id))
    }

    /// Starts a host's program again because this start of it has ended by itself. Who was started meanwhile, and may
    /// have been felled since, owes nothing to that end.
    fn restart_after(&'static self, id: HostId, start: u32) -> Result<(), String> {
        let power = self.power(id);
        let _until_it_is_up = lock(&power);
        let is_due = {
            let host = &lock(&self.hosts.0)[index(id)];
            host.starts == start && matches!(host.state, HostState::Down(_)) && !host.is_felled
        };
        if is_due { self.engine.run(move || self.boot(id)) } else { Ok(()) }
    }

    fn boot(&'static self, id: HostId) -> Result<(), String> {
        let Machine { name, network, pages, foreign_clocks, group, program, command, limits } = self.machine(id)?;
        let (output, written) = std::io::pipe().map_err(|error| error.to_string())?;
        let (error_output, error_written) = std::io::pipe().map_err(|error| error.to_string())?;
        let mut env = program.env.clone();
        let mut payload = None;
        if command.is_none() {
            env.push(HostProgram::variable());
            payload = Some(HostProgram::of(&program).to_file().map_err(|error| format!("no memory for it: {error}"))?);
        }
        // In the order of descriptors in which `system/start.rs` takes them.
        let own = payload.as_ref().map(|payload| [payload.as_fd(), pages.clocks.fd(), pages.calls.fd()]);
        let start = Start {
            host: name.clone(),
            program: command.map_or(Executed::This, Executed::Command),
            args: program.args.clone(),
            env,
            cgroups: group.iter().flat_map(|group| group.directories()).map(PathBuf::from).collect(),
            files: files_of(&name),
            descriptors: limits.descriptors.map(u64::from),
            begins: clocks::begins(foreign_clocks.as_deref()),
        };
        let fds = StartFds {
            network: network.as_fd(),
            output: written.as_fd(),
            error_output: error_written.as_fd(),
            more: own.as_ref().map_or(&[], |own| own.as_slice()),
        };
        let listeners = [(Kind::Output, output), (Kind::ErrorOutput, error_output)]
            .map(|(kind, pipe)| self.listen(name.clone(), kind, pipe).map_err(|error| error.to_string()));
        let [out, errors] = listeners;
        let listeners = [out?, errors?];
        let now_ns = self.position().now_ns;
        let child = self.keeper.start(&start, fds).map_err(|error| match &error.kind {
            // What was being done, whoever asked for it says.
            ErrorKind::Os(reason) if reason.raw_os_error().is_none() => reason.to_string(),
            _ => error.to_string(),
        });
        let child = Arc::new(child?);
        clocks::begin(foreign_clocks.as_deref(), &start, &child);
        let watch = limits.memory_bytes.filter(|_| group.is_none()).map(|bytes| self.watch(&child, bytes));
        let watch = watch.transpose()?.flatten();
        let (number, foreign_clocks) = {
            let mut hosts = lock(&self.hosts.0);
            let host = &mut hosts[index(id)];
            host.child = Some(Arc::clone(&child));
            host.watch = watch;
            host.state = HostState::Up;
            host.has_starved = false;
            host.starts += 1;
            // A fault that began meanwhile has found no program.
            (host.starts, host.foreign_clocks())
        };
        if let Some(foreign_clocks) = foreign_clocks {
            clocks::follow(&foreign_clocks, &child);
        }
        // Before whatever it may have written since.
        self.record_at(Position { now_ns, ..self.event() }, Kind::Note, &name, b"started");
        thread::Builder::new()
            .name(format!("waits for {name}"))
            .spawn(move || self.wait_for(id, number, &child, &listeners))
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// Has a program killed when it has more memory than that, unless it has ended already: that is told as any end.
    fn watch(&self, child: &Child, bytes: u64) -> Result<Option<MemoryWatch>, String> {
        match MemoryWatch::apply(&self.journal, child.process(), bytes) {
            Ok(watch) => Ok(Some(watch)),
            Err(Error { kind: ErrorKind::TargetGone, .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Makes what a host does not have yet, or not any more.
    fn machine(&self, id: HostId) -> Result<Machine, String> {
        let text = |error: windtunnel_inject::Error| error.to_string();
        let mut hosts = lock(&self.hosts.0);
        let host = &mut hosts[index(id)];
        if !matches!(host.state, HostState::Down(_)) {
            return Err("its program runs already".to_owned());
        }
        let program = host.program.clone().ok_or("it has no program")?;
        if host.network.is_none() {
            host.network = Some(self.plug_in(id, &host.name)?);
        }
        if host.disk.is_none() {
            host.disk = Some(self.keeper.make_disk(&host.name, self.inodes()).map_err(text)?);
            host.group = self.group_for(&host.name).map(Arc::new);
            host.limited = self.limited(host.group.as_deref(), host.limits)?;
        }
        let (network, _) = host.network.clone().ok_or("its network is gone")?;
        host.is_felled = false;
        Ok(Machine {
            name: host.name.clone(),
            network,
            pages: Arc::clone(&host.pages),
            foreign_clocks: host.foreign_clocks(),
            group: host.group.clone(),
            program,
            command: host.command.clone(),
            limits: host.limits,
        })
    }

    /// What disks have in this case.
    fn inodes(&self) -> Inodes {
        let are_taken = |fault: &Fault| matches!(fault.effect, Effect::InodeExhaustion(_));
        if self.shared.plan().faults.iter().any(are_taken) { Inodes::ToBeTaken } else { Inodes::Usual }
    }

    /// Has a host's group hold it to its limits.
    fn limited(&self, group: Option<&Group>, limits: Limits) -> Result<Vec<Limited>, String> {
        let memory = limits.memory_bytes.map(|bytes| Limit::Memory { bytes });
        let threads = limits.threads.map(|count| Limit::Tasks { count: u64::from(count) });
        let Some(group) = group else {
            // Memory is watched instead.
            return match threads {
                None => Ok(Vec::new()),
                Some(_) => {
                    Err("a limit of threads takes a control group, which this user cannot make: run as root, or \
                                in a delegated group (systemd-run --user --scope -p Delegate=yes)"
                        .to_owned())
                }
            };
        };
        let limits = memory.iter().chain(&threads);
        limits.map(|limit| Limited::apply(group, limit).map_err(|error| error.to_string())).collect()
    }

    /// Waits for the end of a start, and does what is due then.
    fn wait_for(&'static self, id: HostId, start: u32, child: &Child, listeners: &[JoinHandle<()>]) {
        let exit = match child.wait() {
            Ok(End::Code(code)) => Exit::Code(code),
            Ok(End::Signal(signal)) => Exit::Signal(signal),
            Err(_) => Exit::Signal(libc::SIGKILL),
        };
        Self::until(READ_WITHIN, || listeners.iter().all(JoinHandle::is_finished));
        let (name, policy, restarts, is_felled, is_command) = {
            let mut hosts = lock(&self.hosts.0);
            let host = &mut hosts[index(id)];
            host.watch = None;
            host.has_starved = host.may_be_killed > 0 && exit == Exit::Signal(libc::SIGKILL) && !host.is_felled;
            let ended_by_itself = !host.is_felled && !host.has_starved;
            let policy = host.program.as_ref().map(|program| program.on_exit).filter(|_| ended_by_itself);
            if policy.is_some() {
                host.restarts += 1;
            }
            // Else nobody is to see it down, and fail for that reason, before the world ends for it.
            if policy != Some(OnExit::Fail) {
                host.child = None;
                host.state = HostState::Down(Some(exit));
            }
            (host.name.clone(), policy, host.restarts, host.is_felled, host.command.is_some())
        };
        match exit {
            Exit::Code(0) if policy == Some(OnExit::Fail) && is_command => self.note(&name, BACKGROUND),
            Exit::Code(code) => self.note(&name, &format!("exited with code {code}")),
            // That was noted when it was done.
            Exit::Signal(libc::SIGKILL) if is_felled => {}
            Exit::Signal(signal) => self.note(&name, &format!("was killed by signal {signal}")),
        }
        match policy {
            None | Some(OnExit::Ignore) => {}
            Some(OnExit::Fail) => self.host_failed(name, exit),
            Some(OnExit::Restart { backoff }) => {
                thread::sleep(restart_delay(backoff, restarts));
                if let Err(reason) = self.restart_after(id, start) {
                    self.not_started_again(id, &reason);
                }
            }
        }
    }

    /// A host that was to be started again could not be: the service did not do that. Nothing is wrong if somebody else
    /// was faster.
    pub(super) fn not_started_again(&'static self, host: HostId, reason: &str) {
        if matches!(self.state(host), HostState::Down(_)) {
            self.broken(&format!("{} could not be started again: {reason}", self.name(host)));
        }
    }

    /// Whether a host has ended that must not, or does within this time.
    pub(super) fn has_lost_a_host(&self, within: Duration) -> bool {
        let must_not_end = |host: &&Host| {
            let policy = host.program.as_ref().map(|program| program.on_exit);
            policy == Some(OnExit::Fail) && !host.is_felled && host.may_be_killed == 0
        };
        let children: Vec<Arc<Child>> =
            lock(&self.hosts.0).iter().filter(must_not_end).filter_map(|host| host.child.clone()).collect();
        // Readable when the process has ended (pidfd_open(2)).
        let mut ends: Vec<_> = children
            .iter()
            .map(|child| PollFd::from_borrowed_fd(child.process().handle.as_fd(), PollFlags::IN))
            .collect();
        Timespec::try_from(within).is_ok_and(|within| poll(&mut ends, Some(&within)).is_ok_and(|ended| ended > 0))
    }

    pub(crate) fn terminate(&self, host: HostId) {
        self.note_if_up(host, "asked to stop");
        self.fell(host, Signal::TERM);
    }

    pub(crate) fn kill(&'static self, host: HostId) {
        self.note_if_up(host, "killed");
        self.end(host);
    }

    fn note_if_up(&self, host: HostId, text: &str) {
        if self.child(host).is_some() {
            self.note(&self.name(host), text);
        }
    }

    fn end(&'static self, host: HostId) {
        self.fell(host, Signal::KILL);
        self.wait_down(host);
    }

    /// Power loss: first nobody hears of the host any more, then it is gone, with its connections. When it starts again
    /// its kernel knows nothing of them.
    pub(crate) fn crash(&'static self, host: HostId) {
        self.note(&self.name(host), "crashed");
        let power = self.power(host);
        let _until_it_is_down = lock(&power);
        let network = lock(&self.hosts.0)[index(host)].network.take();
        if let Some((_, port)) = network
            && let Err(error) = self.network.leave(port)
        {
            self.note(&self.name(host), &format!("could not be taken off the network: {error}"));
        }
        self.end(host);
        self.lose_power_of_disk(host);
    }

    /// What is in force on a disk is so again when this returns.
    fn lose_power_of_disk(&'static self, host: HostId) {
        let (name, disk) = {
            let hosts = lock(&self.hosts.0);
            (hosts[index(host)].name.clone(), hosts[index(host)].disk)
        };
        // A disk of memory keeps all that was written to it; the README says so.
        if !matches!(disk, Some((DiskKind::Ext4, _))) {
            return;
        }
        let throttles: Vec<Arc<Rule>> = match self.keeper.lose_power(&name) {
            Ok(disk) => {
                let host = &mut lock(&self.hosts.0)[index(host)];
                host.disk = Some(disk);
                host.throttles.iter().filter_map(Weak::upgrade).collect()
            }
            Err(error) => self.broken(&format!("the disk of {name} could not lose its power: {error}")),
        };
        let Some(device) = self.device(host).filter(|_| !throttles.is_empty()) else { return };
        // Whoever is on a host sees no control groups.
        let followed = self.engine.run(move || throttles.iter().try_for_each(|rule| rule.follow(device)));
        if let Err(error) = followed {
            self.broken(&format!("the disk of {name} could not be slow again after a loss of power: {error}"));
        }
    }

    fn fell(&self, host: HostId, signal: Signal) {
        let child = {
            let mut hosts = lock(&self.hosts.0);
            hosts[index(host)].is_felled = true;
            hosts[index(host)].child.clone()
        };
        if let Some(child) = child {
            // It may have ended by itself a moment ago.
            let _ = child.signal(signal);
            if signal == Signal::TERM {
                // Who is suspended could not hear of it.
                self.resume(host);
            }
        }
    }

    fn wait_down(&'static self, host: HostId) {
        if !Self::until(KILLED_WITHIN, || matches!(self.state(host), HostState::Down(_))) {
            // The thread that carries plans out may have asked: its panic would end nothing.
            self.broken(&format!("{} was killed and has not ended within {KILLED_WITHIN:?}", self.name(host)));
        }
    }

    pub(crate) fn pause(&self, host: HostId) {
        if self.suspend(host, Signal::STOP, HostState::Up, HostState::Paused) {
            self.note(&self.name(host), "paused");
        }
    }

    pub(crate) fn resume(&self, host: HostId) {
        if self.suspend(host, Signal::CONT, HostState::Paused, HostState::Up) {
            self.note(&self.name(host), "resumed");
        }
    }

    /// Whether it was done.
    fn suspend(&self, host: HostId, signal: Signal, from: HostState, to: HostState) -> bool {
        let mut hosts = lock(&self.hosts.0);
        let host = &mut hosts[index(host)];
        let Some(child) = host.child.as_ref().filter(|_| host.state == from) else { return false };
        let is_done = child.signal(signal).is_ok();
        if is_done {
            host.state = to;
        }
        is_done
    }

    /// Ends all programs, for the world's end.
    pub(super) fn end_hosts(&self) {
        let hosts = lock(&self.hosts.0).len();
        for number in 0..hosts {
            // There are as many as the numbers that were given.
            self.fell(HostId(number as u32), Signal::KILL);
        }
    }
}
