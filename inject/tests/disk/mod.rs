//! Starting hosts on disks, as a world's keeper does.

#![expect(dead_code, reason = "each test uses some of it")]

use crate::common;
use rustix::fs::CWD;
use rustix::thread::UnshareFlags;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use windtunnel_inject::disk::{DiskKind, OwnDisk};
use windtunnel_inject::mounts::{attach, new_mount};
use windtunnel_inject::namespace::leave_for_new;
use windtunnel_inject::sys::{Forked, end_now, fork, wait};
use windtunnel_inject::target::Process;

pub const MIB: u64 = 1 << 20;

/// Runs a test with disks of both kinds, each in namespaces of its own; with ext4 only as root of the machine.
#[track_caller]
pub fn each_kind(test: impl Fn(DiskKind)) {
    common::in_namespaces(|| test(DiskKind::Memory));
    if rustix::process::geteuid().is_root() {
        common::in_namespaces(|| test(DiskKind::Ext4));
    }
}

/// Whether this process may do what only root of the machine may. Says that it skips something if not, which is also so
/// where the real world is required: nobody can require root of another user.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// Starts a host on its disk, in a PID namespace of its own, and waits for its end. Whether it ended well.
pub fn start(disk: &OwnDisk, files: &[(&Path, &[u8])], program: impl FnOnce()) -> bool {
    in_child(|| {
        leave_for_new(UnshareFlags::NEWPID).expect("a PID namespace");
        let well = in_child(|| {
            disk.enter(files).expect("the disk");
            program();
        });
        assert!(well, "the host's program failed");
    })
}

/// A disk as most tests want it.
pub fn make(kind: DiskKind) -> OwnDisk {
    OwnDisk::make(Path::new("/"), kind, 32 * MIB, 1000).expect("a disk")
}

/// What a host could still write.
pub fn free_bytes(disk: &OwnDisk) -> u64 {
    let status = rustix::fs::fstatvfs(disk.store()).expect("space");
    status.f_bavail * status.f_frsize
}

/// How many files a host could still make.
pub fn free_inodes(disk: &OwnDisk) -> u64 {
    rustix::fs::fstatvfs(disk.store()).expect("space").f_ffree
}

/// Runs this in a child. Whether it ended without a panic.
pub fn in_child(program: impl FnOnce()) -> bool {
    match fork().expect("a process") {
        Forked::Child => end_now(i32::from(catch_unwind(AssertUnwindSafe(program)).is_err())),
        Forked::Parent(pid) => wait(pid).expect("a child").code() == 0,
    }
}

/// What a host's program expects to be possible.
#[track_caller]
pub fn ok<T, E: Debug>(result: Result<T, E>) -> T {
    result.expect("this works on the host's disk")
}

/// A child that holds something until it is killed.
pub struct Holder {
    pub process: Process,
}

impl Holder {
    /// Ends it as `kill -9` does.
    pub fn kill(self) {
        self.process.kill().expect("a child that has not been waited for");
        wait(self.process.pid).expect("a child");
    }
}

/// Makes something in a child, which then holds it. Returns when it is made.
pub fn in_background<T>(make: impl FnOnce() -> T) -> Holder {
    let (mut ours, mut theirs) = UnixStream::pair().expect("sockets");
    match fork().expect("a process") {
        Forked::Child => {
            drop(ours);
            let made = catch_unwind(AssertUnwindSafe(make));
            if made.is_ok() {
                theirs.write_all(b"y").expect("a parent");
            }
            drop(theirs);
            loop {
                std::thread::park();
            }
        }
        Forked::Parent(pid) => {
            drop(theirs);
            let holder = Holder { process: Process::open(pid).expect("a child") };
            let made = ours.read_exact(&mut [0]);
            made.expect("made in the background; if not, the reason is above");
            holder
        }
    }
}

/// Mounts a tmpfs for tests on other people's disks.
pub fn tmpfs_on_mnt(options: &str) {
    let options = format!("size={options}");
    let options = std::ffi::CString::new(options).expect("no zero");
    rustix::mount::mount("test", "/mnt", "tmpfs", rustix::mount::MountFlags::empty(), Some(options.as_c_str()))
        .expect("a tmpfs");
}

/// Mounts an overlay over one directory, at another.
pub fn overlay(lower: &str, at: &str) {
    let parts = ["upper", "work"].map(|part| format!("/mnt/.{}-{part}", at.replace('/', "-")));
    for part in &parts {
        std::fs::create_dir(part).expect("a directory");
    }
    let [upper, work] = &parts;
    let mut options = vec![("lowerdir", lower), ("upperdir", upper), ("workdir", work)];
    options.extend(in_user_namespace().then_some(("userxattr", "")));
    let overlay = new_mount("overlay", &options, rustix::mount::MountAttrFlags::empty()).expect("an overlay");
    attach(overlay.as_fd(), CWD, Path::new(at)).expect("a mount");
}

fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").expect("a map").split_whitespace().last() != Some("4294967295")
}

/// Waits at most twenty seconds.
#[track_caller]
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within twenty seconds: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
