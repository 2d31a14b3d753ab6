//! Where the package under test and its workspace lie, asked when the test runs.
//!
//! Never `env!`: an archive of nextest runs in another place than it was compiled in, and nextest sets the variable to
//! where the sources are now.

use std::path::{Path, PathBuf};

/// The package's directory: `CARGO_MANIFEST_DIR`, which cargo and nextest set; the current one without them.
pub(crate) fn directory() -> PathBuf {
    let named = std::env::var_os("CARGO_MANIFEST_DIR").filter(|value| !value.is_empty());
    named.map(PathBuf::from).or_else(|| std::env::current_dir().ok()).unwrap_or_else(|| PathBuf::from("."))
}

/// The package's directory and those above it, up to the workspace's: the nearest with a lock file. Without one, no
/// further than the repository.
pub(crate) fn up_to_workspace(package: &Path) -> impl Iterator<Item = &Path> {
    let mut above = false;
    package.ancestors().take_while(move |directory| {
        let outside = above;
        above = ["Cargo.lock", ".git"].iter().any(|mark| directory.join(mark).exists());
        !outside
    })
}

/// A path as people see it, who are in the workspace's directory while tests run in their package's.
pub(crate) fn shown(package: &Path, path: &Path) -> String {
    let workspace = up_to_workspace(package).last().filter(|directory| directory.join("Cargo.lock").exists());
    let below = workspace.or(Some(package)).and_then(|root| path.strip_prefix(root).ok());
    below.unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_workspace_is_where_the_lock_file_is() {
        let root = tempfile::tempdir().expect("the system's directory for temporary files is writable");
        let root = root.path();
        let package = root.join("work/crates/kv");
        fs::create_dir_all(&package).expect("it is a directory of ours");
        fs::write(root.join("work/Cargo.lock"), "").expect("as above");
        let directories: Vec<&Path> = up_to_workspace(&package).collect();
        assert_eq!(directories, [package.as_path(), &root.join("work/crates"), &root.join("work")]);
        assert_eq!(shown(&package, &package.join("chaos.toml")), "crates/kv/chaos.toml");
        assert_eq!(shown(&package, Path::new("/elsewhere/a")), "/elsewhere/a");
    }
}
