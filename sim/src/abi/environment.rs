//! The environment that a program changes: setenv(3), putenv(3), unsetenv(3), clearenv(3).
//!
//! libc's own versions keep the array that they made last in a static, and grow that one whoever calls: a second host
//! would get the first one's. Here every change makes a fresh array, of libc's memory, and old ones stay: readers may
//! still have them, as POSIX lets them.

use super::{answer_int, hooks};
use crate::carrier::environment::variable;
use libc::{c_char, c_int};
use std::ffi::CStr;
use std::ptr;

unsafe extern "C" {
    fn __libc_malloc(bytes: usize) -> *mut std::ffi::c_void;
}

/// Memory that nobody gives back. Null when there is none.
unsafe fn kept<T>(count: usize) -> *mut T {
    // SAFETY: any size may be asked for.
    unsafe { __libc_malloc(count * size_of::<T>()).cast() }
}

/// The program's variables, one after the other.
unsafe fn entries() -> impl Iterator<Item = *mut c_char> {
    // SAFETY: `environ` is null or an array that ends with a null (environ(7)).
    unsafe {
        let array = *variable();
        let length = if array.is_null() { 0 } else { (0..).take_while(|at| !(*array.add(*at)).is_null()).count() };
        (0..length).map(move |at| *array.add(at))
    }
}

/// Whether an entry is of this name.
unsafe fn is_of(entry: *const c_char, name: &[u8]) -> bool {
    // SAFETY: entries are C strings.
    let entry = unsafe { CStr::from_ptr(entry) }.to_bytes();
    entry.len() > name.len() && entry[name.len()] == b'=' && entry.starts_with(name)
}

/// Makes an environment without this name's variables and with the entry, if there is one.
unsafe fn replace(name: &[u8], entry: Option<*mut c_char>) -> i64 {
    // SAFETY: the array has room for every entry, one more and the null.
    unsafe {
        let array = kept::<*mut c_char>(entries().count() + 2);
        if array.is_null() {
            return -i64::from(libc::ENOMEM);
        }
        let mut length = 0;
        let mut put = |entry: *mut c_char| {
            *array.add(length) = entry;
            length += 1;
        };
        // In its place, as libc does.
        let mut entry = entry;
        for old in entries() {
            let stays = if is_of(old, name) { entry.take() } else { Some(old) };
            stays.into_iter().for_each(&mut put);
        }
        entry.into_iter().for_each(&mut put);
        *array.add(length) = ptr::null_mut();
        *variable() = array;
    }
    0
}

/// A name is not empty and has no `=` (setenv(3), "EINVAL").
unsafe fn name_of<'n>(name: *const c_char) -> Option<&'n [u8]> {
    // SAFETY: null or a C string.
    let name = unsafe { (!name.is_null()).then(|| CStr::from_ptr(name).to_bytes()) }?;
    (!name.is_empty() && !name.contains(&b'=')).then_some(name)
}

hooks! {
    environment;

    fn setenv(name: *const c_char, value: *const c_char, overwrite: c_int) -> c_int {
        let Some(name) = name_of(name) else { return answer_int(-i64::from(libc::EINVAL)) };
        if overwrite == 0 && entries().any(|entry| is_of(entry, name)) {
            return 0;
        }
        let value = CStr::from_ptr(value).to_bytes();
        let entry = kept::<u8>(name.len() + value.len() + 2);
        if entry.is_null() {
            return answer_int(-i64::from(libc::ENOMEM));
        }
        ptr::copy_nonoverlapping(name.as_ptr(), entry, name.len());
        *entry.add(name.len()) = b'=';
        ptr::copy_nonoverlapping(value.as_ptr(), entry.add(name.len() + 1), value.len());
        *entry.add(name.len() + 1 + value.len()) = 0;
        answer_int(replace(name, Some(entry.cast())))
    }

    /// The string itself becomes part of the environment. Without `=` it names what is to go, which is glibc's own.
    fn putenv(string: *mut c_char) -> c_int {
        let bytes = CStr::from_ptr(string).to_bytes();
        match bytes.iter().position(|byte| *byte == b'=') {
            Some(end) => answer_int(replace(&bytes[..end], Some(string))),
            None => answer_int(replace(bytes, None)),
        }
    }

    fn unsetenv(name: *const c_char) -> c_int {
        match name_of(name) {
            Some(name) if entries().any(|entry| is_of(entry, name)) => answer_int(replace(name, None)),
            Some(_) => 0,
            None => answer_int(-i64::from(libc::EINVAL)),
        }
    }

    fn clearenv() -> c_int {
        *variable() = ptr::null_mut();
        0
    }
}
