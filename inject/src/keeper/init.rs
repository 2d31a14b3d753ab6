//! A host's first process: it makes the host, starts the program, and ends with it.
//!
//! The program is not the first process of its namespace itself: the kernel would keep signals from it for which it has
//! no handler, SIGTERM among them (pid_namespaces(7)).

use super::protocol;
use super::start::{Begins, Program, Report, Start};
use crate::disk::OwnDisk;
use crate::error::{Error, ErrorKind, Result};
use crate::step::reached;
use crate::sys::{
    Executable, Forked, end_now, execute, fork, inherit, keep_from_program, kill_all_others, leave_stopped,
    stop_at_execution, wait_any,
};
use crate::target::Process;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, LinkNameSpaceType};
use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Descriptors that a program may have unless it is said otherwise: the kernel's `fs.nr_open`, as services have on
/// current distributions.
const DESCRIPTORS: u64 = 1 << 20;
/// What a program may do as its host's root, like one in a container: nothing to the machine.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL);

/// Runs a host; the exit code.
pub(super) fn run(start: &Start, disk: &OwnDisk, fds: Vec<OwnedFd>) -> i32 {
    let mut fds = fds.into_iter();
    let (Some(network), Some(output), Some(error_output), Some(reports)) =
        (fds.next(), fds.next(), fds.next(), fds.next())
    else {
        return 1;
    };
    let more: Vec<OwnedFd> = fds.collect();
    // The keeper's, the case's…: a peer of a socket that this process held would not see its end.
    // Opened here: on the host they cannot be written.
    let made = groups_of(start).and_then(|groups| {
        let executable = make_host(start, disk, &network)?;
        drop(network);
        let streams = [output.as_fd(), error_output.as_fd()];
        let streams: Vec<_> = streams.into_iter().chain(more.iter().map(AsFd::as_fd)).collect();
        start_program(start, executable.as_fd(), &groups, &streams)
    });
    drop((output, error_output, more));
    let program = match made {
        Ok(program) => program,
        Err(error) => {
            // What the program's process has said is the whole reason.
            let reason = match error.kind {
                ErrorKind::Os(ref reason) if reason.raw_os_error().is_none() => reason.to_string(),
                _ => error.to_string(),
            };
            // Nobody reads it: then the case has ended, and so does this process.
            let _: Result<()> = protocol::send(&reports, &Report::Failed(reason), &[]);
            return 1;
        }
    };
    match supervise(program, &reports) {
        Ok(()) => 0,
        Err(_nobody_listens) => 1,
    }
}

/// Tells of the program's beginning and end, and reaps what it leaves.
///
/// The end is told when nothing of the host is left: whoever starts it again finds its ports free, and nobody answers
/// for it any more. Somebody whom the kernel lets sleep uninterruptibly delays it: whoever waits has a deadline.
fn supervise(program: u32, reports: &OwnedFd) -> Result<()> {
    let process = Process::open(program)?;
    protocol::send(reports, &Report::Started, &[process.handle.as_fd()])?;
    reached("the program's start is told");
    drop(process);
    // Before that it is not reaped, however soon it ends: nobody could ask for its number any more.
    if protocol::receive::<()>(reports)?.is_none() {
        return Err(Error::gone("tell of the program's start"));
    }
    loop {
        match wait_any(true) {
            Ok(Some((pid, end))) if pid == program => {
                reached("the program has ended");
                end_the_rest()?;
                reached("nothing of the host is left");
                protocol::send(reports, &Report::Ended(end), &[])?;
                reached("the program's end is told");
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::os("wait for the program", error)),
        }
    }
}

/// Ends whatever the program has left in this namespace, and waits until that has closed what it had open.
fn end_the_rest() -> Result<()> {
    // What is about to be forked ends as well: no fork succeeds while a signal is pending that kills (copy_process in
    // kernel/fork.c).
    kill_all_others().map_err(|error| Error::os("end what the program left", error))?;
    loop {
        match wait_any(true) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(()),
            Err(error) => return Err(Error::os("wait for what the program left", error)),
        }
    }
}

/// Makes this process a machine: network, name, disk. Answers what is to be executed.
fn make_host(start: &Start, disk: &OwnDisk, network: &OwnedFd) -> Result<OwnedFd> {
    // Of the keeper's file system, whatever the host sees of it.
    let executable = rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Error::os("open the executable", error))?;
    rustix::thread::move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| Error::os("enter the host's network", error))?;
    reached("the host's network is entered");
    rustix::system::sethostname(start.host.as_bytes()).map_err(|error| Error::os("name the host", error))?;
    reached("the host has a name");
    let files: Vec<_> = start.files.iter().map(|(path, text)| (path.as_path(), text.as_bytes())).collect();
    disk.enter(&files)?;
    Ok(executable)
}

/// What has to be written to for joining the groups that the program is put into.
fn groups_of(start: &Start) -> Result<Vec<File>> {
    let open = |directory: &std::path::PathBuf| {
        let opened = File::options().write(true).open(directory.join("cgroup.procs"));
        opened.map_err(|error| Error::os(format!("join {}", directory.display()), error))
    };
    start.cgroups.iter().map(open).collect()
}

/// Starts the program; its number in this namespace. Returns when it has been executed.
fn start_program(
    start: &Start,
    executable: BorrowedFd<'_>,
    groups: &[File],
    streams: &[BorrowedFd<'_>],
) -> Result<u32> {
    let (refusal, told) = std::io::pipe().map_err(|error| Error::os("make a pipe", error))?;
    match fork().map_err(|error| Error::os("fork the program", error))? {
        Forked::Child => {
            reached("program begun");
            drop(refusal);
            let Err(error) = become_program(start, executable, groups, streams);
            // The other side reads to the end.
            let _: std::io::Result<()> = (&told).write_all(error.to_string().as_bytes());
            end_now(127)
        }
        Forked::Parent(pid) => {
            reached("the program is forked");
            drop(told);
            let mut reason = String::new();
            (&refusal).read_to_string(&mut reason).map_err(|error| Error::os("hear of the program", error))?;
            if !reason.is_empty() {
                return Err(Error::os("start the program", std::io::Error::other(reason)));
            }
            if start.begins == Begins::Stopped {
                leave_stopped(pid).map_err(|error| Error::os("hold the program at its first instruction", error))?;
            }
            Ok(pid)
        }
    }
}

/// Returns only when that failed.
fn become_program(
    start: &Start,
    executable: BorrowedFd<'_>,
    groups: &[File],
    streams: &[BorrowedFd<'_>],
) -> Result<Infallible> {
    rustix::process::setsid().map_err(|error| Error::os("leave the session", error))?;
    reached("the program has a session");
    for mut group in groups {
        // 0 is whoever writes (cgroups(7)).
        group.write_all(b"0").map_err(|error| Error::os("join a control group", error))?;
        reached("a group has the program");
    }
    let nothing = File::open("/dev/null").map_err(|error| Error::os("open /dev/null", error))?;
    let argv = texts(start.args.iter().cloned())?;
    let envp = texts(start.env.iter().map(|(name, value)| format!("{name}={value}")))?;
    let paths = match &start.program {
        Program::This => Vec::new(),
        Program::Command(command) => texts(candidates(command, &start.env).into_iter())?,
    };
    give_up_capabilities()?;
    reached("the program has few capabilities");
    let inherited = [&[nothing.as_fd()], streams].concat();
    inherit(&inherited).map_err(|error| Error::os("place descriptors", error))?;
    // The executable's own descriptor is among them: execveat(2) opens the file before it closes these.
    keep_from_program(u32::try_from(inherited.len()).unwrap_or(u32::MAX))
        .map_err(|error| Error::os("close descriptors", error))?;
    limit_descriptors(start.descriptors).map_err(|error| Error::os("limit descriptors", error))?;
    if start.begins == Begins::Stopped {
        stop_at_execution().map_err(|error| Error::os("have the program stop at its first instruction", error))?;
    }
    reached("the program is to be executed");
    let mut last = match start.program {
        Program::This => execute(&Executable::File(executable), &argv, &envp),
        Program::Command(_) => std::io::Error::from_raw_os_error(libc::ENOENT),
    };
    for path in &paths {
        let error = execute(&Executable::Path(path), &argv, &envp);
        if error.kind() != std::io::ErrorKind::NotFound {
            last = error;
        }
    }
    Err(match &start.program {
        Program::Command(command) if last.kind() == std::io::ErrorKind::NotFound && !command.contains('/') => {
            let missing = format!("it is in no directory of the host's PATH ({})", path_of(&start.env));
            Error::lacking(format!("execute `{command}`"), missing, "give its whole path, or set another PATH")
        }
        Program::Command(command) => Error::os(format!("execute `{command}`"), last),
        Program::This => Error::os("execute the program", last),
    })
}

/// Where a command may be, as execvp(3) looks for it.
fn candidates(command: &str, env: &[(String, String)]) -> Vec<String> {
    if command.contains('/') {
        return vec![command.to_owned()];
    }
    path_of(env).split(':').map(|directory| format!("{directory}/{command}")).collect()
}

fn path_of(env: &[(String, String)]) -> &str {
    // As service managers have it (systemd.exec(5)).
    const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    env.iter().find(|(name, _)| name == "PATH").map_or(PATH, |(_, value)| value.as_str())
}

fn texts(texts: impl Iterator<Item = String>) -> Result<Vec<CString>> {
    let texts: std::result::Result<_, _> = texts.map(CString::new).collect();
    texts.map_err(|error| Error::os("pass a text with a zero byte", std::io::Error::from(error)))
}

/// The same limit whoever starts the test, as far as that can be: a shell's is often 1,024.
fn limit_descriptors(said: Option<u64>) -> rustix::io::Result<()> {
    let limited = |most| setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    match limited(Some(said.unwrap_or(DESCRIPTORS))) {
        Err(rustix::io::Errno::PERM) if said.is_none() => limited(getrlimit(Resource::Nofile).maximum),
        limited => limited,
    }
}

fn give_up_capabilities() -> Result<()> {
    for capability in CapabilitySet::all().iter().filter(|one| !CAPABILITIES.contains(*one)) {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The kernel is older than the capability.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(Error::os("give up capabilities", error)),
        }
    }
    Ok(())
}
