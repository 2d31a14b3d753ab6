//! The two sides of a comparison: the real kernel, and a world.

use crate::common::{config, world_with};
use crate::transcript::{Shared, Transcript};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::Duration;
use windtunnel_sim::world::Config;

/// A script. It may keep the transcript, in threads it starts.
pub type Script<'a> = &'a dyn Fn(&'static Transcript);

/// How long a script may take on the real kernel.
const REAL_LIMIT_MS: i32 = 30_000;
/// A world's loopback takes microseconds, and waiting there is free.
const WORLD_SETTLE_US: u32 = 20_000;

/// What a side made of a script.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    pub lines: Vec<String>,
    /// Console output, stacks of a stuck world: for people only.
    pub aside: String,
}

/// What the weather of a world is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Calm,
    Storm(u64),
}

fn run_script(script: Script<'_>, t: &'static Transcript) {
    let result = catch_unwind(AssertUnwindSafe(|| script(t)));
    t.about("");
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        t.say(format_args!("PANICKED: {}", text.unwrap_or_default().replace('\n', " ")));
    }
}

/// Runs a script in a world.
pub fn in_a_world(weather: Weather, script: Script<'_>) -> Record {
    let (seed, calm) = match weather {
        Weather::Calm => (0, true),
        Weather::Storm(seed) => (seed, false),
    };
    let shared = Shared::new();
    // SAFETY: `world_with` runs its closure in a forked child only and returns when that has ended, so the borrow
    // outlives every use.
    let (script, inner) = unsafe {
        (
            std::mem::transmute::<Script<'_>, Script<'static>>(script),
            std::mem::transmute::<&Shared, &'static Shared>(&shared),
        )
    };
    let config = Config { calm, virtual_timeout: Duration::from_secs(3600), ..config(seed) };
    let run = world_with(config, move || run_script(script, Transcript::leak(inner, WORLD_SETTLE_US)));
    let mut lines = shared.lines();
    if !run.outcome.is_empty() {
        lines.push(format!("ENDED: {}", run.outcome));
    }
    Record { lines, aside: format!("{}{}{}", run.output, run.notes, run.stacks.join("\n")) }
}

/// Runs a script on the real kernel, in a child process and where possible in namespaces of its own.
pub fn on_the_real_kernel(settle_us: u32, script: Script<'_>) -> Record {
    let shared = Shared::new();
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    // SAFETY: libc's fork; the child leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        isolation::enter(ends[1]);
        run_script(script, Transcript::leak(&shared, settle_us));
        // SAFETY: no pointer.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: ours.
    unsafe { libc::close(ends[1]) };
    let (aside, in_time) = drain(ends[0]);
    let mut status = 0;
    // SAFETY: our own descriptor and child.
    unsafe {
        libc::close(ends[0]);
        if !in_time {
            libc::kill(pid, libc::SIGKILL);
        }
        libc::waitpid(pid, &mut status, 0);
    }
    let mut lines = shared.lines();
    if status != 0 {
        let why = if in_time { format!("wait status {status:#x}") } else { "not in time".to_owned() };
        lines.push(format!("ENDED: {why}"));
    }
    Record { lines, aside }
}

/// Whether scripts run on the real kernel in a user namespace in which there is one user: whoever has no privilege can
/// have no other.
pub fn knows_one_user() -> bool {
    static KNOWS: OnceLock<bool> = OnceLock::new();
    *KNOWS.get_or_init(|| {
        // SAFETY: libc's fork; the child leaves by `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above.
            unsafe { libc::_exit(i32::from(libc::unshare(isolation::KINDS) != 0)) };
        }
        let mut status = 0;
        // SAFETY: our own child.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        status != 0
    })
}

/// Reads what a child writes to its console until it ends; false when it takes too long.
fn drain(reader: i32) -> (String, bool) {
    let mut text = Vec::new();
    let mut block = [0u8; 4096];
    loop {
        let mut entry = libc::pollfd { fd: reader, events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, and a buffer of that size.
        let count = unsafe {
            if libc::poll(&mut entry, 1, REAL_LIMIT_MS) == 0 {
                return (String::from_utf8_lossy(&text).into_owned(), false);
            }
            libc::read(reader, block.as_mut_ptr().cast(), block.len())
        };
        if count <= 0 {
            return (String::from_utf8_lossy(&text).into_owned(), true);
        }
        text.extend_from_slice(&block[..count as usize]);
    }
}

/// Making a process that looks like a host's: descriptors 0 to 2 only, an unprivileged user, a loopback and a `/tmp` of
/// its own. Nothing of it outlives the process.
mod isolation {
    use libc::{c_int, c_ulong, c_void};
    use std::ptr::null;

    /// The user that programs of a world run as.
    const USER: u32 = 1000;

    /// Namespaces of its own.
    pub const KINDS: c_int = libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWIPC;

    /// Above the numbers that scripts use.
    const LOCK: c_int = 1000;

    /// Enters, as far as the machine allows. What cannot have namespaces of its own takes turns.
    pub fn enter(console: c_int) {
        // SAFETY: a fresh process with one thread; the paths are C strings.
        unsafe {
            let alone = namespaces();
            let null_device = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY);
            libc::dup2(null_device, 0);
            libc::dup2(console, 1);
            libc::dup2(console, 2);
            if !alone {
                let executable = libc::open(c"/proc/self/exe".as_ptr(), libc::O_RDONLY);
                libc::dup2(executable, LOCK);
                libc::flock(LOCK, libc::LOCK_EX);
            }
            libc::syscall(libc::SYS_close_range, 3, LOCK - 1, 0);
            libc::syscall(libc::SYS_close_range, LOCK + 1, c_int::MAX, 0);
            // After the change of user, which clears it (prctl(2)).
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong);
        }
    }

    /// True when network, mounts and user are the process's own.
    unsafe fn namespaces() -> bool {
        // SAFETY: as the caller promises.
        unsafe {
            let (user, group) = (libc::geteuid(), libc::getegid());
            let by_root = libc::unshare(KINDS) == 0;
            let alone = by_root || libc::unshare(KINDS | libc::CLONE_NEWUSER) == 0;
            if alone && !by_root {
                put(c"/proc/self/setgroups", "deny");
                put(c"/proc/self/uid_map", &format!("{USER} {user} 1"));
                put(c"/proc/self/gid_map", &format!("{USER} {group} 1"));
            }
            if alone {
                loopback_up();
                if libc::mount(null(), c"/".as_ptr(), null(), libc::MS_REC | libc::MS_PRIVATE, null()) == 0 {
                    libc::mount(c"tmpfs".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, null());
                }
            }
            if alone && !by_root {
                drop_capabilities();
            } else if user == 0 {
                libc::setgroups(0, null());
                libc::setresgid(USER, USER, USER);
                libc::setresuid(USER, USER, USER);
            }
            alone
        }
    }

    unsafe fn put(path: &std::ffi::CStr, text: &str) {
        // SAFETY: a C string and a buffer of that size.
        unsafe {
            let fd = libc::open(path.as_ptr(), libc::O_WRONLY);
            libc::write(fd, text.as_ptr().cast(), text.len());
            libc::close(fd);
        }
    }

    /// netdevice(7): sets `IFF_UP` on `lo`.
    unsafe fn loopback_up() {
        // SAFETY: a zeroed request with a name that fits.
        unsafe {
            let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
            let mut request: libc::ifreq = std::mem::zeroed();
            request.ifr_name[0] = b'l' as i8;
            request.ifr_name[1] = b'o' as i8;
            request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
            libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw mut request);
            libc::close(socket);
        }
    }

    /// capset(2), version 3: none at all.
    unsafe fn drop_capabilities() {
        let header = [0x2008_0522u32, 0];
        let none = [0u32; 6];
        // SAFETY: of the sizes that version 3 asks for.
        unsafe {
            libc::syscall(libc::SYS_capset, header.as_ptr().cast::<c_void>(), none.as_ptr().cast::<c_void>());
        }
    }
}
