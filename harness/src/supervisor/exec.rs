//! Becoming a worker: the same binary again, at the same addresses on every machine.

use super::Context;
use super::environment::Arguments;
use super::process::WorkerError;
use crate::blackbox::{BlackBox, Orders, Progress, Refusal};
use crate::cases::Case;
use crate::worker::Role;
use crate::worker::protocol::{ANSWERS_FD, BLACKBOX_FD, EXECUTABLE_FD, ORDERS_FD};
use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The usual `RLIMIT_STACK`. The kernel places all mappings below the largest stack, so it is part of the layout.
const STACK_BYTES: libc::rlim_t = 8 << 20;
/// Descriptors wait here until they get their fixed numbers.
const PARKING_FD: RawFd = 200;

/// Everything that is needed between `fork` and `exec`, where nothing may be allocated.
pub(super) struct Plan<'a> {
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    executable: OwnedFd,
    /// Descriptor here, descriptor there.
    fds: Vec<(RawFd, RawFd)>,
    /// Descriptors up to this stay open.
    last_fd: RawFd,
    /// Die with this process.
    parent: Option<libc::pid_t>,
    progress: &'a Progress,
    // What the pointers above point to.
    _arguments: Arguments,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        arguments: Arguments,
        fds: Vec<(RawFd, RawFd)>,
        parent: Option<libc::pid_t>,
        progress: &'a Progress,
    ) -> io::Result<Self> {
        // SAFETY: opens a file; nobody else owns the descriptor.
        let executable = unsafe {
            let fd = libc::open(c"/proc/self/exe".as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let pointers = |texts: &[CString]| {
            texts
                .iter()
                .map(|text| text.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        };
        Ok(Self {
            argv: pointers(&arguments.argv),
            envp: pointers(&arguments.envp),
            executable,
            fds,
            last_fd: EXECUTABLE_FD,
            parent,
            progress,
            _arguments: arguments,
        })
    }

    /// Executes the binary. Returns only when that failed; makes only calls that are allowed between `fork` and `exec`
    /// of a process with threads (signal-safety(7)), and does not allocate.
    pub(super) fn execute(&self) {
        self.die_with_parent();
        default_signals();
        self.limit();
        self.fix_layout();
        if let Err(errno) = self.place_descriptors() {
            self.progress.refused(Refusal::Execution, errno);
            return;
        }
        // SAFETY: null-terminated arrays of texts that live in `self`. The empty path with AT_EMPTY_PATH means the
        // descriptor itself, so that the binary's path is nowhere on the stack: AT_EXECFN is `/dev/fd/6`.
        unsafe {
            let path = c"".as_ptr();
            libc::syscall(
                libc::SYS_execveat,
                EXECUTABLE_FD,
                path,
                self.argv.as_ptr(),
                self.envp.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        self.progress.refused(Refusal::Execution, errno());
    }

    fn die_with_parent(&self) {
        let Some(parent) = self.parent else { return };
        // SAFETY: no pointers.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid() != parent {
                libc::_exit(1); // it died before the line above
            }
        }
    }

    fn limit(&self) {
        let mut stack = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `stack` and `none` are valid; raising the soft limit up to the hard one is always allowed.
        unsafe {
            libc::getrlimit(libc::RLIMIT_STACK, &raw mut stack);
            stack.rlim_cur = STACK_BYTES.min(stack.rlim_max);
            libc::setrlimit(libc::RLIMIT_STACK, &raw const stack);
            // A case that segfaults on purpose should not leave a core file.
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        }
    }

    fn fix_layout(&self) {
        // SAFETY: no pointers.
        if unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) } < 0 {
            self.progress.refused(Refusal::Layout, errno());
        }
    }

    /// Gives every descriptor its number, and closes all others.
    fn place_descriptors(&self) -> Result<(), c_int> {
        let executable = (self.executable.as_raw_fd(), EXECUTABLE_FD);
        // First out of the way of all numbers, then each to its own.
        for (place, (fd, _)) in (PARKING_FD..).zip(self.fds.iter().chain([&executable])) {
            duplicate(*fd, place, 0)?;
        }
        for (place, (_, fixed)) in (PARKING_FD..).zip(&self.fds) {
            duplicate(place, *fixed, 0)?;
        }
        let parked = PARKING_FD + self.fds.len() as RawFd;
        duplicate(parked, EXECUTABLE_FD, libc::O_CLOEXEC)?;
        // SAFETY: closes descriptors that nobody uses in this process any more.
        unsafe { libc::syscall(libc::SYS_close_range, self.last_fd + 1, c_int::MAX, 0) };
        Ok(())
    }
}

fn duplicate(from: RawFd, to: RawFd, flags: c_int) -> Result<(), c_int> {
    // SAFETY: no pointers; whatever `to` was is not used any more.
    if unsafe { libc::dup3(from, to, flags) } < 0 {
        Err(errno())
    } else {
        Ok(())
    }
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

/// Executes the binary in this process's place, to run one case under a debugger. Returns only when that failed.
pub(super) fn become_debugged(context: &Context<'_>, case: Case) -> WorkerError {
    let failed = |what: &'static str| move |source: io::Error| WorkerError::Io { what, source };
    let (blackbox, fd) = match BlackBox::create() {
        Ok(created) => created,
        Err(error) => return failed("make the flight recorder")(error),
    };
    blackbox.prepare(&Orders {
        in_debugger: true,
        ..context.orders(case)
    });
    let arguments = match Arguments::new(context.definition.name(), Role::Debugged) {
        Ok(arguments) => arguments,
        Err(error) => return failed("name the test")(error.into()),
    };
    let unused = fd.as_raw_fd();
    // The pipes' numbers are taken, so that descriptors opened later have the numbers that they have in a worker.
    let fds = vec![
        (0, 0),
        (1, 1),
        (2, 2),
        (fd.as_raw_fd(), BLACKBOX_FD),
        (unused, ORDERS_FD),
        (unused, ANSWERS_FD),
    ];
    match Plan::new(arguments, fds, None, blackbox.progress()) {
        Ok(plan) => plan.execute(),
        Err(error) => return failed("open the test binary")(error),
    }
    let errno = blackbox.progress().refusal(Refusal::Execution).unwrap_or(0);
    WorkerError::NotExecuted {
        source: io::Error::from_raw_os_error(errno),
    }
}
