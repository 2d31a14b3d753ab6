//! A disk that is slow.

mod common;
mod disk;

use disk::{MIB, ok, start};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
use windtunnel_inject::disk::{Device, DiskKind, IoLimits, IoThrottle};
use windtunnel_inject::{Injection, Target};

/// A cgroup of the test's own, removed with it.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `None`, with the reason said, if there is no controller for it here.
    fn make() -> Option<Self> {
        let parent = Path::new("/sys/fs/cgroup/blkio");
        let path = parent.join(format!("windtunnel-test-{}", std::process::id()));
        if !parent.join("blkio.throttle.io_serviced").exists() {
            eprintln!("skipped: no blkio controller of version 1");
            return None;
        }
        fs::create_dir(&path).expect("a cgroup");
        Some(Self(path))
    }

    fn enter(&self) {
        ok(fs::write(self.0.join("cgroup.procs"), "0"));
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn synced_writes_take_as_long_as_was_asked_for() {
    if !disk::is_root() {
        return;
    }
    common::in_namespaces(|| {
        let Some(cgroup) = Cgroup::make() else { return };
        let disk = disk::make(DiskKind::Ext4);
        let target = Target::Cgroup(cgroup.0.clone());
        let write = || {
            let mut took = Instant::now();
            assert!(start_in(&cgroup, &disk, || {
                let mut file = ok(File::create("/data"));
                took = Instant::now();
                ok(file.write_all(&vec![7; MIB as usize]));
                ok(file.sync_all());
            }));
            took.elapsed().as_secs_f64()
        };
        let before = write();
        let limits = IoLimits { write_bytes: Some(MIB), ..IoLimits::default() };
        let mut throttle = IoThrottle::apply(&target, disk.device(), limits).expect("a slow disk");
        throttle.read_back().expect("in force");
        let slow = write();
        assert!(throttle.bit().expect("a count") > 0);
        throttle.heal().expect("healed");
        let after = write();
        println!("1 MiB: {before:.3} s, at 1 MiB/s {slow:.3} s, healed {after:.3} s");
        assert!((0.7..2.0).contains(&slow), "1 MiB at 1 MiB/s took {slow} s");
        assert!(before < 0.5 && after < 0.5, "without a limit it took {before} s and {after} s");
    });
}

/// As [`start`], with the host in a cgroup.
fn start_in(cgroup: &Cgroup, disk: &windtunnel_inject::disk::OwnDisk, program: impl FnOnce()) -> bool {
    disk::in_child(|| {
        cgroup.enter();
        assert!(start(disk, &[], program));
    })
}

#[test]
fn a_limit_of_somebody_elses_comes_back() {
    if !disk::is_root() {
        return;
    }
    common::in_namespaces(|| {
        let Some(cgroup) = Cgroup::make() else { return };
        let disk = disk::make(DiskKind::Ext4);
        let device = disk.device().expect("a device");
        let file = cgroup.0.join("blkio.throttle.read_iops_device");
        ok(fs::write(&file, format!("{device} 123")));
        let limits = IoLimits { reads: Some(10), writes: Some(20), ..IoLimits::default() };
        let target = Target::Cgroup(cgroup.0.clone());
        let mut throttle = IoThrottle::apply(&target, Some(device), limits).expect("a slow disk");
        assert_eq!(ok(fs::read_to_string(&file)), format!("{device} 10\n"));
        throttle.heal().expect("healed");
        assert_eq!(ok(fs::read_to_string(&file)), format!("{device} 123\n"));
        assert_eq!(ok(fs::read_to_string(cgroup.0.join("blkio.throttle.write_iops_device"))), "");
    });
}

#[test]
fn the_disk_beneath_a_partition_or_disk_is_found() {
    // Whatever is beneath here: a disk, or a reason why there is none.
    match Device::beneath(Path::new("/")) {
        Ok(device) => assert!(Path::new(&format!("/sys/dev/block/{device}/queue")).exists(), "{device} is no disk"),
        Err(error) => assert!(error.to_string().contains("no block device"), "{error}"),
    }
}
