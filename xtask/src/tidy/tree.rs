//! Which files the tree has, as git sees it.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// A text of the tree.
#[derive(Debug)]
pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs") && !self.is_fixture()
    }

    /// Input of a test, which may be as wrong as the test needs it.
    pub(crate) fn is_fixture(&self) -> bool {
        self.path.split('/').any(|part| part == "fixtures" || part == "ui")
    }

    /// Part of a test as a whole. A module of tests inside another file is found by its tokens instead.
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "benches" || part == "tests.rs")
    }
}

/// Endings of files that people write and read.
const ENDINGS: [&str; 7] = [".rs", ".toml", ".md", ".yml", ".sh", ".ci/run", "Cargo.lock"];

/// Every text that git tracks or would track.
pub(crate) fn texts(root: &Path) -> Result<Vec<File>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]).current_dir(root);
    let output = git.output().context("failed to start git, which knows what belongs to the tree")?;
    if !output.status.success() {
        bail!("`git ls-files` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let listed = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| ENDINGS.iter().any(|ending| path.ends_with(ending))) {
        // A file that is deleted and not yet committed is still listed.
        if !root.join(path).is_file() {
            continue;
        }
        let text = std::fs::read_to_string(root.join(path)).with_context(|| format!("failed to read {path}"))?;
        files.push(File { path: path.to_owned(), text });
    }
    Ok(files)
}
