//! What programs see of files: those outside, read-only, and those that describe their machine.

mod common;
use common::{Run, config, lines, world, world_with};
use std::ffi::{CStr, CString};
use std::fs::{self, File, FileTimes};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use windtunnel_sim::control;
use windtunnel_sim::world::{Config, HostState, OnExit, Program};

/// An empty directory outside, for one test.
fn scratch(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("files-{name}"));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).unwrap();
    root
}

#[test]
fn outside_files_can_be_read() {
    let run = world(1, || {
        let text = fs::read_to_string("Cargo.toml").expect("the package's manifest");
        println!("line: {}", text.lines().nth(1).unwrap());
        let found = fs::metadata("Cargo.toml").unwrap();
        println!("metadata: {} {}", found.is_file(), found.len() == text.len() as u64);
        println!("missing: {:?}", fs::read("no such file").map_err(|e| e.kind()));
        println!("current directory: {}", std::env::current_dir().unwrap().display());
        println!("canonical: {}", fs::canonicalize("src/../Cargo.toml").unwrap().display());
        let absolute = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        println!("absolute: {}", fs::read_to_string(absolute).unwrap() == text);
        println!("above: {}", fs::read_to_string("../Cargo.toml").unwrap().contains("[workspace]"));
        println!("readonly: {}", found.permissions().readonly());
    });
    let said = lines(&run);
    assert_eq!(said["line"], "name = \"windtunnel-sim\"");
    assert_eq!(said["metadata"], "true true");
    assert_eq!(said["missing"], "Err(NotFound)");
    assert_eq!(said["current directory"], "/workspace/sim");
    assert_eq!(said["canonical"], "/workspace/sim/Cargo.toml");
    assert_eq!(said["absolute"], "true");
    assert_eq!(said["above"], "true");
}

#[test]
fn positions_are_as_with_any_file() {
    let root = scratch("positions");
    fs::write(root.join("digits"), "0123456789").unwrap();
    let run = world(1, move || {
        let mut file = File::open(root.join("digits")).unwrap();
        let mut two = [0; 2];
        file.read_exact(&mut two).unwrap();
        print!("{}", String::from_utf8_lossy(&two));
        file.seek(SeekFrom::End(-3)).unwrap();
        file.read_exact(&mut two).unwrap();
        print!("{}", String::from_utf8_lossy(&two));
        file.read_exact_at(&mut two, 4).unwrap();
        print!("{}", String::from_utf8_lossy(&two));
        print!("{}", file.stream_position().unwrap());
        let mut copy = file.try_clone().unwrap();
        copy.rewind().unwrap();
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        println!(" {rest}");
    });
    assert_eq!(run.output, "0178459 0123456789\n");
}

#[test]
fn directories_are_listed_in_order() {
    let root = scratch("order");
    let mut names: Vec<String> = (0..500).map(|i| format!("{:03}", (i * 77) % 500)).collect();
    names.iter().for_each(|name| fs::write(root.join(name), "").unwrap());
    names.sort();
    let run = world(1, move || {
        let found = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap());
        let found: Vec<_> = found.map(|e| (e.file_name().into_string().unwrap(), e.file_type().unwrap())).collect();
        assert!(found.iter().all(|(_, kind)| kind.is_file()));
        println!("{}", found.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>().join(" "));
    });
    assert_eq!(run.output.trim(), names.join(" "));
}

#[test]
fn what_fails_on_every_disk_is_no_reason_to_stop() {
    let run = world(1, || {
        println!("remove: {:?}", fs::remove_file("not there").map_err(|e| e.kind()));
        println!("create_dir_all: {:?}", fs::create_dir_all("src/kernel"));
        println!("create_dir: {:?}", fs::create_dir("src").map_err(|e| e.kind()));
        println!("remove_dir: {:?}", fs::remove_dir("src").map_err(|e| e.kind()));
        println!("create_new: {:?}", File::create_new("Cargo.toml").map(|_| ()).map_err(|e| e.kind()));
        println!("open: {:?}", fs::OpenOptions::new().write(true).open("not there").map(|_| ()).map_err(|e| e.kind()));
        println!("null: {:?}", fs::write("/dev/null", "text"));
        println!("full: {:?}", fs::write("/dev/full", "text").map_err(|e| e.kind()));
        println!("set_len: {:?}", File::open("Cargo.toml").unwrap().set_len(0).map_err(|e| e.kind()));
        println!("sync: {:?}", File::open("Cargo.toml").unwrap().sync_all());
        println!("lock: {:?}", File::open("Cargo.toml").unwrap().try_lock().is_ok());
    });
    let said = lines(&run);
    assert_eq!(said["remove"], "Err(NotFound)");
    assert_eq!(said["create_dir_all"], "Ok(())");
    assert_eq!(said["create_dir"], "Err(AlreadyExists)");
    assert_eq!(said["remove_dir"], "Err(DirectoryNotEmpty)");
    assert_eq!(said["create_new"], "Err(AlreadyExists)");
    assert_eq!(said["open"], "Err(NotFound)");
    assert_eq!(said["null"], "Ok(())");
    assert_eq!(said["full"], "Err(StorageFull)");
    assert_eq!(said["set_len"], "Err(InvalidInput)");
    assert_eq!(said["sync"], "Ok(())");
    assert_eq!(said["lock"], "true");
}

#[test]
fn console_files_reach_the_console() {
    let run = world(1, || {
        fs::OpenOptions::new().write(true).open("/dev/stdout").unwrap().write_all(b"one\n").unwrap();
        fs::write("/dev/stderr", "two\n").unwrap();
        fs::write("/proc/self/fd/1", "three\n").unwrap();
        println!("{:?}", fs::read("/dev/stdin").map(|b| b.len()));
        println!("{:?}", File::open("/dev/tty").map_err(|e| e.raw_os_error() == Some(libc::ENXIO)).map(|_| ()));
    });
    assert_eq!(run.output, "one\ntwo\nthree\nOk(0)\nErr(true)\n");
}

fn reads(path: PathBuf) -> Run {
    world(1, move || {
        let found = fs::metadata(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        let listed = fs::read_dir(path.parent().unwrap()).unwrap().count();
        println!("{} {} {listed}", found.len(), bytes.len());
    })
}

#[test]
fn content_enters_the_digest_and_times_do_not() {
    let path = scratch("digest").join("settings");
    fs::write(&path, "port = 1").unwrap();
    let first = reads(path.clone());
    assert_eq!(first.output, "8 8 1\n");
    let file = File::options().write(true).open(&path).unwrap();
    let earlier = SystemTime::now() - Duration::from_secs(86_400);
    file.set_times(FileTimes::new().set_modified(earlier).set_accessed(earlier)).unwrap();
    assert_eq!(first.digest, reads(path.clone()).digest);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "port = 1").unwrap(); // another inode
    assert_eq!(first.digest, reads(path.clone()).digest);
    fs::write(&path, "port = 2").unwrap();
    assert_ne!(first.digest, reads(path.clone()).digest);
}

#[test]
fn mapped_content_enters_the_digest() {
    fn maps(path: PathBuf) -> Run {
        world(1, move || {
            let file = File::open(&path).unwrap();
            // SAFETY: a fresh mapping, read within the file.
            let text = unsafe {
                let at = libc::mmap(std::ptr::null_mut(), 9, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
                assert_ne!(at, libc::MAP_FAILED);
                drop(file);
                let text = String::from_utf8_lossy(std::slice::from_raw_parts(at.cast(), 9)).into_owned();
                assert_eq!(libc::munmap(at, 9), 0);
                text
            };
            println!("{text}");
        })
    }
    let path = scratch("mapped").join("table");
    fs::write(&path, "content 1").unwrap();
    let first = maps(path.clone());
    assert_eq!((&first.output[..], &first.outcome[..]), ("content 1\n", ""));
    assert_eq!(first.digest, maps(path.clone()).digest);
    fs::write(&path, "content 2").unwrap();
    assert_ne!(first.digest, maps(path).digest);
}

#[test]
fn metadata_is_made_up_except_size_and_type() {
    let run = world(1, || {
        let [a, b] = ["Cargo.toml", "src"].map(|path| fs::metadata(path).unwrap());
        let age = SystemTime::now().duration_since(a.modified().unwrap()).unwrap();
        println!("age: {} {}", age.as_secs(), a.created().unwrap() == a.modified().unwrap());
        println!("owner: {} {}", a.uid(), a.gid());
        println!("modes: {:o} {:o}", a.mode(), b.mode());
        println!("same: {}", fs::metadata("src/../Cargo.toml").unwrap().ino() == a.ino() && a.ino() != b.ino());
        let listed = fs::read_dir(".").unwrap().map(|e| e.unwrap()).find(|e| e.file_name() == "Cargo.toml").unwrap();
        println!("listed: {}", std::os::unix::fs::DirEntryExt::ino(&listed) == a.ino());
    });
    let said = lines(&run);
    assert_eq!(said["age"], "86400 true");
    assert_eq!(said["owner"], "1000 1000", "the disk is the service's own");
    assert_eq!(said["modes"], "100644 40755");
    assert_eq!(said["same"], "true");
    assert_eq!(said["listed"], "true");
}

#[test]
fn proc_and_etc_describe_the_host() {
    let run = world(1, || {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|e| e.to_string());
        let field = |path: &str, name: &str| {
            let text = read(path);
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or("", |(_, value)| value).trim().to_owned()
        };
        println!("hostname: {}", read("/etc/hostname").trim());
        println!("hosts: {}", read("/etc/hosts").lines().last().unwrap());
        println!("resolver: {}", read("/etc/resolv.conf").lines().next().unwrap());
        println!("processors: {}", read("/proc/cpuinfo").lines().filter(|l| l.starts_with("processor")).count());
        println!("online: {}", read("/sys/devices/system/cpu/online").trim());
        println!("parallelism: {:?}", std::thread::available_parallelism().map(usize::from));
        println!("memory: {}", field("/proc/meminfo", "MemTotal"));
        println!("pid: {} {}", field("/proc/self/status", "Pid"), std::process::id());
        println!("fields: {}", read("/proc/self/stat").split_whitespace().count());
        println!("uptime: {}", read("/proc/uptime").split('.').next().unwrap());
        println!("exe: {}", std::env::current_exe().unwrap().display());
        println!("exe opens: {}", fs::read("/proc/self/exe").unwrap().starts_with(b"\x7fELF"));
        println!("exe by path: {}", fs::metadata(std::env::current_exe().unwrap()).unwrap().len() > 100_000);
        println!("cwd: {}", fs::read_link("/proc/self/cwd").unwrap().display());
        println!("environ: {:?}", read("/proc/self/environ"));
        println!("zone: {}", fs::read_link("/etc/localtime").unwrap().display());
        println!("zone data: {}", fs::read("/etc/localtime").unwrap().len());
        println!("boot id: {}", read("/proc/sys/kernel/random/boot_id") == read("/proc/sys/kernel/random/boot_id"));
        println!("uuid: {}", read("/proc/sys/kernel/random/uuid") != read("/proc/sys/kernel/random/uuid"));
        println!(
            "others: {:?}",
            fs::read_dir("/proc")
                .unwrap()
                .filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().parse::<u32>().is_ok())
                .count()
        );
        println!("net: {:?}", fs::read("/proc/net/dev").map_err(|e| e.kind()));
        println!("sysgenid: {:?}", fs::read("/dev/sysgenid").map_err(|e| e.kind()));
        println!("cgroup: {}", read("/sys/fs/cgroup/cpu.max").trim());
        println!("docker: {:?}", fs::exists("/.dockerenv"));
    });
    let said = lines(&run);
    assert_eq!(said["hostname"], "test");
    assert_eq!(said["hosts"], "fd00::1\ttest");
    assert_eq!(said["resolver"], "nameserver 10.0.255.53");
    assert_eq!(said["processors"], "4");
    assert_eq!(said["online"], "0-3");
    assert_eq!(said["parallelism"], "Ok(4)");
    assert_eq!(said["memory"], "8388608 kB");
    assert_eq!(said["pid"], "101 101");
    assert_eq!(said["fields"], "52");
    assert_eq!(said["uptime"], "5000");
    assert_eq!(said["exe"], "/usr/local/bin/test");
    assert_eq!(said["exe opens"], "true");
    assert_eq!(said["exe by path"], "true");
    assert_eq!(said["cwd"], "/workspace/sim");
    assert_eq!(said["environ"], "\"TZ=UTC0\\0OPENSSL_ia32cap=~0x4000000000000000\\0\"");
    assert_eq!(said["zone"], "/usr/share/zoneinfo/Etc/UTC");
    assert_eq!(said["zone data"], "114");
    assert_eq!(said["boot id"], "true");
    assert_eq!(said["uuid"], "true");
    assert_eq!(said["others"], "1");
    assert_eq!(said["net"], "Err(NotFound)");
    assert_eq!(said["sysgenid"], "Ok([0, 0, 0, 0])");
    assert_eq!(said["cgroup"], "max 100000");
    assert_eq!(said["docker"], "Ok(false)");
}

#[test]
fn open_files_are_listed_under_proc() {
    let run = world(1, || {
        let file = File::open("Cargo.toml").unwrap();
        let (reader, _writer) = io::pipe().unwrap();
        for fd in [0, 1, file.as_raw_fd()] {
            println!("{}", fs::read_link(format!("/proc/self/fd/{fd}")).unwrap().display());
        }
        let pipe = fs::read_link(format!("/proc/self/fd/{}", reader.as_raw_fd())).unwrap();
        println!("{}", pipe.to_str().unwrap().starts_with("pipe:["));
        let again = fs::read_to_string(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        println!("{}", again == fs::read_to_string("Cargo.toml").unwrap());
        let open = fs::read_dir("/proc/self/fd").unwrap().count();
        println!("{open}");
    });
    assert!(run.output.ends_with("/workspace/sim/Cargo.toml\ntrue\ntrue\n7\n"), "{}{}", run.output, run.outcome);
}

#[test]
fn threads_are_listed_under_proc() {
    let run = world(1, || {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("helper".into()).spawn(move || held.recv()).unwrap();
        let mut names: Vec<_> = fs::read_dir("/proc/self/task").unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        names.iter().for_each(|path| print!("{}", fs::read_to_string(path.join("comm")).unwrap()));
        let own = fs::read_link("/proc/thread-self").unwrap();
        println!("{}", own.display());
        drop(hold);
        let _ = thread.join();
    });
    assert_eq!(run.output, "test\nhelper\n101/task/101\n");
}

#[test]
fn a_backtrace_leaves_no_trace_in_the_run() {
    fn panics(print: bool) -> Run {
        world_with(config(1), move || {
            println!("{}", !fs::read("Cargo.toml").unwrap().is_empty());
            if print {
                let text = std::backtrace::Backtrace::force_capture().to_string();
                println!("{}", text.contains("tests/files.rs:") && text.contains("thread_main"));
            }
            std::thread::sleep(Duration::from_millis(1));
        })
    }
    let (without, with) = (panics(false), panics(true));
    assert_eq!((&without.output[..], &with.output[..]), ("true\n", "true\ntrue\n"), "{}", with.outcome);
    assert_eq!(without.digest, with.digest);
}

#[test]
fn users_are_those_of_the_host() {
    let run = world(1, || {
        // SAFETY: entries of the user database are constants.
        unsafe {
            let me = &*libc::getpwuid(libc::getuid());
            let text = |s: *const libc::c_char| CStr::from_ptr(s).to_str().unwrap().to_owned();
            println!("me: {} {} {}", text(me.pw_name), text(me.pw_dir), me.pw_uid);
            println!("root: {}", (*libc::getpwnam(c"root".as_ptr())).pw_uid);
            println!("nobody else: {}", libc::getpwnam(c"daemon".as_ptr()).is_null());
            println!("group: {}", text((*libc::getgrgid(1000)).gr_name));
            let mut entry: libc::passwd = std::mem::zeroed();
            let (mut found, mut buffer) = (std::ptr::null_mut(), [0i8; 512]);
            let error = libc::getpwuid_r(1000, &mut entry, buffer.as_mut_ptr(), 3, &mut found);
            println!("small: {}", error == libc::ERANGE && found.is_null());
            let error = libc::getpwuid_r(1000, &mut entry, buffer.as_mut_ptr(), 512, &mut found);
            println!("reentrant: {} {}", error, text(entry.pw_shell));
            println!("login: {}", text(libc::getlogin()));
        }
        println!("home: {:?}", std::env::home_dir());
        let time = 1_800_000_000;
        // SAFETY: the structure is plain numbers and a pointer that is not used.
        let local = unsafe {
            let mut local = std::mem::zeroed();
            libc::localtime_r(&time, &mut local);
            local
        };
        println!("local time: {}:{:02} {}", local.tm_hour, local.tm_min, local.tm_gmtoff);
    });
    let said = lines(&run);
    assert_eq!(said["me"], "windtunnel /home/windtunnel 1000");
    assert_eq!(said["root"], "0");
    assert_eq!(said["nobody else"], "true");
    assert_eq!(said["group"], "windtunnel");
    assert_eq!(said["small"], "true");
    assert_eq!(said["reentrant"], "0 /bin/sh");
    assert_eq!(said["login"], "windtunnel");
    assert_eq!(said["home"], "Some(\"/home/windtunnel\")");
    assert_eq!(said["local time"], "8:00 0");
}

#[test]
fn streams_of_c_read_outside_files_and_write_to_the_console() {
    unsafe extern "C" {
        fn puts(text: *const libc::c_char) -> i32;
        static stdout: *mut libc::FILE;
    }
    let root = scratch("streams");
    let path = root.join("settings");
    fs::write(&path, "first\nsecond\n").unwrap();
    let run = world(1, move || {
        let path = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: streams are used until they are closed; buffers have the sizes that are given.
        unsafe {
            let file = libc::fopen(path.as_ptr(), c"r".as_ptr());
            assert!(!file.is_null());
            let mut line = [0i8; 64];
            libc::fgets(line.as_mut_ptr(), 64, file);
            libc::fgets(line.as_mut_ptr(), 64, file);
            print!("{}", CStr::from_ptr(line.as_ptr()).to_str().unwrap());
            libc::fseek(file, 0, libc::SEEK_SET);
            libc::fgets(line.as_mut_ptr(), 64, file);
            print!("{}", CStr::from_ptr(line.as_ptr()).to_str().unwrap());
            let mut found: libc::stat = std::mem::zeroed();
            println!("{} {}", libc::fstat(libc::fileno(file), &mut found), found.st_size);
            libc::fclose(file);
            println!("{}", libc::fopen(c"/no/such/file".as_ptr(), c"r".as_ptr()).is_null());
            libc::fputs(c"from C\n".as_ptr(), stdout);
            puts(c"put by C".as_ptr());
            let file = libc::fopen(c"/tmp/written".as_ptr(), c"w+".as_ptr());
            libc::fputs(c"one\ntwo\n".as_ptr(), file);
            libc::fseek(file, 4, libc::SEEK_SET);
            libc::fgets(line.as_mut_ptr(), 64, file);
            print!("{}", CStr::from_ptr(line.as_ptr()).to_str().unwrap());
            libc::fclose(file);
            let file = libc::fopen(c"/tmp/written".as_ptr(), c"a".as_ptr());
            libc::fputs(c"three\n".as_ptr(), file);
            libc::fclose(file);
            print!("{}", fs::read_to_string("/tmp/written").unwrap());
        }
    });
    assert_eq!(run.output, "second\nfirst\n0 13\ntrue\nfrom C\nput by C\ntwo\none\ntwo\nthree\n");
}

#[test]
fn a_watch_on_outside_files_is_silent() {
    let run = world(1, || {
        // SAFETY: plain calls on descriptors and constants.
        unsafe {
            let fd = libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC);
            println!("{}", libc::inotify_add_watch(fd, c"Cargo.toml".as_ptr(), libc::IN_MODIFY));
            println!("{}", libc::inotify_add_watch(fd, c"not there".as_ptr(), libc::IN_MODIFY));
            let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            println!("{}", libc::poll(&mut poll, 1, 1000));
        }
    });
    assert_eq!(run.output, "1\n-1\n0\n");
}

#[test]
fn copying_into_a_socket_or_pipe_works() {
    let run = world(1, || {
        let mut file = File::open("Cargo.toml").unwrap();
        let (mut reader, mut writer) = io::pipe().unwrap();
        let copied = io::copy(&mut file, &mut writer).unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        println!("{}", copied == text.len() as u64 && text == fs::read_to_string("Cargo.toml").unwrap());
    });
    assert_eq!((&run.output[..], &run.outcome[..]), ("true\n", ""));
}

#[test]
fn sockets_have_files() {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    let run = world(1, || {
        println!("stale: {:?}", fs::remove_file("/run/app.sock").map_err(|e| e.kind()));
        let listener = UnixListener::bind("/run/app.sock").unwrap();
        println!("socket: {}", fs::metadata("/run/app.sock").unwrap().file_type().is_socket());
        println!("listed: {:?}", fs::read_dir("/run").unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>());
        println!("mode: {:?}", fs::set_permissions("/run/app.sock", PermissionsExt::from_mode(0o666)));
        std::env::set_current_dir("/run").unwrap();
        println!("relative: {}", UnixStream::connect("./app.sock").is_ok());
        println!("through a link: {}", UnixStream::connect("/var/run/app.sock").is_ok());
        println!("open: {:?}", File::open("app.sock").map(|_| ()).map_err(|e| e.raw_os_error()));
        drop(listener);
        println!("outlives: {}", fs::exists("/run/app.sock").unwrap());
        println!("refused: {:?}", UnixStream::connect("/run/app.sock").map(|_| ()).map_err(|e| e.kind()));
        println!("in use: {:?}", UnixListener::bind("/run/app.sock").map(|_| ()).map_err(|e| e.kind()));
        println!("removed: {:?}", fs::remove_file("/run/app.sock"));
        println!("again: {}", UnixListener::bind("/run/app.sock").is_ok());
        println!("no directory: {:?}", UnixListener::bind("/run/app/sock").map(|_| ()).map_err(|e| e.kind()));
        println!("occupied: {:?}", UnixListener::bind("/etc/hosts").map(|_| ()).map_err(|e| e.kind()));
        println!("no socket: {:?}", UnixStream::connect("/etc/hosts").map(|_| ()).map_err(|e| e.kind()));
    });
    let said = lines(&run);
    assert_eq!(said["stale"], "Err(NotFound)");
    assert_eq!(said["socket"], "true");
    assert_eq!(said["listed"], "[\"app.sock\"]");
    assert_eq!(said["mode"], "Ok(())");
    assert_eq!(said["relative"], "true");
    assert_eq!(said["through a link"], "true");
    assert_eq!(said["open"], format!("Err(Some({}))", libc::ENXIO));
    assert_eq!(said["outlives"], "true");
    assert_eq!(said["refused"], "Err(ConnectionRefused)");
    assert_eq!(said["in use"], "Err(AddrInUse)");
    assert_eq!(said["removed"], "Ok(())");
    assert_eq!(said["again"], "true");
    assert_eq!(said["no directory"], "Err(NotFound)");
    assert_eq!(said["occupied"], "Err(AddrInUse)");
    assert_eq!(said["no socket"], "Err(ConnectionRefused)");
}

/// Runs `entry` as the program of hosts `alpha` and `beta`, one after the other.
fn on_two_hosts(entry: unsafe fn(usize, &[u8]) -> i32) -> Run {
    world(1, move || {
        for name in ["alpha", "beta"] {
            let (args, env) =
                (vec![format!("bin/{name}"), "--flag".to_owned()], vec![("WHO".to_owned(), name.to_owned())]);
            let program = Program { entry, user: 0, payload: Vec::new(), args, env, on_exit: OnExit::Ignore };
            let host = control::add_host(name);
            control::start(host, &program).unwrap();
            while control::state(host) == HostState::Up {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        println!("test: {}", std::env::current_dir().unwrap().display());
    })
}

unsafe fn describe(_: usize, _: &[u8]) -> i32 {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    std::env::set_current_dir("src").unwrap();
    let name = read("/etc/hostname").trim().to_owned();
    println!("{name} arguments: {:?}", read("/proc/self/cmdline"));
    println!("{name} environment: {:?}", read("/proc/self/environ"));
    println!("{name} program: {}", std::env::current_exe().unwrap().display());
    println!("{name} directory: {}", std::env::current_dir().unwrap().display());
    println!("{name} identity: {}", read("/etc/machine-id").trim());
    println!("{name} address: {}", read("/etc/hosts").lines().nth(2).unwrap());
    println!(
        "{name} mapped: {}",
        read("/proc/self/maps").lines().any(|l| l.ends_with(&format!("/usr/local/bin/{name}")))
    );
    0
}

/// Lines of `/proc/self/maps` that say something of the machine, or are no line of it (proc_pid_maps(5)).
unsafe fn look_at_mappings(_: usize, _: &[u8]) -> i32 {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let odd = maps.lines().filter(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [addresses, _, _, "00:00", "0", path] = fields[..] else { return true };
        !addresses.contains('-') || !(path.starts_with("/usr/local/bin/") || path.contains(".so"))
    });
    let name = fs::read_to_string("/etc/hostname").unwrap();
    println!("{} odd: {:?}", name.trim(), odd.collect::<Vec<_>>());
    println!("{} code: {}", name.trim(), maps.lines().any(|line| line.contains(" r-xp ")));
    0
}

#[test]
fn mappings_are_those_of_code() {
    let run = on_two_hosts(look_at_mappings);
    let said = lines(&run);
    for host in ["alpha", "beta"] {
        assert_eq!(said[&format!("{host} odd")], "[]", "{run:#?}");
        assert_eq!(said[&format!("{host} code")], "true", "{run:#?}");
    }
}

#[test]
fn each_host_sees_its_own_facts() {
    let run = on_two_hosts(describe);
    let said = lines(&run);
    assert_eq!(said["alpha arguments"], "\"bin/alpha\\0--flag\\0\"");
    assert!(said["beta environment"].starts_with("\"WHO=beta\\0TZ=UTC0\\0"), "{}", said["beta environment"]);
    assert_eq!(said["beta program"], "/usr/local/bin/beta");
    assert_eq!(said["alpha directory"], "/workspace/sim/src");
    assert_eq!(said["beta directory"], "/workspace/sim/src");
    assert_eq!(said["test"], "/workspace/sim");
    assert_ne!(said["alpha identity"], said["beta identity"]);
    assert_eq!(said["beta address"], "10.0.0.3\tbeta");
    assert_eq!(said["alpha mapped"], "true");
}

#[test]
fn how_a_case_is_looked_at_is_not_in_what_hosts_read_of_their_environment() {
    let looked_at = |test_env: Vec<(String, String)>, backtrace: &str| {
        let env = [test_env.clone(), vec![("RUST_BACKTRACE".to_owned(), backtrace.to_owned())]].concat();
        let run = world_with(Config { test_env, ..config(1) }, move || {
            let args = vec!["alpha".to_owned()];
            let host = control::add_host("alpha");
            let program = Program { entry: describe, user: 0, payload: vec![], args, env, on_exit: OnExit::Ignore };
            control::start(host, &program).unwrap();
            std::thread::sleep(Duration::from_secs(1));
        });
        (lines(&run)["alpha environment"].clone(), run.digest)
    };
    let plain = looked_at(vec![], "full");
    assert!(plain.0.starts_with("\"RUST_BACKTRACE=full\\0"), "{}", plain.0);
    assert_eq!(plain, looked_at(vec![("RUST_LOG".to_owned(), "trace".to_owned())], "full"));
}

unsafe fn print_a_backtrace(_: usize, _: &[u8]) -> i32 {
    println!("backtrace: {}", std::backtrace::Backtrace::force_capture().to_string().contains("tests/files.rs:"));
    0
}

unsafe fn print_no_backtrace(_: usize, _: &[u8]) -> i32 {
    println!("no backtrace");
    0
}

#[test]
fn a_hosts_backtrace_leaves_no_trace_either() {
    let (with, without) = (on_two_hosts(print_a_backtrace), on_two_hosts(print_no_backtrace));
    assert!(with.output.starts_with("backtrace: true\nbacktrace: true\n"), "{}", with.output);
    assert_eq!(with.digest, without.digest);
}
