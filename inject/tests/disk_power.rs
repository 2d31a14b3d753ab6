//! A disk that loses power.

mod common;
mod disk;

use disk::{MIB, each_kind, make, ok, start};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use windtunnel_inject::Injection;
use windtunnel_inject::disk::{DiskFull, DiskKind, InodeExhaustion};

#[test]
fn what_was_synced_is_kept_and_the_rest_may_be_lost() {
    each_kind(|kind| {
        let mut disk = make(kind);
        if kind == DiskKind::Memory {
            let error = disk.lose_power().expect_err("not here");
            assert!(error.to_string().contains("not yet on a device"), "{error}");
            return;
        }
        let given: [(&Path, &[u8]); 1] = [(Path::new("/etc/hosts"), b"10.0.0.1 kv1\n")];
        for round in 0..3 {
            assert!(start(&disk, &given, || {
                let mut synced = ok(File::create(format!("/var/lib/synced-{round}")));
                ok(synced.write_all(b"kept"));
                ok(synced.sync_all());
                let mut kept = ok(File::options().append(true).create(true).open("/var/lib/log"));
                ok(kept.write_all(b"kept\n"));
                ok(kept.sync_all());
                ok(kept.write_all(b"lost\n"));
                ok(fs::write(format!("/var/lib/written-{round}"), "lost"));
            }));
            disk.lose_power().expect("power loss");
            assert!(start(&disk, &given, || {
                for earlier in 0..=round {
                    assert_eq!(ok(fs::read(format!("/var/lib/synced-{earlier}"))), b"kept");
                }
                // Its name may have reached the device with somebody else's sync.
                let written = fs::read(format!("/var/lib/written-{round}")).unwrap_or_default();
                assert_eq!(written, b"", "written a moment before");
                assert_eq!(ok(fs::read_to_string("/var/lib/log")).lines().count(), round + 1);
                assert!(Path::new("/etc/passwd").exists(), "the machine's files are there");
            }));
        }
    });
}

#[test]
fn what_is_temporary_is_gone_whether_it_was_synced_or_not() {
    if !disk::is_root() {
        return;
    }
    common::in_namespaces(|| {
        let mut disk = make(DiskKind::Ext4);
        // Twice, since the second time what the first removed may not be in the way.
        for _ in 0..2 {
            assert!(start(&disk, &[], || {
                for place in ["/tmp", "/run"] {
                    ok(fs::create_dir_all(format!("{place}/deep/down")));
                    ok(std::os::unix::fs::symlink("/var/lib", format!("{place}/link")));
                    for name in ["file", "deep/down/file"] {
                        let file = ok(File::create(format!("{place}/{name}")));
                        ok(file.sync_all());
                    }
                }
                ok(ok(File::create("/var/tmp/kept")).sync_all());
                ok(ok(File::create("/var/lib/kept")).sync_all());
            }));
            disk.lose_power().expect("power loss");
            assert!(start(&disk, &[], || {
                for place in ["/tmp", "/run"] {
                    let left: Vec<_> = ok(fs::read_dir(place)).map(|entry| ok(entry).file_name()).collect();
                    // Where the tests are run from below /tmp, that is shown.
                    let ours = ["deep", "link", "file"];
                    assert!(left.iter().all(|name| ours.iter().all(|our| name != our)), "{place}: {left:?}");
                }
                assert!(Path::new("/var/tmp/kept").exists(), "file-hierarchy(7): kept over starts");
                assert!(Path::new("/var/lib/kept").exists(), "what a link leads to is not followed");
                ok(fs::write("/tmp/new", "there is room"));
                assert_eq!(ok(fs::metadata("/tmp")).permissions().mode() & 0o7777, 0o1777);
            }));
        }
    });
}

#[test]
fn faults_are_in_force_again_after_a_loss_of_power() {
    if !disk::is_root() {
        return;
    }
    common::in_namespaces(|| {
        let mut disk = make(DiskKind::Ext4);
        let (bytes, inodes) = (disk::free_bytes(&disk), disk::free_inodes(&disk));
        let mut full = DiskFull::of(&disk, MIB).expect("a full disk");
        let mut few = InodeExhaustion::of(&disk, 10).expect("few inodes");
        disk.lose_power().expect("power loss");
        full.read_back().expect("in force");
        few.read_back().expect("in force");
        assert!(disk::free_bytes(&disk) <= MIB && disk::free_inodes(&disk) <= 10);
        disk.lose_power().expect("power loss");
        full.heal().expect("healed");
        few.heal().expect("healed");
        few.heal().expect("healed");
        assert_eq!((disk::free_bytes(&disk), disk::free_inodes(&disk)), (bytes, inodes));
    });
}

#[test]
fn a_host_without_room_starts_again_whatever_was_lost_or_deleted() {
    each_kind(|kind| {
        let mut disk = make(kind);
        let given: [(&Path, &[u8]); 3] = [
            (Path::new("/etc/hosts"), b"10.0.0.1 kv1\n"),
            (Path::new("/etc/new-windtunnel"), b"new\n"),
            (Path::new("/etc/deep/windtunnel"), b"deep\n"),
        ];
        let finds_them = || {
            for (path, contents) in given {
                assert_eq!(ok(fs::read(path)), contents, "{}", path.display());
            }
            // As a program that does not know its place may.
            for (path, _) in given {
                let _ = fs::write(path, "mine");
                let _ = fs::remove_file(path);
            }
        };
        assert!(start(&disk, &given, finds_them));
        let mut full = DiskFull::of(&disk, 0).expect("a full disk");
        let mut few = InodeExhaustion::of(&disk, 0).expect("few inodes");
        assert!(start(&disk, &given, finds_them));
        if kind == DiskKind::Ext4 {
            disk.lose_power().expect("power loss");
        }
        full.read_back().expect("in force");
        few.read_back().expect("in force");
        assert!(start(&disk, &given, finds_them));
        few.heal().expect("healed");
        full.heal().expect("healed");
    });
}

#[test]
fn nothing_of_a_disk_outlives_the_namespace_it_was_made_in() {
    if !disk::is_root() {
        return;
    }
    let note = tempfile::NamedTempFile::new().expect("a file");
    common::in_namespaces(|| {
        let mut disk = make(DiskKind::Ext4);
        disk.lose_power().expect("power loss");
        fs::write(note.path(), format!("{}", disk.device().expect("a device").minor)).expect("a note");
        // As after kill -9: nothing is dropped.
        std::mem::forget(disk);
    });
    let number = fs::read_to_string(note.path()).expect("a note");
    // Other tests may have taken it since; they are done at some time.
    disk::eventually("its loop device is free", || !Path::new(&format!("/sys/block/loop{number}/loop")).exists());
}
