//! A machine of one's own, as far as namespaces go: processes, network, mounts, names; and a control group, where this
//! user may have one.

use crate::foreign::Foreign;
use rustix::mount::{MountFlags, mount};
use rustix::thread::UnshareFlags;
use std::io::{Read as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use windtunnel_inject::cgroup::{Group, join};
use windtunnel_inject::journal::Journal;
use windtunnel_inject::namespace::{is_privileged, leave_for_new};
use windtunnel_inject::sys::{Forked, end_now, fork, wait};

/// What the sandbox's own processes exit with when there can be none.
const SKIPPED: i32 = 77;

/// Who runs the tests that are struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Root, or root of a user namespace.
    Root,
    /// Somebody without any privilege.
    Nobody,
}

/// Runs this as the first process of a sandbox, with what somebody else has there; prints what it answers, and fails as
/// it does. Where the machine has no namespaces for this user the test is skipped, or fails if `CHAOS_REQUIRE=real`.
#[track_caller]
pub fn in_sandbox(work: impl FnOnce() -> Result<String, String>) {
    let (mut heard, told) = std::io::pipe().expect("a pipe");
    let pid = match fork().expect("a process") {
        Forked::Child => {
            drop(heard);
            end_now(around(|| first_process(&told, work)))
        }
        Forked::Parent(pid) => pid,
    };
    drop(told);
    let mut report = String::new();
    heard.read_to_string(&mut report).expect("a text");
    match wait(pid).expect("a child").code() {
        0 => println!("{report}"),
        SKIPPED => {
            assert!(std::env::var_os("CHAOS_REQUIRE").is_none(), "required, and not possible here: {report}");
            println!("skipped: {report}");
        }
        code => panic!("the sandbox failed (code {code}):\n{report}"),
    }
}

/// The process outside of the sandbox's PID namespace: it has the group, and waits.
fn around(first: impl FnOnce() -> i32) -> i32 {
    // Without privilege there are none to be had, and the machine's journals are no business of a test's.
    let group = if is_privileged() {
        Journal::open().and_then(|journal| Group::make_for_groups(&journal, "sandbox")).ok()
    } else {
        None
    };
    let kinds = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWNET | UnshareFlags::NEWUTS;
    if let Err(error) = leave_for_new(kinds | UnshareFlags::NEWIPC) {
        eprintln!("skipped: {error}");
        return SKIPPED;
    }
    match fork() {
        Ok(Forked::Child) => {
            let entrances: Vec<_> = group.iter().flat_map(Group::entrances).collect();
            join(&entrances).expect("this process joins the group");
            end_now(first())
        }
        Ok(Forked::Parent(pid)) => {
            let end = wait(pid);
            drop(group);
            end.map_or(1, windtunnel_inject::sys::End::code)
        }
        Err(_) => 1,
    }
}

fn first_process(told: &std::io::PipeWriter, work: impl FnOnce() -> Result<String, String>) -> i32 {
    let worked = catch_unwind(AssertUnwindSafe(|| {
        place_mounts();
        let mut foreign = Foreign::put_in_place();
        let report = work()?;
        foreign.read_back()?;
        Ok(report)
    }));
    let (code, report) = match worked {
        Ok(Ok(report)) => (0, report),
        Ok(Err(report)) => (1, report),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            (1, text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default())
        }
    };
    // Nobody reads it: then there is nobody to tell.
    let _ = { told }.write_all(report.as_bytes());
    code
}

/// What this process sees and the machine does not: its processes, and places to write into that are empty.
fn place_mounts() {
    let none = MountFlags::NOSUID | MountFlags::NODEV;
    mount("proc", "/proc", "proc", none, None).expect("processes of the sandbox");
    for (place, options) in [("/run", c"mode=0755"), ("/tmp", c"mode=1777"), ("/mnt", c"mode=1777")] {
        mount("tmpfs", place, "tmpfs", none, options).expect("a place for files");
    }
    std::env::set_current_dir("/").expect("there is a root");
}
