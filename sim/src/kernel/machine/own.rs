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
        let executable = std::fs::read_link("/proc/self/exe").unwrap_or_default();
        let mut code: BTreeSet<PathBuf> = mapped_code(&outside::read("/proc/self/maps").unwrap_or_default());
        code.insert(executable.clone());
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let workspace = directory.ancestors().find(|d| d.join("Cargo.lock").exists()).unwrap_or(&directory).to_owned();
        let inside = directory.strip_prefix(&workspace).unwrap_or(Path::new(""));
        let start_directory = match inside.as_os_str().is_empty() {
            true => PathBuf::from(WORKSPACE),
            false => Path::new(WORKSPACE).join(inside),
        };
        Own { executable, code, workspace, start_directory }
    }

    /// The path outside of what a host calls `path`.
    pub(super) fn real(&self, who: Who, k: &Kernel, path: &Path) -> PathBuf {
        if let Ok(inside) = path.strip_prefix(WORKSPACE) {
            return if inside.as_os_str().is_empty() { self.workspace.clone() } else { self.workspace.join(inside) };
        }
        if path.as_os_str().as_bytes().starts_with(PROGRAMS.as_bytes()) && path == program(k, who) {
            return self.executable.clone();
        }
        path.to_owned()
    }

    /// Whether a path, as a program gives it, names the program's own code or symbols for it.
    pub(super) fn covers(&self, k: &Kernel, who: Who, path: &[u8]) -> bool {
        if !path.starts_with(b"/") {
            return false;
        }
        path == b"/proc/self/maps"
            || path == b"/proc/self/exe"
            || path.starts_with(SYMBOLS.as_bytes())
            || path.starts_with(PROGRAMS.as_bytes()) && path.starts_with(program(k, who).as_os_str().as_bytes())
            || self.code.contains(Path::new(OsStr::from_bytes(path)))
    }
}

/// What a process sees as the path of its executable.
pub(super) fn program(k: &Kernel, who: Who) -> PathBuf {
    let args = k.processes.get(who.process).map(|p| &p.args[..]).unwrap_or_default();
    let name = args.first().map_or("", |arg| arg.rsplit('/').next().unwrap_or(arg));
    Path::new(PROGRAMS).join(if name.is_empty() { "program" } else { name })
}

/// Files with executable mappings.
fn mapped_code(maps: &[u8]) -> BTreeSet<PathBuf> {
    let lines = maps.split(|byte| *byte == b'\n');
    let executable = lines.filter(|line| line.get(..).is_some_and(|l| l.windows(6).any(|w| w == b" r-xp ")));
    let paths = executable.filter_map(|line| line.iter().position(|byte| *byte == b'/').map(|at| &line[at..]));
    paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect()
}

/// `/proc/self/maps`: the real one, with the executable at the path where hosts see it.
pub(super) fn maps(k: &mut Kernel, who: Who) -> Vec<u8> {
    let maps = outside::read("/proc/self/maps").unwrap_or_default();
    let (from, to) = (k.own.executable.as_os_str().as_bytes().to_vec(), program(k, who));
    let mut out = Vec::with_capacity(maps.len());
    for line in maps.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n").and_then(|line| line.strip_suffix(&from[..])) {
            Some(head) => {
                out.extend_from_slice(head);
                out.extend_from_slice(to.as_os_str().as_bytes());
                out.push(b'\n');
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}
