//! A tree of unpacked packages, and how a program in it is started from where it lies.

use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages down to libc, unpacked.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    libraries: Vec<PathBuf>,
}

impl Tree {
    /// A tree that has its libraries.
    pub(super) fn new(root: &Path) -> Result<Self> {
        let mut libraries = Vec::new();
        for directory in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|inside| root.join(inside)) {
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            // Some have a directory of their own there: pulseaudio.
            let below = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
            let below: Vec<_> = below.collect();
            libraries.push(directory);
            libraries.extend(below);
        }
        ensure!(!libraries.is_empty(), "there are no libraries in {}", root.display());
        Ok(Self { root: root.to_owned(), libraries })
    }

    /// A path in the tree.
    pub(super) fn inside(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// What stands beside the libraries, whichever directory has it.
    pub(super) fn beside_libraries(&self, name: &str) -> Result<PathBuf> {
        let found = self.libraries.iter().map(|directory| directory.join(name)).find(|path| path.exists());
        found.with_context(|| format!("there is no {name} in {}", self.root.display()))
    }

    /// The words that start a program: by the tree's own loader, with its own libraries (ld.so(8)), since both are
    /// newer or older than the machine's.
    pub(super) fn words(&self, program: &str) -> Result<Vec<PathBuf>> {
        let joined: Vec<_> = self.libraries.iter().map(|path| path.as_os_str().as_bytes()).collect();
        let joined = joined.join(&b':');
        let loader = self.beside_libraries("ld-linux-x86-64.so.2")?;
        Ok(vec![loader, "--library-path".into(), OsStr::from_bytes(&joined).into(), self.inside(program)])
    }

    /// A command that starts a program.
    pub(super) fn command(&self, program: &str) -> Result<Command> {
        let words = self.words(program)?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_started_by_the_loader_of_its_own_tree() {
        let place = tempfile::tempdir().expect("a directory");
        let root = place.path();
        let libraries = root.join("lib/x86_64-linux-gnu");
        fs::create_dir_all(libraries.join("pulseaudio")).expect("a directory");
        assert!(Tree::new(root).expect("a tree").words("bin/xz").is_err(), "without a loader");
        fs::write(libraries.join("ld-linux-x86-64.so.2"), "").expect("a file");
        let words = Tree::new(root).expect("a tree").words("bin/xz").expect("a loader");
        let (root, joined) = (root.display(), words[2].display().to_string());
        assert_eq!(words[0], libraries.join("ld-linux-x86-64.so.2"));
        assert_eq!(joined, format!("{root}/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu/pulseaudio"));
        assert_eq!(words[3].display().to_string(), format!("{root}/bin/xz"));
    }
}
