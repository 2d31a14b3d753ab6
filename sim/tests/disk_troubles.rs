//! Disks in trouble: what programs notice of each fault, that it ends, and what the account says.

mod common;
use common::{lines, world};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use windtunnel_sim::control;
use windtunnel_sim::weather::{Begins, DiskTrouble, Fault, FaultKind};
use windtunnel_sim::world::HostId;

/// The host `test`: its own disk will do.
const TEST: HostId = HostId(0);

/// Runs `body` while a disk is in trouble, and `after` when that is over; prints how often it bit.
fn in_trouble(trouble: DiskTrouble, body: fn(), after: fn()) -> BTreeMap<String, String> {
    let run = world(7, move || {
        let kind = FaultKind::Disk { host: TEST, trouble };
        fs::write("/srv/before", "before").unwrap();
        File::open("/srv/before").unwrap().sync_all().unwrap();
        File::open("/srv").unwrap().sync_all().unwrap();
        control::begin_weather(&[Fault { begins: Begins::At(Duration::ZERO), lasts: Duration::MAX, kind }]);
        std::thread::sleep(Duration::from_millis(1));
        body();
        println!("bit: {}", control::end_weather().faults[0].bit);
        after();
    });
    lines(&run)
}

#[test]
fn a_full_disk_takes_no_more_pages_than_are_left() {
    let said = in_trouble(
        DiskTrouble::Full { free_bytes: 8192 },
        || {
            let mut file = File::create("/srv/file").unwrap();
            println!("written: {:?}", file.write(&[1; 10_000]));
            println!("more: {:?}", file.write(&[1; 10_000]).map_err(|e| e.kind()));
            println!("in place: {:?}", fs::write("/srv/before", "BEFORE"));
            let free = free_pages();
            println!("free: {free}");
        },
        || println!("after: {:?}", fs::write("/srv/more", vec![1; 10_000])),
    );
    assert_eq!(said["written"], "Ok(8192)");
    assert_eq!(said["more"], "Err(StorageFull)");
    assert_eq!(said["in place"], "Ok(())");
    assert_eq!(said["free"], "0");
    assert_eq!(said["bit"], "2");
    assert_eq!(said["after"], "Ok(())");
}

fn free_pages() -> u64 {
    // SAFETY: a structure of plain numbers.
    unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        assert_eq!(libc::statvfs(c"/srv".as_ptr(), &mut found), 0);
        found.f_bavail
    }
}

#[test]
fn without_inodes_nothing_is_made_and_files_can_still_be_written() {
    let said = in_trouble(
        DiskTrouble::NoInodes { free: 1 },
        || {
            println!("first: {:?}", fs::write("/srv/first", "x"));
            println!("second: {:?}", fs::write("/srv/second", "x").map_err(|e| e.kind()));
            println!("directory: {:?}", fs::create_dir("/srv/d").map_err(|e| e.kind()));
            println!("old: {:?}", fs::write("/srv/before", "x"));
            fs::remove_file("/srv/first").unwrap();
            println!("instead: {:?}", fs::write("/srv/instead", "x"));
        },
        || println!("after: {:?}", fs::create_dir("/srv/d")),
    );
    assert_eq!((&said["first"][..], &said["second"][..]), ("Ok(())", "Err(StorageFull)"));
    assert_eq!((&said["directory"][..], &said["old"][..]), ("Err(StorageFull)", "Ok(())"));
    assert_eq!((&said["instead"][..], &said["bit"][..], &said["after"][..]), ("Ok(())", "2", "Ok(())"));
}

fn time_of(work: impl FnOnce()) -> Duration {
    let before = Instant::now();
    work();
    before.elapsed()
}

#[test]
fn a_slow_disk_makes_writers_wait() {
    const SLOW: DiskTrouble = DiskTrouble::Slow { bytes_per_second: 1 << 20, delay: Duration::from_millis(50) };
    let said = in_trouble(
        SLOW,
        || {
            let mut file = File::create("/srv/file").unwrap();
            println!("cached: {}", time_of(|| file.write_all(&[1; 1 << 19]).unwrap()) < Duration::from_millis(1));
            let took = time_of(|| file.sync_all().unwrap());
            println!("synced: {}", took > Duration::from_millis(549) && took < Duration::from_millis(560));
            let took = time_of(|| (0..8).for_each(|_| file.write_all(&[1; 1 << 20]).unwrap()));
            println!("ahead: {}", took > Duration::from_secs(6) && took < Duration::from_secs(9));
        },
        || {
            let file = File::create("/srv/other").unwrap();
            println!("after: {}", time_of(|| file.sync_all().unwrap()) < Duration::from_millis(30));
        },
    );
    assert_eq!(said["cached"], "true");
    assert_eq!(said["synced"], "true");
    assert_eq!(said["ahead"], "true");
    assert_eq!(said["after"], "true");
    assert_ne!(said["bit"], "0");
}

#[test]
fn a_failed_sync_is_told_once() {
    let said = in_trouble(
        DiskTrouble::Failing { reads: 0.0, syncs: 1.0 },
        || {
            let mut file = File::create("/srv/file").unwrap();
            file.write_all(b"text").unwrap();
            println!("sync: {:?}", file.sync_all().map_err(|e| e.raw_os_error()));
            println!("read: {:?}", fs::read_to_string("/srv/file"));
            println!("again: {:?}", file.sync_all());
            file.write_all(b" and more").unwrap();
            println!("written: {:?}", file.sync_all().map_err(|e| e.raw_os_error()));
        },
        || println!("after: {:?}", File::open("/srv/file").unwrap().sync_all()),
    );
    assert_eq!(said["sync"], format!("Err(Some({}))", libc::EIO));
    assert_eq!((&said["read"][..], &said["again"][..]), (r#"Ok("text")"#, "Ok(())"));
    assert_eq!(said["written"], format!("Err(Some({}))", libc::EIO));
    assert_eq!((&said["bit"][..], &said["after"][..]), ("2", "Ok(())"));
}

#[test]
fn reads_fail() {
    let said = in_trouble(
        DiskTrouble::Failing { reads: 1.0, syncs: 0.0 },
        || println!("read: {:?}", fs::read("/srv/before").map_err(|e| e.raw_os_error())),
        || println!("after: {:?}", fs::read_to_string("/srv/before")),
    );
    assert_eq!(said["read"], format!("Err(Some({}))", libc::EIO));
    assert_eq!(said["after"], r#"Ok("before")"#);
    assert_ne!(said["bit"], "0");
}

#[test]
fn rotten_bits_stay() {
    let said = in_trouble(
        DiskTrouble::Rotting { bits: 1 },
        || {},
        || {
            let found = fs::read("/srv/before").unwrap();
            let flipped: u32 = found.iter().zip(b"before").map(|(a, b)| (a ^ b).count_ones()).sum();
            println!("flipped: {flipped}");
        },
    );
    assert_eq!((&said["bit"][..], &said["flipped"][..]), ("1", "1"));
}

#[test]
fn what_does_not_touch_a_disk_is_not_bitten() {
    for trouble in [
        DiskTrouble::Full { free_bytes: 0 },
        DiskTrouble::NoInodes { free: 0 },
        DiskTrouble::Slow { bytes_per_second: 1, delay: Duration::ZERO },
        DiskTrouble::Failing { reads: 1.0, syncs: 1.0 },
    ] {
        let said = in_trouble(trouble, || assert!(Path::new("/srv/before").exists()), || {});
        assert_eq!(said["bit"], "0", "{trouble:?}");
    }
}
