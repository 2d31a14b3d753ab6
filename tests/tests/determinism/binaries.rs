//! The test binaries named `chaos` of the examples, built when they are not.

use crate::start::{Seeds, Start};
use serde::Deserialize;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What cargo says about something that it built (`cargo build --message-format=json`).
#[derive(Deserialize)]
struct Artifact {
    reason: String,
    package_id: Option<String>,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

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
        // The whole workspace, so that dependencies have the features that they have in every other build of it.
        let mut build = Command::new(cargo());
        build.args(["test", "--no-run", "--workspace", "--test", "chaos", "--profile", &profile()]);
        build.args(["--message-format", "json-render-diagnostics"]);
        let built = build.stderr(Stdio::inherit()).output().expect("cargo runs these tests, so it is there");
        assert!(built.status.success(), "cargo failed to build the tests");
        let artifacts = String::from_utf8_lossy(&built.stdout);
        let path = artifacts
            .lines()
            .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
            .filter(|artifact| artifact.reason == "compiler-artifact")
            // A package's programs are built along with its tests, and named too.
            .filter(|artifact| artifact.target.as_ref().is_some_and(|target| target.name == "chaos"))
            // `path+file:///…/kv#0.1.0`; `…/redis#redis-workload@0.1.0` in a directory of another name.
            .filter(|artifact| artifact.package_id.as_deref().is_some_and(|id| names(id, package)))
            .find_map(|artifact| artifact.executable);
        Self { package, path: path.unwrap_or_else(|| panic!("cargo built no test `chaos` of {package}")) }
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

/// Whether a package id is that of this package.
fn names(id: &str, package: &str) -> bool {
    id.contains(&format!("/{package}#")) || id.contains(&format!("#{package}@"))
}
