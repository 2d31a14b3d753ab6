//! Each process's `environ` and `argv`, and the one `environ` that libc looks at.
//!
//! libc reads and writes `environ` itself (`getenv`, `setenv`), as does std, so the variable is swapped when the
//! carrier goes over to another process: one store, and all that reads is right without a hook.

use super::real;
use libc::{c_char, c_int};
use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A process's environment and arguments, in C's shape. Leaked: programs keep pointers into both.
pub(crate) struct Environment {
    environ: *mut *mut c_char,
    argv: *mut *mut c_char,
    argc: c_int,
}

/// Cuts at a NUL, which no environment or argument can hold.
fn c_string(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or("")).unwrap_or_default()
}

fn array(strings: impl Iterator<Item = CString>) -> *mut *mut c_char {
    let mut pointers: Vec<*mut c_char> = strings.map(CString::into_raw).collect();
    pointers.push(ptr::null_mut());
    pointers.leak().as_mut_ptr()
}

/// The address of libc's variable.
pub(crate) fn variable() -> *mut *mut *mut c_char {
    static CACHE: AtomicPtr<libc::c_void> = AtomicPtr::new(ptr::null_mut());
    let mut found = CACHE.load(Ordering::Relaxed);
    if found.is_null() {
        // SAFETY: looks a name up.
        found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"environ".as_ptr()) };
        if found.is_null() {
            real::die("this libc has no environ");
        }
        CACHE.store(found, Ordering::Relaxed);
    }
    found.cast()
}

impl Environment {
    /// Builds both arrays.
    pub(crate) fn new(args: &[String], env: &[(String, String)]) -> Environment {
        Environment {
            environ: array(env.iter().map(|(key, value)| c_string(&format!("{key}={value}")))),
            argv: array(args.iter().map(|arg| c_string(arg))),
            argc: args.len() as c_int,
        }
    }

    /// Makes libc see this environment.
    pub(crate) fn enter(&mut self) {
        // SAFETY: the carrier is the only kernel thread.
        unsafe { *variable() = self.environ };
    }

    /// Remembers what the process made of its environment.
    pub(crate) fn leave(&mut self) {
        // SAFETY: as above.
        self.environ = unsafe { *variable() };
    }

    /// `argc`, `argv`, `envp` for constructors.
    pub(crate) fn arguments(&self) -> (c_int, *mut *mut c_char, *mut *mut c_char) {
        (self.argc, self.argv, self.environ)
    }

    /// The variables as text.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let mut at = self.environ;
        // SAFETY: a NULL-terminated array of C strings.
        unsafe {
            while !at.is_null() && !(*at).is_null() {
                let text = CStr::from_ptr(*at).to_string_lossy().into_owned();
                if let Some((key, value)) = text.split_once('=') {
                    pairs.push((key.to_owned(), value.to_owned()));
                }
                at = at.add(1);
            }
        }
        pairs
    }
}
