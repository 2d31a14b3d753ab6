//! Processes that are hosts of a real world: this binary, executed afresh, whose `main` is the host's program.
//!
//! The first function that is called in a process, libc's `__libc_start_main`, is ours: it puts itself between libc,
//! which runs constructors and then `main`, and the `main` of the test harness. So a host's program finds a process as
//! its own `main` would: with its own arguments, environment and statics, on the main thread.

use super::unnamed_file;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicPtr, Ordering};
use windtunnel_sim::world::Program;

/// Set, to anything, in a process that is to be a host.
const START_VARIABLE: &CStr = c"CHAOS_HOST";
/// Where a host finds its program.
const PROGRAM_FD: RawFd = 3;
/// Where a host finds what its clocks show.
const CLOCKS_FD: RawFd = 4;
/// Where it finds what its calls go by.
const CALLS_FD: RawFd = 5;

/// A host's program, as it travels to its process: its functions by where they lie in the executable.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HostProgram {
    entry: usize,
    /// An address of the executable, as all functions are.
    user: usize,
    payload: Vec<u8>,
}

unsafe extern "C" {
    /// The executable's first byte, by the linker: not its value but its address is of interest (ld(1)).
    static __ehdr_start: u8;
}

/// Where the executable lies in this process.
fn base() -> usize {
    (&raw const __ehdr_start).addr()
}

impl HostProgram {
    /// What a process has to have in its environment to be a host.
    pub(crate) fn variable() -> (String, String) {
        (START_VARIABLE.to_string_lossy().into_owned(), "1".to_owned())
    }

    pub(crate) fn of(program: &Program) -> Self {
        Self {
            entry: (program.entry as usize).wrapping_sub(base()),
            user: program.user.wrapping_sub(base()),
            payload: program.payload.clone(),
        }
    }

    /// A file without a name that holds it.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn to_file(&self) -> io::Result<File> {
        let mut file = unnamed_file(c"windtunnel-host")?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.rewind()?;
        Ok(file)
    }

    /// Takes the file that this process was started with.
    fn of_this_process() -> io::Result<Self> {
        // SAFETY: whoever set the variable has put the file there, and nobody else uses it.
        let mut file = unsafe { File::from_raw_fd(PROGRAM_FD) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Runs it; the exit code.
    fn run(&self) -> i32 {
        // SAFETY: both lie where they lay in the process that named them, for it is the same executable; what `entry`
        // takes has been put together there with its type.
        unsafe {
            let entry: unsafe fn(usize, &[u8]) -> i32 = std::mem::transmute(base().wrapping_add(self.entry));
            entry(base().wrapping_add(self.user), &self.payload)
        }
    }
}

/// Has this process's clocks show what the world says, and its calls fail as it says; the program, which is read before
/// calls can fail. The error is for the host's output.
fn prepare() -> Result<HostProgram, String> {
    // SAFETY: whoever set the variable has put the pages there, and nobody else uses the descriptors.
    let [clocks, calls] = [CLOCKS_FD, CALLS_FD].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    windtunnel_sim::real_clock::install(clocks.as_fd())
        .map_err(|error| format!("failed to set the clocks of this host: {error}"))?;
    let program =
        HostProgram::of_this_process().map_err(|error| format!("failed to read the program of this host: {error}"))?;
    windtunnel_sim::real_calls::install(calls.as_fd())
        .map_err(|error| format!("failed to have the calls of this host go by the world: {error}"))?;
    Ok(program)
}

type Main = unsafe extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) -> c_int;
type Start =
    unsafe extern "C" fn(Main, c_int, *mut *mut c_char, *mut c_void, *mut c_void, *mut c_void, *mut c_void) -> c_int;

/// The executable's own `main`.
static MAIN: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// What the executable's first instructions call: libc's function of this name, with another `main`.
///
/// # Safety
/// For libc's start code only.
#[unsafe(no_mangle)]
unsafe extern "C" fn __libc_start_main(
    main: Main,
    argc: c_int,
    argv: *mut *mut c_char,
    init: *mut c_void,
    fini: *mut c_void,
    loader: *mut c_void,
    stack: *mut c_void,
) -> c_int {
    MAIN.store(main as *mut c_void, Ordering::Relaxed);
    // SAFETY: libc is loaded and relocated before the executable's first instruction; its function has this type
    // (csu/libc-start.c).
    unsafe {
        let genuine = libc::dlsym(libc::RTLD_NEXT, c"__libc_start_main".as_ptr());
        if genuine.is_null() {
            libc::abort();
        }
        let genuine: Start = std::mem::transmute(genuine);
        genuine(main_or_host, argc, argv, init, fini, loader, stack)
    }
}

/// `main` of the process: a host's program if this is a host, and else the executable's own.
unsafe extern "C" fn main_or_host(argc: c_int, argv: *mut *mut c_char, envp: *mut *mut c_char) -> c_int {
    // SAFETY: nobody changes the environment yet: constructors have run, and this is the only thread. `main` was kept
    // with its type.
    unsafe {
        if libc::getenv(START_VARIABLE.as_ptr()).is_null() {
            let main: Main = std::mem::transmute(MAIN.load(Ordering::Relaxed));
            return main(argc, argv, envp);
        }
        libc::unsetenv(START_VARIABLE.as_ptr());
        // As Rust's own start does: writing to a closed pipe is an error, not the end.
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
    match prepare() {
        Ok(program) => program.run(),
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_of_calls_has_one_layout() {
        assert_eq!(windtunnel_sim::real_calls::LAYOUT, windtunnel_inject::boundary::LAYOUT);
    }
}
