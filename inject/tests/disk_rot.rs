//! A host's disk that rots.

mod common;
mod disk;

use disk::{each_kind, make, ok, start};
use std::fs;
use std::path::{Path, PathBuf};
use windtunnel_inject::Injection;
use windtunnel_inject::disk::{BitRot, DiskKind};

const GIVEN: &str = "/etc/given-windtunnel";
const FILES: [&str; 2] = ["/var/lib/one-windtunnel", "/tmp/two-windtunnel"];

fn ones(bytes: &[u8]) -> u32 {
    bytes.iter().map(|byte| byte.count_ones()).sum()
}

#[test]
fn bits_flip_in_what_the_host_has_written_and_in_nothing_else() {
    each_kind(|kind| {
        let mut disk = make(kind);
        let files = [(Path::new(GIVEN), &[0; 9000][..])];
        let machines = fs::read("/etc/passwd").expect("users");
        assert!(start(&disk, &files, || {
            for file in FILES {
                ok(fs::write(file, [0; 5000]));
            }
            ok(fs::File::open(FILES[0]).and_then(|file| file.sync_all()));
            ok(fs::create_dir("/var/lib/empty-windtunnel").and_then(|()| fs::write("/var/lib/empty-windtunnel/x", "")));
        }));
        let mut rot = BitRot::of(&disk, 40, 7).expect("files");
        assert_eq!(rot.bit().expect("a count"), 40);
        rot.read_back().expect("in force");
        rot.heal().expect("nothing to do");
        let host = || {
            let flipped: u32 = FILES.iter().map(|file| ones(&ok(fs::read(file)))).sum();
            assert_eq!((flipped, ones(&ok(fs::read(GIVEN)))), (40, 0));
            assert_eq!(ok(fs::read("/etc/passwd")), machines);
        };
        assert!(start(&disk, &[], host));
        if kind == DiskKind::Ext4 {
            disk.lose_power().expect("a disk of ext4");
            let host = || assert!((1..40).contains(&ones(&ok(fs::read(FILES[0])))), "what was synced has rotted");
            assert!(start(&disk, &[], host));
        }
    });
}

#[test]
fn a_disk_without_files_does_not_rot() {
    each_kind(|kind| {
        let mut rot = BitRot::of(&make(kind), 40, 7).expect("no files");
        assert_eq!(rot.bit().expect("a count"), 0);
    });
}

#[test]
fn the_same_seed_flips_the_same_bits_and_times_of_files_stay() {
    each_kind(|kind| {
        let content = |seed| {
            let disk = make(kind);
            assert!(start(&disk, &[], || ok(fs::write(FILES[0], [0; 5000]))));
            let path = |file: &str| PathBuf::from(format!("/proc/self/fd/{}{file}", root(&disk)));
            let before = fs::metadata(path(FILES[0])).and_then(|file| file.modified()).expect("a file");
            BitRot::of(&disk, 5, seed).expect("a file");
            let after = fs::metadata(path(FILES[0])).and_then(|file| file.modified()).expect("a file");
            assert_eq!(before, after);
            fs::read(path(FILES[0])).expect("a file")
        };
        let one = content(7);
        assert_eq!(ones(&one), 5);
        assert!(one == content(7) && one != content(8));
    });
}

fn root(disk: &windtunnel_inject::disk::OwnDisk) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&disk.root())
}
