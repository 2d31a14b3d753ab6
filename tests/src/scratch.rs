//! Crates that are made for one test, beside a link to this tree.

use crate::Output;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Variables that cargo and nextest set for the tests that they run. A run inside such a test must not see them, nor
/// what changes how tests run.
const NOT_INHERITED: [&str; 12] = [
    "CARGO_BIN",
    "CARGO_CRATE",
    "CARGO_MANIFEST",
    "CARGO_PKG",
    "CARGO_PRIMARY",
    "CARGO_TARGET",
    "CARGO_TERM",
    "CHAOS_",
    "CI",
    "LD_LIBRARY_PATH",
    "NEXTEST",
    "RUST_",
];

/// A directory with a crate in it, beside a link `windtunnel` to this tree, so that the crate names windtunnel as a
/// user's would: `path = "../windtunnel/harness"`.
#[derive(Debug)]
pub struct Scratch {
    package: PathBuf,
}

impl Scratch {
    /// Makes a crate anew for one test, below `base`, which is the test's `env!("CARGO_TARGET_TMPDIR")`: whatever an
    /// earlier run left there is gone. Only the target directory is kept, which all crates share; in each it looks
    /// like its own. They share the link too: another path would be another windtunnel to cargo, built once more.
    ///
    /// # Panics
    /// A file cannot be written.
    #[must_use]
    pub fn new(base: &str, test: &str, files: &[(String, String)]) -> Self {
        let base = Path::new(base).join("scratch");
        let package = base.join(test);
        if package.exists() {
            fs::remove_dir_all(&package).expect("an earlier run's crate can be removed");
        }
        for (path, text) in files {
            let path = package.join(path);
            fs::create_dir_all(path.parent().expect("it lies in the crate")).expect("a directory can be made");
            fs::write(path, text).expect("a file can be written");
        }
        link_to_tree(&base.join("windtunnel"));
        let target = base.join("target");
        fs::create_dir_all(&target).expect("a directory can be made");
        symlink(target, package.join("target")).expect("a link can be made");
        // The same versions as the tree's own tests: nothing is resolved anew, so nothing new can break this.
        fs::copy(tree().join("Cargo.lock"), package.join("Cargo.lock")).expect("the lock file can be copied");
        Self { package }
    }

    /// Makes a crate of the directory `fixtures/{name}`.
    ///
    /// # Panics
    /// There is no such directory.
    #[must_use]
    pub fn fixture(base: &str, test: &str, name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        let mut files = Vec::new();
        gather(&root, &root, &mut files);
        Self::new(base, test, &files)
    }

    /// Runs a line as a user would type it, in the crate's directory.
    ///
    /// # Panics
    /// There is no shell.
    #[must_use]
    pub fn sh(&self, line: &str) -> Output {
        // A user's profile would take six times the disk for what no test here looks at.
        let lean = "CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=line-tables-only";
        run(&self.package, line, &format!("export {lean}; {line}"))
    }

    /// A file of the crate, as text.
    ///
    /// # Panics
    /// There is no such file.
    #[must_use]
    pub fn file(&self, path: &str) -> String {
        let path = self.package.join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()))
    }
}

/// Makes the link, unless another test has.
fn link_to_tree(link: &Path) {
    // Of another tree where a target directory serves several.
    if fs::read_link(link).is_ok_and(|to| to != tree()) {
        fs::remove_file(link).expect("a link can be removed");
    }
    match symlink(tree(), link) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => made.expect("a link can be made"),
    }
}

/// The root of windtunnel's tree.
#[must_use]
pub fn tree() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// Runs a line as a user would type it.
///
/// # Panics
/// There is no shell, or no such directory.
#[must_use]
pub fn sh(directory: &Path, line: &str) -> Output {
    run(directory, line, line)
}

fn run(directory: &Path, line: &str, script: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(directory);
    for (name, _) in std::env::vars_os() {
        if NOT_INHERITED.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.env("CARGO_TERM_COLOR", "never");
    Output::of(line, &command.output().unwrap_or_else(|error| panic!("{}: {error}", directory.display())))
}

fn gather(root: &Path, directory: &Path, files: &mut Vec<(String, String)>) {
    let listing = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in listing {
        let path = entry.expect("the directory can be listed").path();
        if path.is_dir() {
            gather(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("it lies below").to_string_lossy().into_owned();
            files.push((name, fs::read_to_string(&path).expect("a fixture is text")));
        }
    }
}
