//! The worker's arguments and environment: fixed, because their size shifts the stack and with it every address.

use crate::system::{Arguments, loaded_libraries};
use crate::worker::Role;
use std::ffi::{NulError, OsStr, OsString};
use std::path::{Path, PathBuf};

/// `argv[0]`, whatever the binary is called.
const PROGRAM: &str = "windtunnel-worker";

/// libtest calls exactly this test, on its main thread (`pthread_create` answers `EAGAIN` in a worker of the simulated
/// world).
pub(super) fn arguments(test: &str, role: Role) -> Result<Arguments, NulError> {
    let argv = [PROGRAM, "--exact", test, "--nocapture", "--test-threads=1", "--include-ignored"];
    let library_path = std::env::var_os("LD_LIBRARY_PATH").and_then(|path| needed(&path, &loaded_libraries()));
    Arguments::new(argv.map(OsString::from).to_vec(), variables(role, library_path))
}

fn variables(role: Role, library_path: Option<OsString>) -> Vec<OsString> {
    let role = match role {
        Role::Real => format!("{}=1", Role::REAL_ENV),
        Role::Debugged => format!("{}={}", windtunnel_sim::worker::ENV, Role::DEBUGGED),
        Role::Worker | Role::Supervisor => format!("{}={}", windtunnel_sim::worker::ENV, Role::WORKER),
    };
    let mut variables = vec![
        OsString::from(role),
        // rseq registers each thread's TLS with the kernel thread that is to end; more than one malloc arena would make
        // addresses depend on which thread allocated first. (glibc manual, "Tunables")
        OsString::from("GLIBC_TUNABLES=glibc.pthread.rseq=0:glibc.malloc.arena_max=1"),
        // Hides RDRAND from aws-lc and OpenSSL (bit 62 of the first capability word), which would bypass getrandom.
        OsString::from("OPENSSL_ia32cap=~0x4000000000000000"),
    ];
    if let Some(path) = library_path {
        let mut variable = OsString::from("LD_LIBRARY_PATH=");
        variable.push(path);
        variables.push(variable);
    }
    variables
}

/// Of `LD_LIBRARY_PATH`, the directories that a library of this process came from. Cargo sets it to directories of the
/// checkout, which hardly any test needs; passing them on would make the layout depend on the checkout's path.
fn needed(library_path: &OsStr, libraries: &[PathBuf]) -> Option<OsString> {
    let used = |directory: &PathBuf| libraries.iter().any(|library| library.parent() == Some(directory.as_path()));
    let directories: Vec<PathBuf> =
        std::env::split_paths(library_path).filter(|path| !is_empty(path) && used(path)).collect();
    if directories.is_empty() { None } else { std::env::join_paths(directories).ok() }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_that_gave_a_library_are_passed_on() {
        let libraries = [PathBuf::from("/lib/libc.so.6"), PathBuf::from("/w/target/debug/deps/libfoo.so")];
        let needed = |path: &str| needed(OsStr::new(path), &libraries);
        assert_eq!(needed("/w/target/debug:/w/target/debug/deps::/rust/lib"), Some("/w/target/debug/deps".into()));
        assert_eq!(needed("/w/target/debug:/rust/lib"), None);
        assert_eq!(needed(""), None);
    }

    #[test]
    fn both_roles_have_an_environment_of_the_same_size() {
        let bytes = |role| variables(role, None).iter().map(|variable| variable.len()).sum::<usize>();
        assert_eq!(bytes(Role::Worker), bytes(Role::Debugged));
    }
}
