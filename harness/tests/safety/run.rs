//! A fixture that runs in the sandbox, and who of its processes is who.

use crate::look::reap;
use crate::sandbox::User;
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::CapabilitySet;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use windtunnel_inject::namespace::is_privileged;
use windtunnel_inject::process::proc::{self, Stat};
use windtunnel_inject::sys::{End, Forked, end_now, fork};

/// Who has no privilege. Like `nobody` of most distributions.
const NOBODY: u32 = 65_534;

/// A process of a run: see the picture in `windtunnel_inject::keeper`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// libtest's process, which the user has started.
    Supervisor,
    /// What it has executed to run cases.
    Worker,
    /// What that has forked for the case; it waits for the world.
    Outer,
    /// Who undoes the outer process's changes when that cannot.
    Guardian,
    /// The world's first process.
    Keeper,
    /// The test's body.
    Case,
    /// What the case has forked to strike others.
    Helper,
    /// A host's first process.
    Init,
    /// A host's program.
    Program,
}

impl Role {
    pub const ALL: [Self; 9] = [
        Self::Supervisor,
        Self::Worker,
        Self::Outer,
        Self::Guardian,
        Self::Keeper,
        Self::Case,
        Self::Helper,
        Self::Init,
        Self::Program,
    ];
}

/// A fixture that runs.
pub struct Run {
    pub supervisor: u32,
    output: File,
    /// What it has printed so far.
    pub text: String,
    /// How the supervisor has ended, if it has.
    pub end: Option<End>,
}

impl Run {
    /// Runs tests by a filter, as libtest does for `cargo test -- --nocapture`.
    pub fn start(user: User, arguments: &[&str]) -> Self {
        let (output, theirs) = std::io::pipe().expect("a pipe");
        rustix::fs::fcntl_setfl(&output, OFlags::NONBLOCK).expect("it is a pipe");
        let supervisor = match fork().expect("a process") {
            Forked::Child => {
                drop(output);
                let error = become_supervisor(user, arguments, theirs);
                eprintln!("the test binary cannot be executed: {error}");
                end_now(127)
            }
            Forked::Parent(pid) => pid,
        };
        Self { supervisor, output: OwnedFd::from(output).into(), text: String::new(), end: None }
    }

    /// Runs one fixture, and has it print what happens.
    pub fn fixture(user: User, name: &str) -> Self {
        let path = format!("fixture::{name}");
        Self::start(user, &["--exact", &path, "--test-threads=1"])
    }

    /// Takes in what was printed, and who has ended.
    pub fn look(&mut self) {
        let mut bytes = [0; 16 << 10];
        while let Ok(count @ 1..) = self.output.read(&mut bytes) {
            self.text += &String::from_utf8_lossy(&bytes[..count]);
        }
        for (pid, end) in reap() {
            if pid == self.supervisor {
                self.end = Some(end);
            }
        }
    }

    /// Waits for this, or for the supervisor's end, for so long; whether it holds.
    pub fn until(&mut self, within: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let deadline = Instant::now() + within;
        loop {
            self.look();
            if holds(self) {
                return true;
            }
            if self.end.is_some() || Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Waits for the supervisor's end; whether it came in time.
    pub fn ends_within(&mut self, within: Duration) -> bool {
        self.until(within, |run| run.end.is_some())
    }

    /// Whether the tests have passed.
    pub fn has_passed(&self) -> bool {
        self.end == Some(End::Code(0))
    }

    /// The processes in a role, oldest first.
    pub fn processes(&self, role: Role) -> Vec<u32> {
        let mut all: Vec<(u32, u32)> =
            proc::all().into_iter().filter_map(|pid| Some((pid, alive(pid)?.parent))).collect();
        all.sort_unstable();
        let below = |parents: &[u32]| -> Vec<u32> {
            all.iter().filter(|(_, parent)| parents.contains(parent)).map(|(pid, _)| *pid).collect()
        };
        let has_name = |pid: &u32, name: &str| proc::read(*pid, "comm").is_ok_and(|comm| comm.starts_with(name));
        let supervisors = [self.supervisor];
        let workers = || below(&supervisors);
        let outers = || below(&workers());
        // Who ends while it is looked at is in none that is known, and is nobody.
        let namespace = |pid: u32| proc::namespace(pid, "pid").ok();
        let here = namespace(std::process::id());
        // A child of the outer process that is not elsewhere forks the guardian, and ends.
        let worlds = || -> Vec<(u32, u64)> {
            let all = below(&outers()).into_iter().filter_map(|pid| Some((pid, namespace(pid)?)));
            all.filter(|(_, world)| Some(*world) != here).collect()
        };
        let keepers = || worlds().into_iter().map(|(keeper, _)| keeper).collect::<Vec<_>>();
        let of_keepers = |in_the_world: bool| -> Vec<u32> {
            let (keepers, worlds): (Vec<u32>, Vec<u64>) = worlds().into_iter().unzip();
            let is_wanted = |pid: &u32| namespace(*pid).is_some_and(|its| worlds.contains(&its) == in_the_world);
            below(&keepers).into_iter().filter(is_wanted).collect()
        };
        let (inits, cases) = (|| of_keepers(false), || of_keepers(true));
        match role {
            Role::Supervisor => {
                below(&[std::process::id()]).into_iter().filter(|&pid| pid == self.supervisor).collect()
            }
            Role::Worker => workers(),
            Role::Outer => outers(),
            Role::Guardian => all.iter().map(|(pid, _)| *pid).filter(|pid| has_name(pid, "wt:guardian")).collect(),
            Role::Keeper => keepers(),
            Role::Case => cases(),
            Role::Helper => below(&cases()).into_iter().filter(|pid| has_name(pid, "wt:")).collect(),
            Role::Init => inits(),
            Role::Program => below(&inits()),
        }
    }

    /// Removes whatever is left in the sandbox, so that the next run finds nothing; what was in journals.
    pub fn clear(&mut self) -> String {
        for pid in proc::all().into_iter().filter(|&pid| pid != std::process::id()) {
            signal(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(200));
        self.look();
        let directories = ["/run/windtunnel".to_owned(), format!("/tmp/windtunnel-{NOBODY}")];
        let entries = directories.iter().filter_map(|directory| std::fs::read_dir(directory).ok()).flatten().flatten();
        let journals = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect();
        let _ = windtunnel_inject::recover::recover();
        for directory in directories {
            let _ = std::fs::remove_dir_all(directory);
        }
        journals
    }
}

fn alive(pid: u32) -> Option<Stat> {
    Stat::of(pid).ok().filter(|stat| !stat.has_ended())
}

/// Sends a signal to a process that may have ended.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Executes this test binary in this process's place. Returns only when that failed.
fn become_supervisor(user: User, arguments: &[&str], output: std::io::PipeWriter) -> std::io::Error {
    let error_output = match output.try_clone() {
        Ok(again) => again,
        Err(error) => return error,
    };
    // By what is executed now: the path may be where the sandbox has put something else.
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments).args(["--include-ignored", "--nocapture"]);
    command.env_clear().env("CHAOS_SAVE", "never").env("CHAOS_LOG", "all").env("CHAOS_REQUIRE", "real");
    command.env("CHAOS_OUT", "/mnt/chaos");
    command.stdin(Stdio::null()).stdout(output).stderr(error_output).process_group(0);
    if user == User::Nobody {
        if is_root_of_the_machine() {
            command.uid(NOBODY).gid(NOBODY);
        } else {
            // Root of a user namespace has nobody else to be; what it executes has no more than its bounding set. In
            // namespaces of its own it is root again, for which it has to be allowed to map root (user_namespaces(7)).
            for capability in CapabilitySet::all().difference(CapabilitySet::SETFCAP).iter() {
                let _ = rustix::thread::remove_capability_from_bounding_set(capability);
            }
        }
    }
    command.exec()
}

/// Whether other users have numbers here.
pub fn is_root_of_the_machine() -> bool {
    is_privileged() && std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains("4294967295"))
}
