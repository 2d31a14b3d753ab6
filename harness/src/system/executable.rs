//! Where the executable lies in this process, so that an address of another process of the same binary can be named.

use std::ffi::{CStr, c_int, c_void};
use std::path::PathBuf;

/// Marks an offset from the executable's load base, as `windtunnel_sim` does in stacks.
const OFFSET: u64 = 1 << 63;

/// The address range of the running executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Executable {
    base: u64,
    end: u64,
}

impl Executable {
    /// Finds the range of the running executable.
    pub(crate) fn of_this_process() -> Self {
        let mut executable = Self { base: 0, end: 0 };
        each_object(|object| {
            // The executable comes first (dl_iterate_phdr(3)).
            if executable.end == 0 {
                executable.base = object.dlpi_addr;
                // SAFETY: the loader gives a table of this length, which lives as long as the object.
                let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
                let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
                let span = loaded.map(|header| header.p_vaddr + header.p_memsz).max().unwrap_or(0);
                executable.end = executable.base + span;
            }
        });
        executable
    }

    /// An address as it travels between processes: an offset when it lies in the executable.
    pub(crate) fn to_offset(self, address: u64) -> u64 {
        if (self.base..self.end).contains(&address) { (address - self.base) | OFFSET } else { address }
    }

    /// The address in this process of what was an offset in another; nothing for addresses outside the executable.
    pub(crate) fn to_address(self, frame: u64) -> Option<u64> {
        (frame & OFFSET != 0).then(|| (frame & !OFFSET) + self.base)
    }
}

/// The files of the libraries that this process has loaded.
pub(crate) fn loaded_libraries() -> Vec<PathBuf> {
    let mut libraries = Vec::new();
    each_object(|object| {
        // SAFETY: the loader gives a text that lives as long as the object.
        let name = unsafe { CStr::from_ptr(object.dlpi_name) };
        if !name.is_empty() {
            libraries.push(PathBuf::from(name.to_string_lossy().into_owned()));
        }
    });
    libraries
}

fn each_object<F: FnMut(&libc::dl_phdr_info)>(mut f: F) {
    unsafe extern "C" fn call<F: FnMut(&libc::dl_phdr_info)>(
        object: *mut libc::dl_phdr_info,
        _bytes: usize,
        f: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader passes a valid description, and the pointer that was given to it below.
        unsafe { (*f.cast::<F>())(&*object) };
        0
    }
    // SAFETY: `call::<F>` gets the `F` it expects, which lives until this returns.
    unsafe { libc::dl_iterate_phdr(Some(call::<F>), (&raw mut f).cast()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_executable_travels_as_an_offset() {
        let executable = Executable::of_this_process();
        let address = loaded_libraries as *const () as u64;
        let offset = executable.to_offset(address);
        assert_ne!(offset, address);
        assert_eq!(executable.to_address(offset), Some(address));
        assert_eq!(executable.to_offset(4), 4);
        assert_eq!(executable.to_address(4), None);
    }

    #[test]
    fn libc_is_among_the_libraries() {
        assert!(loaded_libraries().iter().any(|library| library.to_string_lossy().contains("libc.so")));
    }
}
