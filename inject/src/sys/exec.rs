//! Executing a program in this process's place.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// What is executed.
pub enum Executable<'a> {
    /// The file behind a descriptor, wherever it lies.
    File(BorrowedFd<'a>),
    /// The file of a path.
    Path(&'a CStr),
}

/// Executes a program in this process's place; returns only when that failed.
pub fn execute(executable: &Executable<'_>, argv: &[CString], envp: &[CString]) -> io::Error {
    let pointers = |texts: &[CString]| -> Vec<*const c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    let (directory, path, flags) = match executable {
        Executable::File(fd) => (fd.as_raw_fd(), c"", libc::AT_EMPTY_PATH),
        Executable::Path(path) => (libc::AT_FDCWD, *path, 0),
    };
    // SAFETY: null-terminated arrays of texts that live in this function's arguments.
    unsafe { libc::syscall(libc::SYS_execveat, directory, path.as_ptr(), argv.as_ptr(), envp.as_ptr(), flags) };
    io::Error::last_os_error()
}
