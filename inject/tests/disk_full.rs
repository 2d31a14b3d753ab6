//! A disk on which nothing more can be written, or no file made.

mod common;
mod disk;

use disk::{MIB, each_kind, make, ok, start};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use windtunnel_inject::disk::{DiskFull, DiskKind, InodeExhaustion, OwnDisk, directory_of};
use windtunnel_inject::target::Process;
use windtunnel_inject::{Injection, Target};

/// A directory, as of a target that was not started here.
fn of_this_process(path: &str) -> OwnedFd {
    directory_of(&Target::Process(Process::open(std::process::id()).expect("itself")), Path::new(path))
        .expect("a directory")
}

/// Writes until there is no space: how many bytes that were.
fn fill(path: &str) -> u64 {
    let mut file = ok(File::create(path));
    let mut written = 0;
    loop {
        match file.write(&[7; 4096]) {
            Ok(length) => written += length as u64,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                return written;
            }
        }
    }
}

#[test]
fn a_host_can_write_what_was_left_and_everything_after_healing() {
    each_kind(|kind| {
        let disk = make(kind);
        let mut full = DiskFull::of(&disk, MIB).expect("a full disk");
        full.read_back().expect("in force");
        let free = full.space().expect("space").free_bytes;
        assert!((MIB - 4096..=MIB).contains(&free), "{free} bytes are free");
        assert!(start(&disk, &[], || {
            let written = fill("/var/lib/data");
            // Names and extents need space as well.
            assert!((MIB - 64 * 1024..=MIB).contains(&written), "{written} bytes were written");
        }));
        assert!(full.bit().expect("a count") >= 240);
        full.heal().expect("healed");
        let bit = full.bit().expect("a count");
        full.read_back().expect_err("healed");
        assert!(start(&disk, &[], || ok(fs::write("/var/lib/more", vec![7; 8 * MIB as usize]))));
        assert_eq!(full.bit().expect("a count"), bit, "what comes after healing does not count");
    });
}

#[test]
fn a_file_in_a_directory_that_is_there_takes_all_that_was_left() {
    const LEFT: u64 = 64 << 10;
    each_kind(|kind| {
        for mib in [32, 1024] {
            let disk = OwnDisk::make(Path::new("/"), kind, mib * MIB, 1000).expect("a disk");
            // A directory takes a block of its own when it is first written to.
            assert!(start(&disk, &[], || ok(File::create("/var/lib/before").and_then(|file| file.sync_all()))));
            let full = DiskFull::of(&disk, LEFT).expect("a full disk");
            assert_eq!(full.space().expect("space").free_bytes, LEFT, "{mib} MiB");
            assert!(start(&disk, &[], || assert_eq!(fill("/var/lib/data"), LEFT)));
        }
    });
}

#[test]
fn what_a_host_deletes_is_taken_as_well() {
    each_kind(|kind| {
        let disk = make(kind);
        assert!(start(&disk, &[], || ok(fs::write("/data", vec![7; 4 * MIB as usize]))));
        let mut full = DiskFull::of(&disk, 0).expect("a full disk");
        assert!(start(&disk, &[], || {
            let error = fs::write("/more", vec![7; 4096]).expect_err("no space");
            assert_eq!(error.kind(), ErrorKind::StorageFull);
            ok(fs::remove_file("/data"));
        }));
        full.read_back().expect("in force");
        assert_eq!(full.space().expect("space").free_bytes, 0);
        full.confirm().expect("full");
        full.heal().expect("healed");
        assert!(start(&disk, &[], || ok(fs::write("/data", vec![7; 8 * MIB as usize]))));
    });
}

#[test]
fn a_disk_can_be_filled_while_its_host_writes_and_deletes() {
    each_kind(|kind| {
        let disk = make(kind);
        let host = disk::in_background(|| {
            std::thread::spawn({
                let directory = disk.store().try_clone_to_owned().expect("a descriptor");
                move || {
                    let own = format!("/proc/self/fd/{}", directory.as_raw_fd());
                    loop {
                        let _ = fs::write(format!("{own}/busy"), vec![7; MIB as usize]);
                        let _ = fs::remove_file(format!("{own}/busy"));
                    }
                }
            })
        });
        for _ in 0..15 {
            let mut full = DiskFull::of(&disk, 0).expect("a full disk");
            let mut few = InodeExhaustion::of(&disk, 0).expect("few inodes");
            full.read_back().expect("in force");
            few.read_back().expect("in force");
            few.heal().expect("healed");
            full.heal().expect("healed");
        }
        host.kill();
        assert!(disk::free_bytes(&disk) > 30 * MIB);
    });
}

#[test]
fn a_full_disk_is_in_force_and_healed_at_once() {
    each_kind(|kind| {
        let disk = make(kind);
        for _ in 0..10 {
            let before = std::time::Instant::now();
            let mut full = DiskFull::of(&disk, 0).expect("a full disk");
            let applied = before.elapsed();
            full.heal().expect("healed");
            println!("{kind:?}: in force after {applied:?}, healed after {:?}", before.elapsed() - applied);
            assert!(before.elapsed().as_millis() < 200);
            assert!(full.space().expect("space").free_bytes > 16 * MIB);
        }
    });
}

#[test]
fn a_balloon_dies_with_its_holder() {
    if !disk::is_root() {
        return;
    }
    common::in_namespaces(|| {
        let disk = make(DiskKind::Ext4);
        let before = disk::free_bytes(&disk);
        let holder = disk::in_background(|| {
            let full = DiskFull::of(&disk, 0).expect("a full disk");
            assert_eq!(full.space().expect("space").free_bytes, 0);
            full
        });
        assert_eq!(disk::free_bytes(&disk), 0);
        holder.kill();
        assert_eq!(disk::free_bytes(&disk), before);
    });
}

#[test]
fn a_target_that_is_gone_has_no_directory() {
    let holder = disk::in_background(|| ());
    let process = holder.process.clone();
    holder.kill();
    let error = directory_of(&Target::Process(process), Path::new("/")).expect_err("gone");
    assert!(error.to_string().ends_with("what it was about is gone"), "{error}");
}

#[test]
fn somebody_elses_disk_keeps_a_reserve() {
    common::in_namespaces(|| {
        disk::tmpfs_on_mnt("160m");
        let mut full = DiskFull::around(of_this_process("/mnt"), 0).expect("a full disk");
        assert_eq!(full.mechanism(), "balloon without a name");
        assert_eq!(full.space().expect("space").free_bytes, 64 * MIB);
        assert_eq!(ok(fs::read_dir("/mnt")).count(), 0, "the balloon has no name");
        full.confirm().expect("full");
        full.heal().expect("healed");
        assert_eq!(full.space().expect("space").free_bytes, 160 * MIB);
    });
}

#[test]
fn a_host_can_make_as_many_files_as_were_left_and_more_after_healing() {
    each_kind(|kind| {
        let disk = make(kind);
        assert!(start(&disk, &[], || {
            ok(fs::create_dir("/files"));
            for number in 0..30 {
                ok(File::create(format!("/files/old-{number}")));
            }
        }));
        let before = std::time::Instant::now();
        let mut exhaustion = InodeExhaustion::of(&disk, 10).expect("few inodes");
        println!("{kind:?}: in force after {:?} by {}", before.elapsed(), exhaustion.mechanism());
        exhaustion.read_back().expect("in force");
        assert_eq!(exhaustion.space().expect("space").free_inodes, 10);
        exhaustion.confirm().expect("in force");
        assert!(start(&disk, &[], || {
            for number in 0..10 {
                ok(File::create(format!("/files/{number}")));
            }
            let error = File::create("/files/one-more").expect_err("no inode");
            assert_eq!(error.kind(), ErrorKind::StorageFull);
            ok(fs::write("/files/3", "there is space"));
            for number in 0..30 {
                ok(fs::remove_file(format!("/files/old-{number}")));
            }
        }));
        exhaustion.read_back().expect("in force");
        assert_eq!(exhaustion.space().expect("space").free_inodes, 10, "what was freed is taken");
        assert!(exhaustion.bit().expect("a count") >= 10);
        exhaustion.heal().expect("healed");
        assert!(start(&disk, &[], || {
            for number in 0..100 {
                ok(File::create(format!("/files/again-{number}")));
            }
        }));
    });
}

#[test]
fn inodes_are_held_by_a_process_that_ends_with_the_fault() {
    common::in_namespaces(|| {
        disk::tmpfs_on_mnt("1m,nr_inodes=3000");
        let mut exhaustion = InodeExhaustion::around(of_this_process("/mnt"), 0).expect("few inodes");
        // The kernel counts an inode a moment after its last user is gone.
        assert!((999..=1000).contains(&exhaustion.space().expect("space").free_inodes), "a reserve");
        assert_eq!(ok(fs::read_dir("/mnt")).count(), 0, "the files have no names");
        exhaustion.heal().expect("healed");
        assert_eq!(exhaustion.space().expect("space").free_inodes, 2999);
    });
}
