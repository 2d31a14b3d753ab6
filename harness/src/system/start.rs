//! Processes that are hosts of a real world: this binary, executed afresh, whose `main` is the host's program.
//!
//! The first function that is called in a process, libc's `__libc_start_main`, is ours: it puts itself between libc,
//! which runs constructors and then `main`, and the `main` of the test harness. So a host's program finds a process as
//! its own `main` would: with its own arguments, environment and statics, on the main thread.

use super::unnamed_file;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicPtr, Ordering};
use windtunnel_sim::world::Program;

/// Set in a process that is to be a host: the number of the descriptor with its program.
pub(crate) const START_VARIABLE: &str = "CHAOS_HOST";
/// Where a host finds what its clocks show.
const CLOCKS_FD: RawFd = 4;
/// Where it finds what its calls go by.
const CALLS_FD: RawFd = 5;
const START_VARIABLE_C: &CStr = c"CHAOS_HOST";

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
    fn of_this_process(number: &CStr) -> io::Result<Self> {
        let number = number.to_str().ok().and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| io::Error::other("it names no descriptor"))?;
        // SAFETY: whoever set the variable has put the file there, and nobody else uses it.
        let mut file = unsafe { File::from_raw_fd(number) };
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

/// Has this process's clocks show what the world says.
fn install_clocks() -> io::Result<()> {
    // SAFETY: whoever set the variable has put the page there, and nobody else uses the descriptor.
    let page = unsafe { OwnedFd::from_raw_fd(CLOCKS_FD) };
    windtunnel_sim::real_clock::install(page.as_fd())
}

/// Has this process's calls fail as the world says, from now on: the program has been read.
fn install_calls() -> io::Result<()> {
    // SAFETY: as above.
    let page = unsafe { OwnedFd::from_raw_fd(CALLS_FD) };
    windtunnel_sim::real_calls::install(page.as_fd())
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
        let number = libc::getenv(START_VARIABLE_C.as_ptr());
        if number.is_null() {
            let main: Main = std::mem::transmute(MAIN.load(Ordering::Relaxed));
            return main(argc, argv, envp);
        }
        let number = CString::from(CStr::from_ptr(number));
        libc::unsetenv(START_VARIABLE_C.as_ptr());
        // As Rust's own start does: writing to a closed pipe is an error, not the end.
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        if let Err(error) = install_clocks() {
            eprintln!("failed to set the clocks of this host: {error}");
            return 1;
        }
        let program = HostProgram::of_this_process(&number);
        if let Err(error) = install_calls() {
            eprintln!("failed to have the calls of this host go by the world: {error}");
            return 1;
        }
        match program {
            Ok(program) => program.run(),
            Err(error) => {
                eprintln!("failed to read the program of this host: {error}");
                1
            }
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
