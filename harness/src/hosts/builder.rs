//! What a host runs, and how.

use super::host::{Host, HostError, Hosts, Waits};
use super::program::{HostMain, OnExit, Program, Runtime};
use super::ready::Probe;
use crate::chaos::Shared;
use crate::duration::IntoDuration;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use windtunnel_faults::Size;
use windtunnel_sim::world;

/// How long a host may take to become ready, in virtual time.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A host as its own description sees it: for arguments and environment.
#[derive(Debug, Clone)]
pub struct Member {
    group: String,
    index: usize,
    names: Arc<[String]>,
}

impl Member {
    /// Its place in the group, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.names[self.index]
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The names of the whole group, itself included.
    pub fn members(&self) -> &[String] {
        &self.names
    }

    /// The names of the others.
    ///
    /// ```no_run
    /// # fn example(h: &windtunnel::Member) {
    /// let peers: String = h.peers().join(",");
    /// # }
    /// ```
    pub fn peers(&self) -> Vec<String> {
        let others = self.names.iter().enumerate().filter(|(index, _)| *index != self.index);
        others.map(|(_, name)| name.clone()).collect()
    }
}

type MakeProgram = Box<dyn Fn(&Member, Runtime) -> Result<Program, serde_json::Error>>;
type MakeTexts<T> = Box<dyn Fn(&Member) -> Vec<T>>;

/// Describes a host, or a group of hosts, until [`start`](Self::start).
///
/// ```no_run
/// # use windtunnel::prelude::*;
/// # async fn serve() {}
/// # async fn example(cx: Chaos) -> Result<()> {
/// let kv = cx
///     .hosts("kv", 3)
///     .main(serve)
///     .args(|h| ["--id".into(), h.index().to_string(), "--peers".into(), h.peers().join(",")])
///     .env("RUST_LOG", "info")
///     .ready(http(8080, "/healthz"))
///     .on_exit(OnExit::restart_after("1s"))
///     .start()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a host does nothing until `.start().await`"]
pub struct HostBuilder<S> {
    shared: Arc<Shared>,
    group: String,
    names: Arc<[String]>,
    program: Option<MakeProgram>,
    /// An executable, in place of a function of the test binary.
    command: Option<String>,
    args: Vec<MakeTexts<String>>,
    env: Vec<(String, String)>,
    runtime: Runtime,
    probe: Option<Probe>,
    ready_within: Duration,
    stop_within: Option<Duration>,
    on_exit: OnExit,
    limits: world::Limits,
    started: PhantomData<fn() -> S>,
}

/// What starting gives: a [`Host`] or [`Hosts`].
pub trait Started {
    /// Made of the hosts that were started.
    #[doc(hidden)]
    fn from_hosts(hosts: Vec<Host>) -> Self;
}

impl Started for Hosts {
    fn from_hosts(hosts: Vec<Host>) -> Self {
        Self::new(hosts)
    }
}

impl Started for Host {
    fn from_hosts(mut hosts: Vec<Host>) -> Self {
        // `Chaos::host` describes exactly one.
        hosts.swap_remove(0)
    }
}

impl<S: Started> HostBuilder<S> {
    pub(crate) fn new(shared: &Arc<Shared>, group: &str, names: Vec<String>) -> Self {
        Self {
            shared: Arc::clone(shared),
            group: group.to_owned(),
            names: names.into(),
            program: None,
            command: None,
            args: Vec::new(),
            env: Vec::new(),
            runtime: Runtime::default(),
            probe: None,
            ready_within: READY_WITHIN,
            stop_within: None,
            on_exit: OnExit::default(),
            limits: world::Limits::default(),
            started: PhantomData,
        }
    }

    /// Runs this function as the host's program: a service's own `main`, `async` or not.
    ///
    /// It captures nothing, since a host has its own copy of every static and could as well be another process. What
    /// it needs goes through [`args`](Self::args), [`env`](Self::env), or [`run`](Self::run).
    pub fn main<R, K>(self, main: fn() -> R) -> Self
    where
        R: HostMain<K> + 'static,
        K: 'static,
    {
        self.function(move |_, runtime| Program::main(main, runtime))
    }

    /// Runs this function, with a value that is passed to each host as bytes.
    ///
    /// ```no_run
    /// # use windtunnel::prelude::*;
    /// # async fn example(cx: Chaos) -> Result<()> {
    /// async fn echo(port: u16) -> std::io::Result<()> {
    ///     let listener = tokio::net::TcpListener::bind(("0.0.0.0", port)).await?;
    ///     loop {
    ///         let (mut stream, _) = listener.accept().await?;
    ///         let (mut reader, mut writer) = stream.split();
    ///         tokio::io::copy(&mut reader, &mut writer).await?;
    ///     }
    /// }
    /// let server = cx.host("echo").run(echo, 7).ready(tcp(7)).start().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<A, R, K>(self, run: fn(A) -> R, arguments: A) -> Self
    where
        A: Serialize + DeserializeOwned + 'static,
        R: HostMain<K> + 'static,
        K: 'static,
    {
        self.function(move |_, runtime| Program::run(run, &arguments, runtime))
    }

    /// Runs this function, with a value of its own for each host.
    pub fn run_each<A, R, K>(self, run: fn(A) -> R, arguments: impl Fn(&Member) -> A + 'static) -> Self
    where
        A: Serialize + DeserializeOwned + 'static,
        R: HostMain<K> + 'static,
        K: 'static,
    {
        self.function(move |member, runtime| Program::run(run, &arguments(member), runtime))
    }

    /// Runs this executable: a service that is no Rust, or not this workspace's. [`args`](Self::args) and
    /// [`env`](Self::env) are its own.
    ///
    /// Unless it has a slash it is looked for in the hosts' `PATH`, as services have it:
    /// `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`. It begins in `/`, and has to stay in the
    /// foreground. Its files are the machine's, and what it writes is its host's own; where temporary files lie, and
    /// what runs leaves its own (`/run`), is empty at first. The test body has a disk of its own as well: a file that
    /// the test writes, a command does not see.
    ///
    /// In the real world only: the simulated one is beneath libc's functions of the test binary.
    ///
    /// ```no_run
    /// # use windtunnel::prelude::*;
    /// # async fn example(cx: Chaos) -> Result<()> {
    /// let redis = cx
    ///     .host("redis")
    ///     .command("redis-server")
    ///     .arg("--protected-mode no")
    ///     .ready(tcp(6379))
    ///     .stop_within("5s")
    ///     .start()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self.program(|_, _| Ok(Program::of_a_command()))
    }

    fn function(mut self, program: impl Fn(&Member, Runtime) -> Result<Program, serde_json::Error> + 'static) -> Self {
        self.command = None;
        self.program(program)
    }

    fn program(mut self, program: impl Fn(&Member, Runtime) -> Result<Program, serde_json::Error> + 'static) -> Self {
        self.program = Some(Box::new(program));
        self
    }

    /// Adds command-line arguments, which may differ from host to host. The program's name, which comes before them, is
    /// the group's.
    pub fn args<I>(mut self, args: impl Fn(&Member) -> I + 'static) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.args.push(Box::new(move |member| args(member).into_iter().map(Into::into).collect()));
        self
    }

    /// Adds a command-line argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        let arg = arg.into();
        self.args.push(Box::new(move |_| vec![arg.clone()]));
        self
    }

    /// Sets a variable of the hosts' environment. Beside these, they have `PATH`, `HOME`, `LANG`, and `RUST_LOG` and
    /// `RUST_BACKTRACE` when the test was started with them.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The tokio runtime for an `async` program.
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = runtime;
        self
    }

    /// When a host is ready: [`start`](Self::start) and [`Host::restart`] wait for it. Without this, a host is ready
    /// when it has been started.
    pub fn ready(mut self, probe: Probe) -> Self {
        self.probe = Some(probe);
        self
    }

    /// How long a host may take to become ready, in virtual time; 30 seconds unless set.
    ///
    /// # Panics
    /// The text is no duration.
    #[track_caller]
    pub fn ready_within(mut self, within: impl IntoDuration) -> Self {
        self.ready_within = crate::duration::expect(within);
        self
    }

    /// How long a program that is asked to end by [`Host::stop_and_wait`] may take: then it is killed. As long as it
    /// likes unless set.
    ///
    /// # Panics
    /// The text is no duration.
    #[track_caller]
    pub fn stop_within(mut self, within: impl IntoDuration) -> Self {
        self.stop_within = Some(crate::duration::expect(within));
        self
    }

    /// What happens when the program ends by itself; the case fails unless set.
    pub fn on_exit(mut self, on_exit: OnExit) -> Self {
        self.on_exit = on_exit;
        self
    }

    /// How much memory each host has. `/proc/meminfo`, cgroups and sysinfo(2) say so, and a program whose allocations
    /// go beyond it is killed, as by Linux's OOM killer. Unless it is set, the machine shows 8 GiB, and nothing is
    /// enforced until a fault takes memory. What counts is what `malloc` gives, and so Rust's allocator unless the
    /// program brings another.
    ///
    /// ```no_run
    /// # use windtunnel::prelude::*;
    /// # async fn serve() {}
    /// # async fn example(cx: Chaos) -> Result<()> {
    /// let small = cx.host("small").main(serve).memory("64MiB").descriptors(128).threads(16).start().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// The text is no size.
    #[track_caller]
    pub fn memory(mut self, size: &str) -> Self {
        let size: Size = size.parse().unwrap_or_else(|error| panic!("`memory`: {error}"));
        self.limits.memory_bytes = Some(size.as_bytes());
        self
    }

    /// How many descriptors each program may have open (`RLIMIT_NOFILE`); 1,048,576 unless set. Opening more fails with
    /// `EMFILE`.
    pub fn descriptors(mut self, most: u32) -> Self {
        self.limits.descriptors = Some(most);
        self
    }

    /// How many threads each program may have; 63,536 unless set. Starting more fails with `EAGAIN`.
    pub fn threads(mut self, most: u32) -> Self {
        self.limits.threads = Some(most);
        self
    }

    /// Starts every host, then waits until all are ready.
    ///
    /// # Errors
    /// There is no program, a name is taken, or a host did not start or did not become ready in time.
    pub async fn start(self) -> Result<S, HostError> {
        let hosts = self.boot()?;
        for host in &hosts {
            host.wait_ready().await?;
        }
        Ok(S::from_hosts(hosts))
    }

    fn boot(self) -> Result<Vec<Host>, HostError> {
        let Some(make) = &self.program else {
            return Err(HostError::NoProgram { group: self.group });
        };
        if let Some(command) = self.command.as_ref().filter(|_| !crate::world::is_real()) {
            return Err(HostError::NotHere { group: self.group.clone(), command: command.clone() });
        }
        let members = (0..self.names.len()).map(|index| self.member(index));
        let prepared: Result<Vec<_>, serde_json::Error> =
            members.map(|member| Ok((make(&member, self.runtime)?, member))).collect();
        let prepared = prepared.map_err(|source| HostError::Arguments { group: self.group.clone(), source })?;
        // Before the first starts, so that each can resolve all names.
        let mut hosts = Vec::new();
        for name in self.names.iter() {
            let id = self.shared.add_host(name)?;
            crate::world::limit(id, self.limits);
            let probe = self.probe.clone();
            let waits = Waits { ready_within: self.ready_within, stop_within: self.stop_within };
            let host = Host::new(id, name.clone(), &self.shared, probe, waits, self.on_exit);
            let mut state = self.shared.state();
            state.hosts.push(host.clone());
            state.topology.add(name, &self.group);
            drop(state);
            hosts.push(host);
        }
        for (host, (program, member)) in hosts.iter().zip(prepared) {
            let program = self.to_sim(program, &member);
            let failed = |reason| HostError::Start { host: host.name().to_owned(), reason };
            crate::world::start(host.id(), &program, self.command.as_deref()).map_err(failed)?;
        }
        Ok(hosts)
    }

    fn member(&self, index: usize) -> Member {
        Member { group: self.group.clone(), index, names: Arc::clone(&self.names) }
    }

    fn to_sim(&self, program: Program, member: &Member) -> world::Program {
        let args = self.args.iter().flat_map(|args| args(member));
        let mut env = self.shared.environment.clone();
        for (name, value) in &self.env {
            env.retain(|(other, _)| other != name);
            env.push((name.clone(), value.clone()));
        }
        world::Program {
            entry: program.entry.enter,
            user: program.entry.function,
            payload: program.payload,
            args: std::iter::once(self.command.clone().unwrap_or_else(|| self.group.clone())).chain(args).collect(),
            env,
            on_exit: self.on_exit.to_sim(),
        }
    }
}

impl Shared {
    /// Makes a host of this name.
    pub(crate) fn add_host(&self, name: &str) -> Result<world::HostId, HostError> {
        let wrong = |reason: &str| HostError::Name { name: name.to_owned(), reason: reason.to_owned() };
        if !is_host_name(name) {
            return Err(wrong(
                "a host name has at most 63 letters, digits and hyphens, with dots between its parts; no part begins \
                 or ends with a hyphen, and the last is no number",
            ));
        }
        let state = self.state();
        let taken = name == "test"
            || name == "localhost"
            || state.hosts.iter().any(|host| host.name() == name)
            || state.clients.iter().any(|(client, _)| client == name);
        drop(state);
        if taken {
            return Err(wrong("it is taken"));
        }
        crate::world::add_host(name).map_err(|reason| HostError::Start { host: name.to_owned(), reason })
    }
}

/// Whether programs take this for a host's name, and not for an address (RFC 1123, section 2.1), and the kernel as a
/// machine's (uname(2): 64 bytes).
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(is_inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_number = |label: &str| label.chars().all(|c| c.is_ascii_digit());
    name.len() <= 63 && name.split('.').all(is_label) && !name.rsplit('.').next().is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_none_of_an_address() {
        let longest = "x".repeat(63);
        let names = ["a", "kv0", "a-b", "0x", "1st", "kv.example", "10.0.0.x9", longest.as_str()];
        assert!(names.iter().all(|name| is_host_name(name)), "{names:?}");
        let too_long = "x".repeat(64);
        let others = [
            "", "-a", "a-", "a.-b", ".", "..", "a..b", "a.", ".a", "10.0.0.9", "7", "kv.7", "a_b", "k v", "ä",
            &too_long,
        ];
        assert!(!others.iter().any(|name| is_host_name(name)), "{others:?}");
    }
}
