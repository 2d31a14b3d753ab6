//! A host's disk: what programs keep there, what a kill and a loss of power leave of it, and what it costs.

mod common;
use common::{config, lines, program, world, world_with};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};
use windtunnel_sim::control;
use windtunnel_sim::world::{Config, HostId, OnExit, Syncs};

/// Starts `entry` on a new host, and lets it run for a second.
fn host(name: &str, entry: unsafe fn(usize, &[u8]) -> i32) -> HostId {
    let host = control::add_host(name);
    control::start(host, &program(name, entry, OnExit::Ignore)).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    host
}

/// Crashes a host, starts its program again, and lets it run for a second.
fn power_cycle(host: HostId) {
    control::crash(host);
    control::restart(host).unwrap();
    std::thread::sleep(Duration::from_secs(1));
}

/// Writes `synced` and `unsynced` when the disk is new, and waits; says what is there otherwise.
unsafe fn keep_two_files(_: usize, _: &[u8]) -> i32 {
    if Path::new("/var/lib/kept").exists() {
        let read = |name: &str| fs::read_to_string(format!("/var/lib/kept/{name}")).unwrap_or_else(|e| e.to_string());
        println!("synced: {}", read("synced"));
        println!("unsynced: {:?}", read("unsynced"));
        return 0;
    }
    fs::create_dir_all("/var/lib/kept").unwrap();
    for name in ["synced", "unsynced"] {
        let mut file = File::create(format!("/var/lib/kept/{name}")).unwrap();
        file.write_all(b"text").unwrap();
        if name == "synced" {
            file.sync_all().unwrap();
            File::open("/var/lib/kept").unwrap().sync_all().unwrap();
            File::open("/var/lib").unwrap().sync_all().unwrap();
        }
    }
    std::thread::sleep(Duration::from_secs(3600));
    0
}

#[test]
fn a_crash_keeps_what_was_synced_and_of_the_rest_what_the_seed_allows() {
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let run = world(seed, || power_cycle(host("kv", keep_two_files)));
        let said = lines(&run);
        assert_eq!(said["synced"], "text", "seed {seed}");
        seen.insert(said["unsynced"].clone());
    }
    let gone = r#""No such file or directory (os error 2)""#.to_owned();
    let all = [gone, r#""""#.to_owned(), r#""\0\0\0\0""#.to_owned(), r#""text""#.to_owned()];
    assert_eq!(seen, BTreeSet::from(all));
}

#[test]
fn a_kill_keeps_everything() {
    for seed in 0..10 {
        let run = world(seed, || {
            let kv = host("kv", keep_two_files);
            control::kill(kv);
            control::restart(kv).unwrap();
            std::thread::sleep(Duration::from_secs(1));
        });
        assert_eq!(lines(&run)["unsynced"], r#""text""#, "seed {seed}");
    }
}

#[test]
fn a_disk_whose_syncs_are_worth_nothing_loses_what_was_synced() {
    let lost = |seed| {
        let run = world_with(Config { syncs: Syncs::Ignored, ..config(seed) }, || {
            power_cycle(host("kv", keep_two_files));
        });
        lines(&run).get("synced").map(String::as_str) != Some("text")
    };
    assert!((0..20).any(lost));
}

#[test]
fn what_a_crash_leaves_is_the_seeds() {
    let run = |seed| world(seed, || power_cycle(host("kv", keep_two_files)));
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed));
    }
}

unsafe fn write_once(_: usize, _: &[u8]) -> i32 {
    match fs::read_to_string("/srv/once") {
        Ok(text) => println!("found: {text}"),
        Err(_) => {
            fs::write("/srv/once", "text").unwrap();
            println!("written: now");
        }
    }
    std::thread::sleep(Duration::from_secs(3600));
    0
}

#[test]
fn what_was_written_long_ago_is_on_the_disk() {
    for seed in 0..10 {
        let run = world(seed, || {
            let kv = host("kv", write_once);
            std::thread::sleep(Duration::from_secs(40));
            power_cycle(kv);
        });
        assert_eq!(lines(&run)["found"], "text", "seed {seed}");
    }
}

#[test]
fn each_host_has_a_disk_of_its_own() {
    let run = world(1, || {
        fs::create_dir("/srv").or_else(|e| if e.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(e) }).unwrap();
        fs::write("/srv/once", "the test's").unwrap();
        host("kv", write_once);
    });
    assert_eq!(lines(&run)["written"], "now");
}

#[test]
fn temporary_files_do_not_outlive_a_boot() {
    unsafe fn look(_: usize, _: &[u8]) -> i32 {
        let names: Vec<_> = fs::read_dir("/tmp").unwrap().map(|entry| entry.unwrap().file_name()).collect();
        println!("names: {names:?}");
        fs::write("/tmp/a", "").unwrap();
        File::open("/tmp/a").unwrap().sync_all().unwrap();
        File::open("/tmp").unwrap().sync_all().unwrap();
        std::thread::sleep(Duration::from_secs(3600));
        0
    }
    let run = world(1, || power_cycle(host("kv", look)));
    assert_eq!(run.output, "names: []\nnames: []\n");
}

#[test]
fn files_are_read_and_written_as_anywhere() {
    let run = world(1, || {
        fs::create_dir_all("/srv/data").unwrap();
        std::env::set_current_dir("/srv/data").unwrap();
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o640).open("f").unwrap();
        file.write_all(b"0123456789").unwrap();
        file.seek(SeekFrom::Start(2)).unwrap();
        let mut four = [0; 4];
        file.read_exact(&mut four).unwrap();
        println!("read: {}", String::from_utf8_lossy(&four));
        file.write_all_at(b"xx", 8).unwrap();
        file.set_len(12).unwrap();
        println!("content: {:?}", fs::read_to_string("f").unwrap());
        let found = fs::metadata("f").unwrap();
        println!("mode: {:o} {} {}", found.mode(), found.nlink(), found.blocks());
        println!("again: {:?}", File::create_new("f").map(drop).map_err(|e| e.kind()));
        fs::remove_file("f").unwrap();
        println!("unlinked: {} {}", file.metadata().unwrap().nlink(), fs::exists("f").unwrap());
        println!("still: {:?}", fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap());
        fs::set_permissions(".", fs::Permissions::from_mode(0o500)).unwrap();
        println!("closed: {:?}", fs::write("g", "").map_err(|e| e.kind()));
    });
    let said = lines(&run);
    assert_eq!(said["read"], "2345");
    assert_eq!(said["content"], r#""01234567xx\0\0""#);
    assert_eq!(said["mode"], "100640 1 8");
    assert_eq!(said["again"], "Err(AlreadyExists)");
    assert_eq!(said["unlinked"], "0 false");
    assert_eq!(said["still"], r#""/srv/data/f (deleted)""#);
    assert_eq!(said["closed"], "Err(PermissionDenied)");
}

#[test]
fn what_is_changed_outside_is_changed_for_the_host_alone() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("disk-changed");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).unwrap();
    for name in ["kept", "appended", "removed", "moved", "touched"] {
        fs::write(root.join(name), "outside").unwrap();
    }
    fs::create_dir(root.join("full")).unwrap();
    fs::write(root.join("full/inner"), "").unwrap();
    let before = fs::metadata(root.join("touched")).unwrap().modified().unwrap();
    let inside = root.clone();
    let run = world(1, move || {
        std::env::set_current_dir(&inside).unwrap();
        fs::write("new", "text").unwrap();
        fs::OpenOptions::new().append(true).open("appended").unwrap().write_all(b" and more").unwrap();
        fs::remove_file("removed").unwrap();
        fs::rename("moved", "full/here").unwrap();
        fs::set_permissions("touched", fs::Permissions::from_mode(0o600)).unwrap();
        File::open("touched").unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fs::hard_link("kept", "again").unwrap();
        fs::create_dir_all("a/b").unwrap();
        let mut names: Vec<_> = fs::read_dir(".").unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        println!("names: {names:?}");
        println!("appended: {}", fs::read_to_string("appended").unwrap());
        println!("moved: {}", fs::read_to_string("full/here").unwrap());
        let touched = fs::metadata("touched").unwrap();
        println!("touched: {:o} {}", touched.mode() & 0o777, touched.mtime());
        println!("links: {}", fs::metadata("kept").unwrap().nlink());
        println!("directory: {:?}", fs::rename("full", "elsewhere").map_err(|e| e.kind()));
        fs::remove_dir_all("full").unwrap();
        println!("full: {}", Path::new("full/inner").exists());
        println!("system: {:?}", fs::write("/etc/new", "").map_err(|e| e.kind()));
    });
    assert_eq!(run.outcome, "", "{}", run.output);
    let said = lines(&run);
    let names = r#"["a", "again", "appended", "full", "kept", "new", "touched"]"#;
    assert_eq!(said["names"], names);
    assert_eq!(said["appended"], "outside and more");
    assert_eq!(said["moved"], "outside");
    assert_eq!(said["touched"], "600 0");
    assert_eq!(said["links"], "2");
    assert_eq!(said["directory"], "Err(CrossesDevices)", "as in overlayfs");
    assert_eq!(said["full"], "false");
    assert_eq!(said["system"], "Err(PermissionDenied)");
    for name in ["kept", "appended", "removed", "moved", "touched"] {
        assert_eq!(fs::read_to_string(root.join(name)).unwrap(), "outside", "{name}");
    }
    assert_eq!(fs::metadata(root.join("touched")).unwrap().modified().unwrap(), before);
    assert!(!root.join("new").exists() && !root.join("a").exists() && root.join("full/inner").exists());
}

#[test]
fn directories_move_with_what_is_in_them() {
    let run = world(1, || {
        fs::create_dir_all("/srv/a/b").unwrap();
        fs::write("/srv/a/b/f", "x").unwrap();
        std::env::set_current_dir("/srv/a/b").unwrap();
        fs::rename("/srv/a", "/srv/c").unwrap();
        println!("here: {} {}", std::env::current_dir().unwrap().display(), fs::read_to_string("f").unwrap());
        println!("into itself: {:?}", fs::rename("/srv/c", "/srv/c/b/d").map_err(|e| e.kind()));
        fs::remove_dir_all("/srv/c").unwrap();
        println!("gone: {:?} {:?}", std::env::current_dir().map_err(|e| e.kind()), fs::exists("f"));
    });
    let said = lines(&run);
    assert_eq!(said["here"], "/srv/c/b x");
    assert_eq!(said["into itself"], "Err(InvalidInput)");
    assert_eq!(said["gone"], "Err(NotFound) Ok(false)");
}

#[test]
fn locks_keep_others_waiting() {
    let run = world(1, || {
        let file = || OpenOptions::new().write(true).create(true).truncate(false).open("/srv/lock").unwrap();
        let first = file();
        first.lock().unwrap();
        println!("second: {}", file().try_lock().is_err());
        let (sender, receiver) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let third = file();
            third.lock().unwrap();
            sender.send(Instant::now()).unwrap();
        });
        std::thread::sleep(Duration::from_millis(300));
        let before = Instant::now();
        drop(first);
        println!("third: {}", receiver.recv().unwrap() >= before);
        waiting.join().unwrap();
        println!("free: {}", file().try_lock().is_ok());
    });
    let said = lines(&run);
    assert_eq!((&said["second"][..], &said["third"][..], &said["free"][..]), ("true", "true", "true"));
}

/// redb calls fcntl(2) by its number, because C libraries hide the size of the offsets in `struct flock`.
#[test]
fn locks_of_stretches_can_be_asked_for_by_number() {
    let run = world(1, || {
        let file = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open("/srv/lock").unwrap();
        let (first, second) = (file(), file());
        let ask = |file: &File, from: i64, bytes: i64| {
            // SAFETY: plain numbers.
            let mut lock: libc::flock = unsafe { std::mem::zeroed() };
            (lock.l_type, lock.l_whence) = (libc::F_WRLCK as i16, libc::SEEK_SET as i16);
            (lock.l_start, lock.l_len) = (from, bytes);
            // SAFETY: fcntl(2) reads the struct.
            unsafe { libc::syscall(libc::SYS_fcntl, file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) }
        };
        println!("first: {}", ask(&first, 0, 10));
        println!("second: {} {:?}", ask(&second, 5, 10), std::io::Error::last_os_error().kind());
        println!("behind: {}", ask(&second, 10, 10));
    });
    let said = lines(&run);
    assert_eq!((&said["first"][..], &said["second"][..], &said["behind"][..]), ("0", "-1 WouldBlock", "0"));
}

#[test]
fn shared_mappings_and_files_show_the_same_bytes() {
    unsafe fn map(_: usize, _: &[u8]) -> i32 {
        let existed = Path::new("/srv/mapped").exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open("/srv/mapped").unwrap();
        if existed {
            println!("after: {}", fs::read("/srv/mapped").unwrap()[4000..4004].escape_ascii());
            return 0;
        }
        file.set_len(8192).unwrap();
        let (protection, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a fresh mapping of the file's own length.
        let bytes = unsafe {
            let at = libc::mmap(std::ptr::null_mut(), 8192, protection, shared, file.as_raw_fd(), 0);
            std::slice::from_raw_parts_mut(at.cast::<u8>(), 8192)
        };
        file.write_all_at(b"by write", 0).unwrap();
        println!("seen: {}", bytes[..8].escape_ascii());
        bytes[4000..4004].copy_from_slice(b"mem!");
        let mut four = [0; 4];
        file.read_exact_at(&mut four, 4000).unwrap();
        println!("read: {}", four.escape_ascii());
        // SAFETY: the mapping above.
        println!("msync: {}", unsafe { libc::msync(bytes.as_mut_ptr().cast(), 8192, libc::MS_SYNC) });
        File::open("/srv").unwrap().sync_all().unwrap();
        std::thread::sleep(Duration::from_secs(3600));
        0
    }
    for seed in 0..5 {
        let run = world(seed, || power_cycle(host("kv", map)));
        assert_eq!(run.output, "seen: by write\nread: mem!\nmsync: 0\nafter: mem!\n", "seed {seed}");
    }
}

#[test]
fn a_sync_takes_time_and_others_run_meanwhile() {
    let run = world(1, || {
        let (sender, receiver) = mpsc::channel();
        let other = std::thread::spawn(move || {
            receiver.recv().unwrap();
            Instant::now()
        });
        let mut file = File::create("/srv/big").unwrap();
        file.write_all(&vec![1; 64 << 20]).unwrap();
        sender.send(()).unwrap();
        let before = Instant::now();
        file.sync_all().unwrap();
        let took = before.elapsed();
        let ran = other.join().unwrap();
        println!("took: {}", took > Duration::from_millis(50) && took < Duration::from_secs(1));
        println!("ran: {}", ran < before + took / 2);
    });
    let said = lines(&run);
    assert_eq!((&said["took"][..], &said["ran"][..]), ("true", "true"), "{}", run.output);
}

/// One thread writes `A` and syncs it; another writes `B`, on another page, while that sync is under way.
unsafe fn writes_during_a_sync(_: usize, _: &[u8]) -> i32 {
    if let Ok(found) = fs::read("/srv/log") {
        println!("left: {}{}", found[0] as char, found[4096] as char);
        return 0;
    }
    let file = File::create("/srv/log").unwrap();
    file.write_all_at(&[b'.'; 8192], 0).unwrap();
    file.sync_all().unwrap();
    File::open("/srv").unwrap().sync_all().unwrap();
    std::thread::scope(|scope| {
        let syncs = scope.spawn(|| {
            file.write_all_at(b"A", 0).unwrap();
            let begun = Instant::now();
            file.sync_data().unwrap();
            begun
        });
        std::thread::sleep(Duration::from_micros(60));
        file.write_all_at(b"B", 4096).unwrap();
        let written = Instant::now();
        let begun = syncs.join().unwrap();
        // No flush is shorter than 100 us.
        println!("during: {}", begun < written && written < begun + Duration::from_micros(100));
    });
    std::thread::sleep(Duration::from_secs(3600));
    0
}

#[test]
fn a_sync_does_not_keep_what_is_written_while_it_waits() {
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let run = world(seed, || power_cycle(host("kv", writes_during_a_sync)));
        let said = lines(&run);
        if said["during"] == "true" {
            seen.insert(said["left"].clone());
        }
    }
    assert_eq!(seen, BTreeSet::from(["A.".to_owned(), "AB".to_owned()]));
}

#[test]
fn appends_cost_the_same_however_many_are_unsynced() {
    // Behaviour, not wall time: what a disk keeps for each write is bounded by the write.
    let run = world(1, || {
        let mut file = File::create("/srv/log").unwrap();
        for number in 0..40_000u32 {
            file.write_all(&number.to_le_bytes()).unwrap();
        }
        println!("bytes: {}", file.metadata().unwrap().len());
    });
    assert_eq!(lines(&run)["bytes"], "160000");
}

unsafe fn appends_one_record(_: usize, _: &[u8]) -> i32 {
    match fs::read("/srv/log") {
        Ok(found) => println!("{:?}", String::from_utf8_lossy(&found)),
        Err(_) => {
            let mut file = File::create("/srv/log").unwrap();
            file.write_all(b"one ").unwrap();
            file.sync_all().unwrap();
            File::open("/srv").unwrap().sync_all().unwrap();
            file.write_all(b"two").unwrap();
        }
    }
    std::thread::sleep(Duration::from_secs(3600));
    0
}

#[test]
fn every_state_that_a_crash_can_leave_can_be_gone_through() {
    let run = world(1, || {
        let kv = host("kv", appends_one_record);
        control::begin_crash_states(kv);
        let mut states = 0;
        while control::next_crash_state(kv) {
            control::restart(kv).unwrap();
            std::thread::sleep(Duration::from_secs(1));
            states += 1;
        }
        println!("{states}");
    });
    assert_eq!(run.outcome, "", "{}", run.output);
    let mut seen: Vec<&str> = run.output.lines().collect();
    let states: usize = seen.pop().unwrap().parse().unwrap();
    assert_eq!(seen.len(), states);
    let distinct: BTreeSet<&str> = seen.into_iter().collect();
    assert_eq!(distinct, BTreeSet::from(["\"one \"", "\"one \\0\\0\\0\"", "\"one two\""]));
}

#[test]
fn a_mapped_file_that_was_cut_off_is_zero_when_it_grows_again() {
    unsafe fn map(_: usize, _: &[u8]) -> i32 {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open("/srv/index").unwrap();
        file.set_len(3).unwrap();
        for page in 1..=8 {
            file.write_all_at(&[0], page * 4096 - 1).unwrap();
        }
        let (protection, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a fresh mapping of the file's own length.
        let bytes = unsafe {
            let at = libc::mmap(std::ptr::null_mut(), 32_768, protection, shared, file.as_raw_fd(), 0);
            std::slice::from_raw_parts_mut(at.cast::<u8>(), 32_768)
        };
        println!("used: {}", bytes[3..].iter().filter(|byte| **byte != 0).count());
        bytes.fill(7);
        std::thread::sleep(Duration::from_secs(3600));
        0
    }
    for seed in 0..20 {
        let run = world(seed, || power_cycle(host("kv", map)));
        assert_eq!(run.output, "used: 0\nused: 0\n", "seed {seed}");
        let run = world(seed, || {
            let kv = host("kv", map);
            control::kill(kv);
            control::restart(kv).unwrap();
            std::thread::sleep(Duration::from_secs(1));
        });
        assert_eq!(run.output, "used: 0\nused: 0\n", "seed {seed}, killed");
    }
}

#[test]
fn a_client_has_a_disk_of_its_own_whatever_the_test_has_open() {
    let run = world(1, || {
        fs::create_dir("/srv/ours").unwrap();
        fs::write("/srv/ours/file", "text").unwrap();
        let ours = File::open("/srv/ours").unwrap().into_raw_fd();
        let asks = move || {
            // SAFETY: C strings, and a descriptor that stays open.
            unsafe {
                let opened = libc::openat(ours, c"file".as_ptr(), libc::O_RDONLY);
                println!("{opened} {}", std::io::Error::last_os_error());
                let listed = libc::readdir64(libc::fdopendir(ours));
                println!("{listed:?} {}", std::io::Error::last_os_error());
            }
        };
        control::start_client(control::add_host("client"), Box::new(asks)).unwrap();
        std::thread::sleep(Duration::from_secs(1));
    });
    let refused = "Invalid cross-device link (os error 18)";
    assert_eq!((run.outcome.as_str(), run.output.as_str()), ("", &*format!("-1 {refused}\n0x0 {refused}\n")));
}
