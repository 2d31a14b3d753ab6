//! A host on a disk of its own.

mod common;
mod disk;

use disk::{MIB, each_kind, make, ok, start};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use windtunnel_inject::disk::{DiskKind, OwnDisk};

#[test]
fn what_a_host_writes_stays_on_its_disk_and_is_there_at_its_next_start() {
    each_kind(|kind| {
        let disk = make(kind);
        let files = ["/etc/x-windtunnel", "/tmp/y-windtunnel", "/var/lib/z-windtunnel", "/w-windtunnel"];
        let written = start(&disk, &[], move || {
            for file in files {
                fs::write(file, file).unwrap_or_else(|error| panic!("{file}: {error}"));
            }
            fs::rename("/tmp/y-windtunnel", "/tmp/renamed-windtunnel").expect("a rename");
        });
        assert!(written);
        for file in files {
            assert!(!Path::new(file).exists(), "{file} is on the machine");
        }
        assert!(start(&disk, &[], move || {
            for file in ["/etc/x-windtunnel", "/var/lib/z-windtunnel", "/w-windtunnel"] {
                assert_eq!(ok(fs::read_to_string(file)), file);
            }
            assert_eq!(ok(fs::read_to_string("/tmp/renamed-windtunnel")), "/tmp/y-windtunnel");
            assert!(!Path::new("/tmp/y-windtunnel").exists());
        }));
    });
}

#[test]
fn a_host_finds_the_machines_files_and_none_of_its_temporary_ones() {
    each_kind(|kind| {
        let disk = make(kind);
        let program = std::env::current_exe().expect("this program");
        let passwd = fs::read("/etc/passwd").expect("users");
        let beside = tempfile::NamedTempFile::new_in("/tmp").expect("a file of the machine's");
        let beside = beside.path();
        assert!(start(&disk, &[], || {
            assert_eq!(ok(fs::read("/etc/passwd")), passwd);
            let run = ok(std::process::Command::new(&program).arg("--list").output());
            assert!(run.status.success() && !run.stdout.is_empty(), "this program can be run");
            assert!(!beside.exists(), "{} is of the machine", beside.display());
            assert_eq!(ok(fs::metadata("/tmp")).permissions().mode() & 0o7777, 0o1777);
            assert_eq!(ok(fs::read_dir("/run")).count(), 0);
        }));
    });
}

#[test]
fn given_files_are_there_and_the_machines_are_not_changed() {
    each_kind(|kind| {
        let disk = make(kind);
        let before = fs::read("/etc/hosts").ok();
        for address in ["10.0.0.1", "10.0.0.2"] {
            let hosts = format!("{address} kv1\n");
            let files = [(Path::new("/etc/hosts"), hosts.as_bytes()), (Path::new("/etc/new/nested"), b"here")];
            assert!(start(&disk, &files, || {
                assert_eq!(ok(fs::read_to_string("/etc/hosts")), hosts);
                assert_eq!(ok(fs::read_to_string("/etc/new/nested")), "here");
            }));
        }
        assert_eq!(fs::read("/etc/hosts").ok(), before);
    });
}

#[test]
fn kernel_file_systems_are_the_hosts_own() {
    each_kind(|kind| {
        let began = std::time::Instant::now();
        let disk = make(kind);
        let made = began.elapsed();
        assert!(start(&disk, &[], || {
            println!("{kind:?}: made in {made:?}, entered {:?} later", began.elapsed() - made);
            assert_eq!(ok(fs::read_link("/proc/self")).to_str(), Some("1"), "/proc is of the host's processes");
            let devices = ok(fs::read_dir("/sys/class/net")).count();
            assert_eq!(devices, 1, "/sys shows the loopback only");
            assert!(fs::write("/sys/windtunnel", "").is_err(), "/sys is read-only");
            ok(fs::write("/dev/null", "gone"));
            let random = ok(fs::File::open("/dev/urandom"));
            let mut bytes = [0; 8];
            ok(std::io::Read::read_exact(&mut &random, &mut bytes));
            ok(fs::write("/dev/shm/x", "shared"));
            assert!(Path::new("/dev/pts/ptmx").exists());
        }));
        assert!(!Path::new("/dev/shm/x").exists());
    });
}

#[test]
fn further_file_systems_of_the_machine_are_the_hosts_as_well() {
    each_kind(|kind| {
        disk::tmpfs_on_mnt("8m");
        ok(fs::create_dir_all("/mnt/own"));
        ok(fs::write("/mnt/of-the-machine", "before"));
        // Two overlays above each other can have no third.
        for place in ["/mnt/one", "/mnt/two"] {
            ok(fs::create_dir_all(place));
        }
        disk::overlay("/mnt/own", "/mnt/one");
        disk::overlay("/mnt/one", "/mnt/two");
        let made = make(kind);
        assert!(start(&made, &[], || {
            assert_eq!(ok(fs::read_to_string("/mnt/of-the-machine")), "before");
            ok(fs::write("/mnt/of-the-machine", "after"));
            ok(fs::write("/mnt/one/file", "new"));
            let error = fs::write("/mnt/two/file", "new").expect_err("read-only");
            assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        }));
        assert_eq!(ok(fs::read_to_string("/mnt/of-the-machine")), "before");
        assert!(!Path::new("/mnt/one/file").exists());
    });
}

#[test]
fn a_disk_leaves_no_mount_in_its_makers_namespace() {
    each_kind(|kind| {
        let before = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let disks: Vec<_> = (0..3).map(|_| make(kind)).collect();
        assert!(start(&disks[1], &[], || ok(fs::write("/mine", "1"))));
        assert!(start(&disks[2], &[], || assert!(!Path::new("/mine").exists(), "another host's file")));
        for disk in disks.into_iter().rev() {
            drop(disk);
        }
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").expect("mounts"), before);
    });
}

#[test]
fn a_host_sees_no_mount_but_its_own() {
    each_kind(|kind| {
        let other = OwnDisk::make(Path::new("/"), DiskKind::Memory, MIB, 1000).expect("a disk");
        let disk = make(kind);
        assert!(start(&disk, &[], || {
            let mounts = ok(windtunnel_inject::mounts::mounted());
            let root: Vec<_> = mounts.iter().filter(|mount| mount.at == Path::new("/")).collect();
            assert_eq!(root.len(), 1, "{mounts:?}");
            let apart = ["/proc", "/sys", "/dev"];
            for mount in mounts.iter().filter(|mount| !apart.iter().any(|path| mount.at.starts_with(path))) {
                assert!(matches!(mount.kind.as_str(), "overlay" | "tmpfs"), "{mount:?}");
            }
            assert!(mounts.iter().all(|mount| !mount.at.starts_with("/proc/driver")), "{mounts:?}");
        }));
        drop(other);
    });
}

#[test]
fn ext4_without_privilege_is_refused_with_what_would_help() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: this user has the privilege");
        return;
    }
    common::in_namespaces(|| {
        let error = OwnDisk::make(Path::new("/"), DiskKind::Ext4, 32 * MIB, 1000).expect_err("not here");
        assert!(error.to_string().ends_with("run as root, or take a disk of memory"), "{error}");
    });
}
