//! The program's own code, and where the test was started.

use super::Who;
use crate::carrier::outside;
use crate::kernel::Kernel;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where hosts see the checkout, wherever it is outside.
pub(super) const WORKSPACE: &str = "/workspace";
/// Where hosts see the executable.
pub(super) const PROGRAMS: &str = "/usr/local/bin/";
/// Where debuggers and backtraces look for separate symbols.
const SYMBOLS: &str = "/usr/lib/debug";

/// Facts about the real process, found out before any program runs.
pub(crate) struct Own {
    pub(super) executable: PathBuf,
    /// Executable and libraries.
    code: BTreeSet<PathBuf>,
    /// The real directory of the checkout.
    pub(super) workspace: PathBuf,
    /// Where programs start, as they see it.
    pub(super) start_directory: PathBuf,
}

impl Own {
    /// Looks around.
    pub(crate) fn find() -> Own {
        let executable = outside::executable();
        let code = mapped_code(&outside::mappings());
        let mut workspace = outside::working_directory();
        let depth = workspace.components().count();
        let found = (0..depth).find(|up| {
            let mut lock = outside::path_buffer();
            lock.extend(workspace.components().take(depth - up));
            lock.push("Cargo.lock");
            lock.exists()
        });
        // Where the test was started, seen from the checkout: the same in each.
        let mut start_directory = outside::path_buffer();
        start_directory.push(WORKSPACE);
        if let Some(up) = found {
            start_directory.extend(workspace.components().skip(depth - up));
            (0..up).for_each(|_| {
                workspace.pop();
            });
        }
        Own { executable, code, workspace, start_directory }
    }

    /// The path outside of what a host calls `path`.
    pub(super) fn real(&self, who: Who, k: &Kernel, path: &Path) -> PathBuf {
        let mut real = outside::path_buffer();
        if let Ok(inside) = path.strip_prefix(WORKSPACE) {
            real.push(&self.workspace);
            real.extend(inside.components());
        } else if path.as_os_str().as_bytes().starts_with(PROGRAMS.as_bytes()) && path == program(k, who) {
            real.push(&self.executable);
        } else {
            real.push(path);
        }
        real
    }

    /// Whether a path, as it is given or resolved, names the program's own code or symbols for it.
    pub(super) fn covers(&self, k: &Kernel, who: Who, path: &[u8]) -> bool {
        let is_code = |path: &Path| self.code.contains(path) || path == program(k, who);
        let path = Path::new(OsStr::from_bytes(path));
        // Split debugging information lies beside the code that it belongs to: `libc.so.6.dwp`.
        let beside = path.extension().is_some_and(|end| end == "dwp") && is_code(&path.with_extension(""));
        is_code(path) || beside || path.starts_with(SYMBOLS) || path.ends_with("maps") && is_maps(k, who, path)
    }
}

/// Whether a path names the process's list of mappings.
fn is_maps(k: &Kernel, who: Who, path: &Path) -> bool {
    path == Path::new("/proc/self/maps")
        || k.processes.get(who.process).is_some_and(|p| path == Path::new(&format!("/proc/{}/maps", p.pid)))
}

/// What a process sees as the path of its executable.
pub(super) fn program(k: &Kernel, who: Who) -> PathBuf {
    let args = k.processes.get(who.process).map(|p| &p.args[..]).unwrap_or_default();
    let name = args.first().map_or("", |arg| arg.rsplit('/').next().unwrap_or(arg));
    Path::new(PROGRAMS).join(if name.is_empty() { "program" } else { name })
}

/// Files with executable mappings.
fn mapped_code(maps: &[u8]) -> BTreeSet<PathBuf> {
    let lines = maps.split(|byte| *byte == b'\n').filter(|line| line.windows(6).any(|part| part == b" r-xp "));
    let paths = lines.filter_map(|line| line.iter().position(|byte| *byte == b'/').map(|at| &line[at..]));
    paths
        .map(|path| {
            let mut buffer = outside::path_buffer();
            buffer.push(OsStr::from_bytes(path));
            buffer
        })
        .collect()
}

/// `/proc/self/maps`: of the real one what is the same in each run, which is where the code lies, with the executable
/// at the path where hosts see it. Stacks and heaps are as long, and data mapped, as the process outside has it.
pub(super) fn maps(k: &mut Kernel, who: Who) -> Vec<u8> {
    let maps = outside::mappings();
    let to = program(k, who);
    let mut out = Vec::with_capacity(maps.capacity());
    for line in maps.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b'/') else { continue };
        let path = Path::new(OsStr::from_bytes(&line[at..]));
        if !k.own.code.contains(path) {
            continue;
        }
        // proc_pid_maps(5): addresses, permissions, offset, device, inode. The last two are the machine's.
        line.split(|byte| *byte == b' ').take(3).for_each(|field| {
            out.extend_from_slice(field);
            out.push(b' ');
        });
        out.extend_from_slice(b"00:00 0 ");
        let path = if path == k.own.executable { &to } else { path };
        out.extend_from_slice(path.as_os_str().as_bytes());
        out.push(b'\n');
    }
    out
}
