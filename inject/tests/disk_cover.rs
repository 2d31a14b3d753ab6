//! A running process that finds no room in its directory.

mod common;
mod disk;

use disk::{eventually, in_background, in_child, ok, tmpfs_on_mnt};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::Path;
use windtunnel_inject::disk::{DirectoryFull, DiskKind};
use windtunnel_inject::journal::Journal;
use windtunnel_inject::namespace::leave_for_new;
use windtunnel_inject::target::Process;
use windtunnel_inject::{Injection, Target};

const DIRECTORY: &str = "/mnt/service";

/// A service with a directory of its own, in a mount namespace of its own.
fn service() -> (disk::Holder, Process) {
    let holder = in_background(|| {
        leave_for_new(UnshareFlags::NEWNS).expect("a mount namespace");
        tmpfs_on_mnt("8m");
        fs::create_dir(DIRECTORY).expect("a directory");
        fs::write(format!("{DIRECTORY}/kept"), "precious").expect("a file");
    });
    let process = holder.process.clone();
    (holder, process)
}

/// Does this where the service is, as the service would.
fn as_the_service(process: &Process, does: impl FnOnce()) {
    assert!(in_child(|| {
        move_into_thread_name_spaces(process.handle.as_fd(), ThreadNameSpaceType::MOUNT).expect("its namespace");
        does();
    }));
}

fn has_room() {
    ok(fs::write(format!("{DIRECTORY}/new"), "new"));
    ok(fs::remove_file(format!("{DIRECTORY}/new")));
    assert_eq!(ok(fs::read_to_string(format!("{DIRECTORY}/kept"))), "precious");
}

fn has_no_room() {
    for name in ["kept", "new"] {
        let error = fs::write(format!("{DIRECTORY}/{name}"), "x").expect_err("no room");
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{name}: {error}");
    }
    let error = fs::create_dir(format!("{DIRECTORY}/directory")).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert_eq!(ok(fs::read_to_string(format!("{DIRECTORY}/kept"))), "precious");
}

#[test]
fn a_process_finds_no_room_until_it_is_healed() {
    common::in_namespaces(|| {
        let journal = Journal::of_world().expect("a journal");
        let (holder, process) = service();
        let before = mounts_of(&process);
        as_the_service(&process, has_room);
        let started = std::time::Instant::now();
        let mut full =
            DirectoryFull::apply(&journal, &Target::Process(process.clone()), Path::new(DIRECTORY)).expect("no room");
        println!("in force after {:?}", started.elapsed());
        full.read_back().expect("in force");
        as_the_service(&process, has_no_room);
        full.heal().expect("healed");
        as_the_service(&process, has_room);
        assert_eq!(mounts_of(&process), before);
        full.heal().expect("healed already");
        holder.kill();
    });
}

#[test]
fn a_host_on_a_disk_of_its_own_finds_no_room() {
    common::in_namespaces(|| {
        let journal = Journal::of_world().expect("a journal");
        let own = disk::make(DiskKind::Memory);
        leave_for_new(UnshareFlags::NEWPID).expect("a PID namespace");
        let host = in_background(|| own.enter(&[]).expect("the disk"));
        let process = host.process.clone();
        let directory = Path::new("/var/lib");
        let mut full = DirectoryFull::apply(&journal, &Target::Process(process.clone()), directory).expect("no room");
        full.read_back().expect("in force");
        as_the_service(&process, || {
            let error = fs::write("/var/lib/new", "x").expect_err("no room");
            assert_eq!(error.kind(), ErrorKind::StorageFull);
            ok(fs::write("/var/new", "x"));
        });
        full.heal().expect("healed");
        as_the_service(&process, || ok(fs::write("/var/lib/new", "x")));
        host.kill();
    });
}

#[test]
fn it_is_unmounted_when_the_process_that_applied_it_is_killed() {
    common::in_namespaces(|| {
        let (holder, process) = service();
        let before = mounts_of(&process);
        let injector = in_background(|| {
            let journal = Journal::of_world().expect("a journal");
            DirectoryFull::apply(&journal, &Target::Process(process.clone()), Path::new(DIRECTORY)).expect("no room")
        });
        assert_ne!(mounts_of(&process), before);
        injector.kill();
        eventually("unmounted", || mounts_of(&process) == before);
        holder.kill();
    });
}

#[test]
fn it_heals_when_its_child_is_killed_or_stopped() {
    common::in_namespaces(|| {
        let journal = Journal::of_world().expect("a journal");
        let (holder, process) = service();
        let before = mounts_of(&process);
        for signal in [Signal::KILL, Signal::STOP] {
            let target = Target::Process(process.clone());
            let mut full = DirectoryFull::apply(&journal, &target, Path::new(DIRECTORY)).expect("no room");
            let children = ok(fs::read_to_string("/proc/thread-self/children"));
            let child = children.split_whitespace().last().and_then(|child| Pid::from_raw(child.parse().ok()?));
            ok(kill_process(child.expect("a child"), signal));
            full.read_back().expect_err("nobody answers");
            full.heal().expect("healed");
            assert_eq!(mounts_of(&process), before);
        }
        holder.kill();
    });
}

#[test]
fn what_others_mount_is_noticed_and_stays() {
    common::in_namespaces(|| {
        let journal = Journal::of_world().expect("a journal");
        let (holder, process) = service();
        let target = Target::Process(process.clone());
        let mut full = DirectoryFull::apply(&journal, &target, Path::new(DIRECTORY)).expect("no room");
        as_the_service(&process, || {
            ok(rustix::mount::mount("x", DIRECTORY, "tmpfs", rustix::mount::MountFlags::empty(), None));
        });
        full.read_back().expect_err("covered by somebody");
        full.heal().expect_err("it cannot be unmounted beneath");
        as_the_service(&process, || ok(rustix::mount::unmount(DIRECTORY, rustix::mount::UnmountFlags::empty())));
        full.read_back().expect("in force again");
        as_the_service(&process, || ok(rustix::mount::unmount(DIRECTORY, rustix::mount::UnmountFlags::DETACH)));
        full.read_back().expect_err("unmounted by somebody");
        full.heal().expect("gone is healed");
        as_the_service(&process, has_room);
        holder.kill();
    });
}

#[test]
fn a_target_that_ends_is_no_failure_of_healing() {
    common::in_namespaces(|| {
        let journal = Journal::of_world().expect("a journal");
        let (holder, process) = service();
        let mut full =
            DirectoryFull::apply(&journal, &Target::Process(process), Path::new(DIRECTORY)).expect("no room");
        holder.kill();
        full.read_back().expect_err("gone");
        full.heal().expect("nothing is left");
    });
}

fn mounts_of(process: &Process) -> Vec<u8> {
    fs::read(format!("/proc/{}/mountinfo", process.pid)).expect("mounts")
}
