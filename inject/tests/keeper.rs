//! Hosts' programs are started in namespaces of their own, and end with their world.

mod common;

use common::in_world;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::UnshareFlags;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use windtunnel_inject::keeper::{Begins, Child, Inodes, Keeper, Program, Start, StartFds};
use windtunnel_inject::process::proc::{self, Stat};
use windtunnel_inject::sys::End;

fn network() -> OwnedFd {
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            windtunnel_inject::namespace::leave_for_new(UnshareFlags::NEWNET).expect("a network of its own");
            OwnedFd::from(File::open("/proc/thread-self/ns/net").expect("the namespace"))
        });
        made.join().expect("it has not panicked")
    })
}

/// Starts a shell's script; what it writes comes through the pipe.
fn start(keeper: &Keeper, script: &str) -> (Child, File) {
    start_as(keeper, script, Begins::AtOnce)
}

fn start_as(keeper: &Keeper, script: &str, begins: Begins) -> (Child, File) {
    let (output, theirs) = std::io::pipe().expect("a pipe");
    let start = Start {
        host: "kv0".to_owned(),
        program: Program::Command("sh".to_owned()),
        args: vec!["shell".to_owned(), "-c".to_owned(), script.to_owned()],
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        cgroups: Vec::new(),
        files: vec![("/etc/hosts".into(), "10.0.0.1 kv1\n".to_owned())],
        descriptors: Some(77),
        begins,
    };
    keeper.make_disk("kv0", Inodes::Usual).expect("a disk");
    let network = network();
    let nothing = File::open("/dev/null").expect("nothing");
    let fds = StartFds {
        network: network.as_fd(),
        output: theirs.as_fd(),
        error_output: theirs.as_fd(),
        more: &[nothing.as_fd()],
    };
    (keeper.start(&start, fds).expect("it starts"), File::from(OwnedFd::from(output)))
}

fn all(mut output: File) -> String {
    let mut text = String::new();
    output.read_to_string(&mut text).expect("text");
    text
}

#[test]
fn a_program_is_alone_on_its_host() {
    in_world(|keeper| {
        let script =
            "hostname; cat /etc/hosts; ulimit -n; ls /proc/self/fd | wc -l; set -- /proc/[0-9]*; echo $#; exit 7";
        let (child, output) = start(keeper, script);
        // The listing has a descriptor of its own; processes are the first of the host and the shell.
        assert_eq!(all(output), "kv0\n10.0.0.1 kv1\n77\n5\n2\n");
        assert_eq!(child.wait().expect("a report"), End::Code(7));
    });
}

#[test]
fn a_program_that_begins_stopped_has_done_nothing_until_it_is_let_go_on() {
    in_world(|keeper| {
        let (child, output) = start_as(keeper, "echo begun; exit 5", Begins::Stopped);
        let stat = Stat::of(child.process().pid).expect("a process");
        assert_eq!(stat.state, 'T', "it is there, and nobody's tracee");
        let mut fds = [PollFd::new(&output, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&Timespec::default())).expect("a pipe"), 0, "it has written nothing");
        let comm = proc::read(child.process().pid, "comm").expect("its name");
        assert_eq!(comm, "sh\n", "it has been executed");
        child.signal(rustix::process::Signal::CONT).expect("it is there");
        assert_eq!(all(output), "begun\n");
        assert_eq!(child.wait().expect("a report"), End::Code(5));
    });
}

#[test]
fn a_program_gets_sigterm_and_takes_its_children_along() {
    in_world(|keeper| {
        let (child, output) = start(keeper, "sleep 1000 & echo ready; wait");
        let mut ready = [0; 6];
        (&output).read_exact(&mut ready).expect("it says so");
        child.signal(rustix::process::Signal::TERM).expect("it runs");
        assert_eq!(child.wait().expect("a report"), End::Signal(libc::SIGTERM));
        // Ends when nobody can write any more: the child is gone too.
        assert_eq!(all(output), "");
    });
}

#[test]
fn nothing_of_a_program_is_left_when_its_end_is_told() {
    in_world(|keeper| {
        // Each holds the pipe, and children of its own that nobody waits for.
        let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                (sleep 1000 & sleep 1000) &
            done
            sleep 0.2; echo ready; wait";
        for signal in [rustix::process::Signal::KILL, rustix::process::Signal::TERM] {
            let (child, output) = start(keeper, script);
            let mut ready = [0; 6];
            (&output).read_exact(&mut ready).expect("it says so");
            child.signal(signal).expect("it runs");
            assert_eq!(child.wait().expect("a report"), End::Signal(signal.as_raw()));
            let mut fds = [PollFd::new(&output, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec::default())).expect("a pipe");
            assert_eq!(fds[0].revents(), PollFlags::HUP, "somebody still holds what the program had open");
        }
    });
}

#[test]
fn a_program_that_ends_at_once_has_started() {
    in_world(|keeper| {
        for _ in 0..50 {
            let (child, _output) = start(keeper, "exit 3");
            assert_eq!(child.wait().expect("a report"), End::Code(3));
        }
    });
}

#[test]
fn a_world_tells_how_its_case_ended() {
    use windtunnel_inject::keeper::run_world;
    use windtunnel_inject::sys::{Forked, end_now, fork, wait};
    let ended = |case: fn()| {
        let (mut told, tell) = std::io::pipe().expect("a pipe");
        let Forked::Parent(pid) = fork().expect("a process") else {
            let ended = run_world(|_, _| {
                case();
                3
            });
            std::io::Write::write_all(&mut &tell, format!("{ended:?}").as_bytes()).expect("somebody listens");
            end_now(if ended.is_err() { 77 } else { 0 });
        };
        drop(tell);
        let mut text = String::new();
        told.read_to_string(&mut text).expect("text");
        let is_possible = wait(pid).expect("a child").code() != 77;
        assert!(is_possible || std::env::var_os("CHAOS_REQUIRE").is_none(), "required, and not possible here: {text}");
        is_possible.then_some(text)
    };
    let Some(text) = ended(|| ()) else { return };
    assert_eq!(text, "Ok(Code(3))");
    assert_eq!(ended(|| std::process::abort()).as_deref(), Some("Ok(Signal(6))"));
}

#[test]
fn a_stopped_child_does_not_outlive_its_program() {
    in_world(|keeper| {
        let (child, output) = start(keeper, "sleep 1000 & kill -STOP $!; echo ready; exit 3");
        assert_eq!(child.wait().expect("a report"), End::Code(3));
        assert_eq!(all(output), "ready\n");
    });
}

#[test]
fn what_cannot_be_executed_is_an_error_that_says_so() {
    in_world(|keeper| {
        let nothing = File::open("/dev/null").expect("nothing");
        let network = network();
        let start = Start {
            host: "kv0".to_owned(),
            program: Program::Command("no-such-program".to_owned()),
            args: vec!["no-such-program".to_owned()],
            env: Vec::new(),
            cgroups: Vec::new(),
            files: Vec::new(),
            descriptors: None,
            begins: Begins::Stopped,
        };
        let fd = nothing.as_fd();
        let fds = StartFds { network: network.as_fd(), output: fd, error_output: fd, more: &[] };
        keeper.make_disk("kv0", Inodes::Usual).expect("a disk");
        let error = keeper.start(&start, fds).expect_err("there is none").to_string();
        assert_eq!(
            error,
            "failed to start no-such-program on kv0: failed to execute `no-such-program`: it is in no directory of the \
             host's PATH (/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin); give its whole path, or set \
             another PATH"
        );
    });
}

#[test]
fn a_world_ends_with_its_case_and_with_who_ordered_it() {
    use windtunnel_inject::keeper::run_world;
    use windtunnel_inject::sys::{Forked, end_now, fork, wait};
    let (mut output, theirs) = std::io::pipe().expect("a pipe");
    let Forked::Parent(pid) = fork().expect("a process") else {
        let ended = run_world(|keeper, _disk| {
            let (_child, output) = start(&keeper, "echo ready; exec sleep 1000");
            let mut ready = [0; 6];
            (&output).read_exact(&mut ready).expect("it says so");
            std::io::Write::write_all(&mut &theirs, &ready).expect("somebody listens");
            std::thread::sleep(std::time::Duration::from_secs(1000));
            0
        });
        end_now(if ended.is_err() { 77 } else { 1 });
    };
    drop(theirs);
    let mut ready = [0; 6];
    if output.read_exact(&mut ready).is_err() {
        assert_eq!(wait(pid).expect("a child").code(), 77);
        assert!(std::env::var_os("CHAOS_REQUIRE").is_none(), "required, and not possible here");
        return;
    }
    let process = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("it runs");
    assert_eq!(wait(pid).expect("a child"), End::Signal(libc::SIGKILL));
    // Ends when the last process that holds the other end is gone.
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).expect("an end");
}
