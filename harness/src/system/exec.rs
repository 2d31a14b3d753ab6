//! Executing this binary again, at the same addresses on every machine.

use super::processes::{reap, signal};
use std::ffi::{CString, NulError, OsString, c_char, c_int};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// The usual `RLIMIT_STACK`. The kernel places all mappings below the largest stack, so it is part of the layout.
const STACK_BYTES: libc::rlim_t = 8 << 20;
/// Descriptors wait from here on until they get their fixed numbers.
const PARKING_FD: RawFd = 64;
/// How many descriptors can be given numbers.
const FDS_MAX: usize = 8;

const LAYOUT: usize = 0;
const EXECUTION: usize = 1;

/// What `execveat` gets.
#[derive(Debug)]
pub(crate) struct Arguments {
    argv: Vec<CString>,
    envp: Vec<CString>,
}

impl Arguments {
    /// # Errors
    /// A text contains a zero byte.
    pub(crate) fn new(argv: Vec<OsString>, envp: Vec<OsString>) -> Result<Self, NulError> {
        let texts = |texts: Vec<OsString>| -> Result<Vec<CString>, NulError> {
            texts.into_iter().map(|text| CString::new(text.into_vec())).collect()
        };
        Ok(Self { argv: texts(argv)?, envp: texts(envp)? })
    }
}

/// Everything that is needed between `fork` and `exec`, where nothing may be allocated.
pub(crate) struct ExecPlan<'a> {
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    executable: File,
    /// Which of the new process's numbers is the executable's.
    executable_fd: RawFd,
    /// Descriptor here, descriptor there.
    fds: Vec<(RawFd, RawFd)>,
    /// Where the kernel's refusals go: of the layout, of the execution.
    refusals: [&'a AtomicU64; 2],
    // What the pointers above point to.
    _arguments: Arguments,
}

/// A process that executes this binary. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Executed {
    pid: libc::pid_t,
}

impl Drop for Executed {
    fn drop(&mut self) {
        signal(self.pid, libc::SIGKILL);
        reap(self.pid);
    }
}

impl<'a> ExecPlan<'a> {
    /// `fds` says which descriptor gets which number; `executable_fd` is the number after the last of these.
    pub(crate) fn new(
        arguments: Arguments,
        fds: Vec<(RawFd, RawFd)>,
        executable_fd: RawFd,
        refusals: [&'a AtomicU64; 2],
    ) -> io::Result<Self> {
        assert!(fds.len() <= FDS_MAX, "more descriptors than there is room for between fork and exec");
        let executable = File::options().read(true).custom_flags(libc::O_PATH).open("/proc/self/exe")?;
        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        Ok(Self {
            argv: pointers(&arguments.argv),
            envp: pointers(&arguments.envp),
            executable,
            executable_fd,
            fds,
            refusals,
            _arguments: arguments,
        })
    }

    /// Executes the binary in a new process, which dies with the calling thread.
    ///
    /// # Errors
    /// There is no new process. That it could not execute is told by the refusal's word only.
    pub(crate) fn spawn(&self) -> io::Result<Executed> {
        // SAFETY: no pointers.
        let parent = unsafe { libc::getpid() };
        // SAFETY: the child only makes calls that are allowed after a fork of a process with threads.
        match unsafe { libc::fork() } {
            0 => {
                die_with(parent);
                self.execute();
                // SAFETY: ends the child.
                unsafe { libc::_exit(127) }
            }
            pid if pid > 0 => Ok(Executed { pid }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn refused(&self, word: usize, errno: c_int) {
        self.refusals[word].store(u64::from(errno.unsigned_abs()), Ordering::Release);
    }

    /// Executes the binary in this process's place. Returns only when that failed; makes only calls that are allowed
    /// between `fork` and `exec` of a process with threads (signal-safety(7)), and does not allocate.
    pub(crate) fn execute(&self) {
        default_signals();
        limit();
        self.fix_layout();
        if let Err(errno) = self.place_descriptors() {
            self.refused(EXECUTION, errno);
            return;
        }
        // SAFETY: null-terminated arrays of texts that live in `self`. The empty path with AT_EMPTY_PATH means the
        // descriptor itself, so that the binary's path is nowhere on the stack: AT_EXECFN is `/dev/fd/…`.
        unsafe {
            let path = c"".as_ptr();
            libc::syscall(
                libc::SYS_execveat,
                self.executable_fd,
                path,
                self.argv.as_ptr(),
                self.envp.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        self.refused(EXECUTION, errno());
    }

    fn fix_layout(&self) {
        // SAFETY: no pointers.
        if unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) } < 0 {
            self.refused(LAYOUT, errno());
        }
    }

    /// Gives every descriptor its number, and closes all others.
    fn place_descriptors(&self) -> Result<(), c_int> {
        // First out of the way of all numbers, then each to its own.
        let mut parked = [0; FDS_MAX];
        for (place, (fd, _)) in parked.iter_mut().zip(&self.fds) {
            *place = park(*fd)?;
        }
        let executable = park(self.executable.as_raw_fd())?;
        for (place, (_, fixed)) in parked.iter().zip(&self.fds) {
            duplicate(*place, *fixed, 0)?;
        }
        duplicate(executable, self.executable_fd, libc::O_CLOEXEC)?;
        // SAFETY: closes descriptors that nobody uses in this process any more.
        unsafe { libc::syscall(libc::SYS_close_range, self.executable_fd + 1, c_int::MAX, 0) };
        Ok(())
    }
}

/// The descriptor a second time, at the lowest free number that is out of the way.
fn park(fd: RawFd) -> Result<RawFd, c_int> {
    // SAFETY: no pointers.
    let parked = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, PARKING_FD) };
    if parked < 0 { Err(errno()) } else { Ok(parked) }
}

fn die_with(parent: libc::pid_t) {
    // SAFETY: no pointers.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(1); // it died before the line above
        }
    }
}

fn limit() {
    let mut stack = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // A case that segfaults on purpose should not leave a core file.
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `stack` and `none` are valid; setting the soft limit anywhere up to the hard one is always allowed.
    unsafe {
        libc::getrlimit(libc::RLIMIT_STACK, &raw mut stack);
        stack.rlim_cur = STACK_BYTES.min(stack.rlim_max);
        libc::setrlimit(libc::RLIMIT_STACK, &raw const stack);
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
    }
}

fn duplicate(from: RawFd, to: RawFd, flags: c_int) -> Result<(), c_int> {
    // SAFETY: no pointers; whatever `to` was is not used any more.
    if unsafe { libc::dup3(from, to, flags) } < 0 { Err(errno()) } else { Ok(()) }
}

/// Handlers vanish with `exec`, but ignored signals and masks are inherited.
fn default_signals() {
    // SAFETY: SIG_DFL is no function of ours; an empty set is valid.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
