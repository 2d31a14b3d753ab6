//! The test binaries named `chaos` of the examples, built when they are not.

use crate::start::{Seeds, Start};
use std::path::PathBuf;
use tempfile::TempDir;
use windtunnel_tests::tree;
use xtask::examples::{self, Build};

/// Builds with this profile.
pub(crate) fn profile() -> String {
    std::env::var("WINDTUNNEL_PROFILE").unwrap_or_else(|_| "dev".to_owned())
}

pub(crate) fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// The `chaos` binary of a package.
pub(crate) struct TestBinary {
    package: &'static str,
    path: PathBuf,
}

impl TestBinary {
    pub(crate) fn of(package: &'static str) -> Self {
        let how = Build::WithAll { profile: &profile() };
        let path = examples::build(tree(), package, how).expect("the examples build");
        Self { package, path }
    }

    /// A start of one of its tests.
    pub(crate) fn start(&self, test: &'static str, seeds: Seeds) -> Start {
        Start {
            package: self.package,
            test,
            before: Vec::new(),
            program: self.path.clone(),
            args: ["--exact", test, "--nocapture"].map(Into::into).into(),
            seeds,
            env: Vec::new(),
            env_is_empty: false,
            directory: None,
            scratch: TempDir::new().expect("the system's directory for temporary files is writable"),
        }
    }
}
