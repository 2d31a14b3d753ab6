//! OS truth for files: the same calls on the real kernel and in a world, results and errnos compared.

mod common;
use common::world;
use std::ffi::{CStr, CString};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What is outside for one test: a directory with something of every kind, made afresh.
fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("full/inner")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("file"), "0123456789").unwrap();
    fs::write(root.join("full/one"), "1").unwrap();
    symlink("file", root.join("link")).unwrap();
    symlink("full", root.join("to-directory")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("full/../link", root.join("chain")).unwrap();
    symlink("/dev/null", root.join("to-null")).unwrap();
    root
}

const PATHS: &[&str] = &[
    "",
    ".",
    "..",
    "/",
    "file",
    "./file",
    "file/",
    "file/.",
    "file/x",
    "full",
    "full/",
    "full/one",
    "full/one/two",
    "empty",
    "empty/",
    "full/inner/../one",
    "link",
    "link/",
    "to-directory",
    "to-directory/",
    "to-directory/one",
    "to-directory/..",
    "dangling",
    "dangling/",
    "dangling/x",
    "loop",
    "loop/x",
    "chain",
    "to-null",
    "nowhere",
    "nowhere/",
    "nowhere/x",
    "//file",
    "/dev/null",
    "/dev/null/x",
    "/dev/zero",
    "/dev/tty",
    "/dev/fd",
    "/dev/stdin",
    "/proc/self",
    "/proc/self/exe",
    "/proc/self/cwd",
    "/proc/self/fd",
    "/proc/self/fd/0",
    "/proc/self/fd/99",
    "/proc/self/nothing",
    "/proc/999999/stat",
    "/proc/meminfo",
    "/proc/meminfo/x",
    "/etc/hosts",
    "/etc/passwd",
    "/sys/devices/system/cpu/online",
    "/no such directory/x",
];

fn name_of(errno: i32) -> String {
    // SAFETY: strerrorname_np knows every number (glibc 2.32).
    unsafe {
        unsafe extern "C" {
            fn strerrorname_np(errno: i32) -> *const libc::c_char;
        }
        CStr::from_ptr(strerrorname_np(errno)).to_str().unwrap().to_owned()
    }
}

/// A result as text; any descriptor or count that is not part of the comparison is `ok`.
fn told(result: i64) -> String {
    if result >= 0 { "ok".to_owned() } else { name_of(std::io::Error::last_os_error().raw_os_error().unwrap()) }
}

fn counted(result: i64) -> String {
    if result >= 0 { result.to_string() } else { told(result) }
}

/// Runs the same on the real kernel, and in a world; both texts.
fn both(root: &Path, run: fn(&Path) -> String) -> (String, String) {
    let real = run(root);
    let root = root.to_owned();
    let simulated = world(1, move || print!("{}", run(&root)));
    assert_eq!(simulated.outcome, "", "{}", simulated.output);
    (real, simulated.output)
}

/// Compares line by line; `known` lists the lines that differ and why.
fn compare((real, simulated): (String, String), known: &[(&str, &str)]) {
    let (real, simulated): (Vec<_>, Vec<_>) = (real.lines().collect(), simulated.lines().collect());
    assert_eq!(real.len(), simulated.len());
    let mut differences = String::new();
    for (real, simulated) in real.iter().zip(&simulated) {
        let excused = known.iter().any(|(start, _)| real.starts_with(start));
        if real != simulated && !excused {
            let _ = writeln!(differences, "real: {real}\n  in a world: {simulated}");
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

fn in_root(root: &Path, path: &str) -> CString {
    let absolute = path.is_empty() || path.starts_with('/');
    let path = if absolute { PathBuf::from(path) } else { PathBuf::from(format!("{}/{path}", root.display())) };
    CString::new(path.into_os_string().into_encoded_bytes()).unwrap()
}

#[test]
fn opening_fails_as_on_linux() {
    const FLAGS: &[(i32, &str)] = &[
        (libc::O_RDONLY, "O_RDONLY"),
        (libc::O_RDONLY | libc::O_DIRECTORY, "O_DIRECTORY"),
        (libc::O_RDONLY | libc::O_NOFOLLOW, "O_NOFOLLOW"),
        (libc::O_PATH, "O_PATH"),
        (libc::O_PATH | libc::O_NOFOLLOW, "O_PATH|O_NOFOLLOW"),
        (libc::O_PATH | libc::O_DIRECTORY, "O_PATH|O_DIRECTORY"),
    ];
    fn run(root: &Path) -> String {
        let mut text = String::new();
        for path in PATHS {
            for (flags, name) in FLAGS {
                let at = in_root(root, path);
                // SAFETY: a C string; the descriptor is closed.
                let result = unsafe { libc::open(at.as_ptr(), flags | libc::O_CLOEXEC) };
                let _ = writeln!(text, "open({path:?}, {name}) = {}", told(i64::from(result)));
                if result >= 0 {
                    // SAFETY: just opened.
                    unsafe { libc::close(result) };
                }
            }
        }
        text
    }
    let known = [
        ("open(\"/proc/self/fd/0\"", "what is behind it differs"),
        ("open(\"/dev/stdin\"", "what is behind it differs"),
    ];
    compare(both(&fixture("opening"), run), &known);
}

#[test]
fn questions_about_paths_fail_as_on_linux() {
    fn run(root: &Path) -> String {
        let mut text = String::new();
        for path in PATHS {
            let at = in_root(root, path);
            let at = at.as_ptr();
            // SAFETY: C strings, and buffers of the sizes that are given.
            unsafe {
                let mut found: libc::stat = std::mem::zeroed();
                for (name, result) in [("stat", libc::stat(at, &mut found)), ("lstat", libc::lstat(at, &mut found))] {
                    let kind = if result == 0 { found.st_mode & libc::S_IFMT } else { 0 };
                    let _ = writeln!(text, "{name}({path:?}) = {} {kind:o}", told(result.into()));
                }
                for (mode, name) in [(libc::F_OK, "F_OK"), (libc::R_OK, "R_OK"), (8, "8")] {
                    let _ = writeln!(text, "access({path:?}, {name}) = {}", told(libc::access(at, mode).into()));
                }
                let mut buffer = [0u8; 4096];
                let read = libc::readlink(at, buffer.as_mut_ptr().cast(), buffer.len());
                let _ = writeln!(text, "readlink({path:?}) = {}", told(read as i64));
                let resolved = libc::realpath(at, buffer.as_mut_ptr().cast());
                let _ = writeln!(text, "realpath({path:?}) = {}", told(if resolved.is_null() { -1 } else { 0 }));
                let directory = libc::opendir(at);
                let _ = writeln!(text, "opendir({path:?}) = {}", told(if directory.is_null() { -1 } else { 0 }));
                if !directory.is_null() {
                    libc::closedir(directory);
                }
                let mut fs: libc::statfs = std::mem::zeroed();
                let _ = writeln!(text, "statfs({path:?}) = {}", told(libc::statfs(at, &mut fs).into()));
                let _ = writeln!(text, "truncate({path:?}, -1) = {}", told(libc::truncate(at, -1).into()));
                let _ =
                    writeln!(text, "unlink({path:?}/) = {}", told(libc::unlinkat(libc::AT_FDCWD, at, 1 << 30).into()));
            }
        }
        text
    }
    let known = [
        ("stat(\"/proc/self/fd/0\"", "what is behind it differs"),
        ("stat(\"/dev/stdin\"", "what is behind it differs"),
    ];
    compare(both(&fixture("questions"), run), &known);
}

/// Another name in the directory of `path`.
unsafe fn beside(path: *const libc::c_char, name: &str) -> CString {
    // SAFETY: a C string.
    let path = unsafe { CStr::from_ptr(path) }.to_str().unwrap();
    CString::new(Path::new(path).with_file_name(name).into_os_string().into_encoded_bytes()).unwrap()
}

/// Whether a test may try to change what is there: it lies in the fixture, whoever runs the test.
fn changeable(path: &str) -> bool {
    !path.starts_with('/') && !path.contains("..") && path != "to-null"
}

/// A call on two paths of C strings, of which the second does not exist.
type Change = (&'static str, unsafe fn(*const libc::c_char, *const libc::c_char) -> i32);

#[expect(clippy::undocumented_unsafe_blocks, reason = "SAFETY: both are C strings, as the type promises")]
const CHANGES: &[Change] = &[
    ("mkdir", |a, _| unsafe { libc::mkdir(a, 0o755) }),
    ("unlink", |a, _| unsafe { libc::unlink(a) }),
    ("rmdir", |a, _| unsafe { libc::rmdir(a) }),
    ("remove", |a, _| unsafe { libc::remove(a) }),
    ("symlink", |a, _| unsafe { libc::symlink(c"x".as_ptr(), a) }),
    ("mkfifo", |a, _| unsafe { libc::mkfifo(a, 0o644) }),
    ("truncate", |a, _| unsafe { libc::truncate(a, 1) }),
    ("chmod", |a, _| unsafe { libc::chmod(a, 0o700) }),
    ("O_WRONLY", |a, _| unsafe { libc::open(a, libc::O_WRONLY) }),
    ("O_RDWR|O_TRUNC", |a, _| unsafe { libc::open(a, libc::O_RDWR | libc::O_TRUNC) }),
    ("O_CREAT|O_WRONLY", |a, _| unsafe { libc::open(a, libc::O_CREAT | libc::O_WRONLY, 0o644) }),
    ("O_CREAT|O_EXCL", |a, _| unsafe { libc::open(a, libc::O_CREAT | libc::O_EXCL | libc::O_RDWR, 0o644) }),
    ("O_CREAT|O_NOFOLLOW", |a, _| unsafe { libc::open(a, libc::O_CREAT | libc::O_NOFOLLOW | libc::O_RDWR, 0o644) }),
    ("rename to nowhere", |a, b| unsafe { libc::rename(a, b) }),
    ("rename to file", |a, b| unsafe { libc::rename(a, beside(b, "file").as_ptr()) }),
    ("rename to full", |a, b| unsafe { libc::rename(a, beside(b, "full").as_ptr()) }),
    ("rename to empty", |a, b| unsafe { libc::rename(a, beside(b, "empty").as_ptr()) }),
    ("link to nowhere", |a, b| unsafe { libc::link(a, b) }),
    ("link to file", |a, b| unsafe { libc::link(a, beside(b, "file").as_ptr()) }),
];

/// Calls that would change something: those that fail on the real kernel fail in a world, too.
#[test]
fn changes_that_fail_on_linux_fail_the_same_way() {
    let (mut failing, mut wanted) = (Vec::new(), String::new());
    for (number, (name, change)) in CHANGES.iter().enumerate() {
        for path in PATHS.iter().filter(|path| changeable(path)) {
            let root = fixture("changes");
            let (at, new) = (in_root(&root, path), in_root(&root, "new"));
            // SAFETY: C strings.
            let result = unsafe { change(at.as_ptr(), new.as_ptr()) };
            if result < 0 {
                let _ = writeln!(wanted, "{name}({path:?}) = {}", told(-1));
                failing.push((number, *path));
            } else if !name.starts_with("O_") || result < 3 {
                continue;
            } else {
                // SAFETY: just opened.
                unsafe { libc::close(result) };
            }
        }
    }
    let root = fixture("changes");
    let run = world(1, move || {
        for (number, path) in failing {
            let (name, change) = CHANGES[number];
            let (at, new) = (in_root(&root, path), in_root(&root, "new"));
            // SAFETY: C strings.
            let result = unsafe { change(at.as_ptr(), new.as_ptr()) };
            println!("{name}({path:?}) = {}", told(i64::from(result)));
        }
    });
    assert_eq!(run.outcome, "", "{}", run.output.lines().last().unwrap_or_default());
    compare((wanted, run.output), &[]);
}

/// A descriptor of each kind.
fn descriptors(root: &Path) -> Vec<(&'static str, i32)> {
    let open = |path: &str, flags| {
        let at = in_root(root, path);
        // SAFETY: a C string.
        let fd = unsafe { libc::open(at.as_ptr(), flags | libc::O_CLOEXEC | libc::O_NONBLOCK) };
        assert!(fd >= 0, "{path}: {}", std::io::Error::last_os_error());
        fd
    };
    // SAFETY: fresh descriptors.
    unsafe {
        let mut pipe = [0; 2];
        libc::pipe2(pipe.as_mut_ptr(), libc::O_NONBLOCK);
        vec![
            ("nothing", -1),
            ("file", open("file", libc::O_RDONLY)),
            ("path", open("file", libc::O_PATH)),
            ("directory", open("full", libc::O_RDONLY)),
            ("null", open("/dev/null", libc::O_RDWR)),
            ("null for writing", open("/dev/null", libc::O_WRONLY)),
            ("zero", open("/dev/zero", libc::O_RDWR)),
            ("full", open("/dev/full", libc::O_RDWR)),
            ("made-up", open("/proc/self/limits", libc::O_RDONLY)),
            ("reader", pipe[0]),
            ("writer", pipe[1]),
            ("eventfd", libc::eventfd(0, libc::EFD_NONBLOCK)),
            ("timerfd", libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK)),
            ("epoll", libc::epoll_create1(0)),
            ("inotify", libc::inotify_init1(libc::IN_NONBLOCK)),
        ]
    }
}

/// Reading, writing, seeking.
fn transfers(fd: i32) -> Vec<(&'static str, String)> {
    let (mut buffer, one) = ([0u8; 64], 1u64);
    let at = buffer.as_mut_ptr().cast();
    // SAFETY: buffers of the sizes that are given.
    unsafe {
        vec![
            ("read 0", counted(libc::read(fd, at, 0) as i64)),
            ("read 4", counted(libc::read(fd, at, 4) as i64)),
            ("pread 4 at 8", counted(libc::pread(fd, at, 4, 8) as i64)),
            ("pread 4 at 100", counted(libc::pread(fd, at, 4, 100) as i64)),
            ("pread at -1", counted(libc::pread(fd, at, 4, -1) as i64)),
            ("write 0", counted(libc::write(fd, at, 0) as i64)),
            ("write 8", counted(libc::write(fd, (&raw const one).cast(), 8) as i64)),
            ("pwrite 4 at 0", counted(libc::pwrite(fd, at, 4, 0) as i64)),
            ("seek to 3", counted(libc::lseek(fd, 3, libc::SEEK_SET))),
            ("seek by 2", counted(libc::lseek(fd, 2, libc::SEEK_CUR))),
            ("seek before the start", counted(libc::lseek(fd, -9999, libc::SEEK_CUR))),
            ("seek nowhere", counted(libc::lseek(fd, 0, 77))),
            ("seek to data", counted(libc::lseek(fd, 2, libc::SEEK_DATA))),
            ("seek to a hole", counted(libc::lseek(fd, 2, libc::SEEK_HOLE))),
            ("seek to data beyond the end", counted(libc::lseek(fd, 99, libc::SEEK_DATA))),
        ]
    }
}

/// What a descriptor is, and what else can be done with it.
fn questions(fd: i32) -> Vec<(&'static str, String)> {
    let mut buffer = [0u8; 64];
    // SAFETY: buffers of the sizes that are given; structures of plain numbers.
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = libc::F_RDLCK as i16;
        let result = libc::fstat(fd, &mut found);
        let kind = found.st_mode & libc::S_IFMT;
        let device = if kind == libc::S_IFCHR { found.st_rdev } else { 0 };
        vec![
            ("fstat", format!("{} {kind:o} {device}", counted(result.into()))),
            ("flags", format!("{:o}", libc::fcntl(fd, libc::F_GETFL))),
            ("read lock", told(libc::fcntl(fd, libc::F_SETLK, &mut lock).into())),
            ("flock", told(libc::flock(fd, libc::LOCK_SH).into())),
            ("flock 16", told(libc::flock(fd, 16).into())),
            ("ftruncate", told(libc::ftruncate(fd, 5).into())),
            ("fsync", told(libc::fsync(fd).into())),
            ("fadvise", libc::posix_fadvise(fd, 0, 0, libc::POSIX_FADV_SEQUENTIAL).to_string()),
            ("fchdir", if kind == libc::S_IFDIR { String::new() } else { told(libc::fchdir(fd).into()) }),
            ("seek to the start", counted(libc::lseek(fd, 0, libc::SEEK_SET))),
            ("getdents", told(libc::syscall(libc::SYS_getdents64, fd, buffer.as_mut_ptr(), 10))),
            ("map shared", mapped(fd, libc::PROT_READ, libc::MAP_SHARED, 0)),
            ("map private", mapped(fd, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE, 0)),
            ("map shared for writing", mapped(fd, libc::PROT_WRITE, libc::MAP_SHARED, 0)),
            ("map at an odd offset", mapped(fd, libc::PROT_READ, libc::MAP_PRIVATE, 7)),
            ("sendfile", counted(libc::sendfile(fd, -1, std::ptr::null_mut(), 4) as i64)),
            ("openat", told(libc::openat(fd, c"nowhere".as_ptr(), libc::O_RDONLY).into())),
            ("fdopendir", if libc::fdopendir(libc::dup(fd)).is_null() { told(-1) } else { "ok".to_owned() }),
        ]
    }
}

/// The first byte of a mapping, if it can be read.
fn mapped(fd: i32, protection: i32, flags: i32, offset: i64) -> String {
    // SAFETY: a fresh mapping of one page, which is unmapped.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), 4096, protection, flags, fd, offset);
        if at == libc::MAP_FAILED {
            return told(-1);
        }
        let first = (protection & libc::PROT_READ != 0).then(|| *at.cast::<u8>());
        libc::munmap(at, 4096);
        format!("{first:?}")
    }
}

#[test]
fn calls_on_descriptors_answer_as_on_linux() {
    fn run(root: &Path) -> String {
        let mut text = String::new();
        for (name, fd) in descriptors(root) {
            for (call, result) in transfers(fd).into_iter().chain(questions(fd)) {
                let _ = writeln!(text, "{name}: {call} = {result}");
            }
        }
        text
    }
    let known = [
        ("directory: seek to data", "each file system answers in its own way"),
        ("directory: seek to a hole", "each file system answers in its own way"),
        ("made-up: pwrite", "/proc says that it is not seekable, which only matters to writers"),
    ];
    compare(both(&fixture("descriptors"), run), &known);
}

/// Paths of random components, so that links, dots, slashes and mistakes meet in ways that nobody thought of.
#[test]
fn random_paths_lead_where_linux_goes() {
    const PARTS: &[&str] = &[
        "file",
        "full",
        "one",
        "inner",
        "empty",
        "link",
        "to-directory",
        "dangling",
        "loop",
        "chain",
        "nowhere",
        ".",
        "..",
        "",
    ];
    fn run(root: &Path) -> String {
        let (mut state, mut text) = (1u64, String::new());
        let mut draw = |below: usize| {
            // Knuth's MMIX generator; the upper bits are the good ones.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..3000 {
            let count = 1 + draw(6);
            let path = (0..count).map(|_| PARTS[draw(PARTS.len())]).collect::<Vec<_>>().join("/");
            let at = in_root(root, &format!("./{path}"));
            // SAFETY: a C string, and buffers of the sizes that are given.
            unsafe {
                let mut found: libc::stat = std::mem::zeroed();
                let stat = told(libc::stat(at.as_ptr(), &mut found).into());
                let kind = found.st_mode & libc::S_IFMT;
                let lstat = told(libc::lstat(at.as_ptr(), &mut found).into());
                let (own_kind, mut buffer) = (found.st_mode & libc::S_IFMT, [0i8; 4096]);
                let real = libc::realpath(at.as_ptr(), buffer.as_mut_ptr());
                let real = if real.is_null() { told(-1) } else { CStr::from_ptr(real).to_str().unwrap().to_owned() };
                assert_ne!(libc::rmdir(at.as_ptr()), 0, "{path} was an empty directory");
                let _ = writeln!(text, "{path}: {stat} {kind:o} {lstat} {own_kind:o} {real} {}", told(-1));
            }
        }
        text
    }
    let root = fixture("random");
    fs::write(root.join("empty/file"), "").unwrap();
    fs::write(root.join("full/inner/file"), "").unwrap();
    compare(both(&root, run), &[]);
}
