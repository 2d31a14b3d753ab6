//! Building the three binaries, each as its users would.

use crate::measure::Subject;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder `bench/`.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("compare lies in bench/")
}

/// Where each binary lies.
pub struct Binaries(PathBuf);

impl Binaries {
    /// The binary that runs a subject.
    pub fn of(&self, subject: Subject) -> PathBuf {
        self.0.join("release").join(subject.package())
    }
}

/// Builds all three in release. One by one, so that no feature of one's dependencies reaches another.
pub fn all() -> Binaries {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    for subject in [Subject::Madsim, Subject::Turmoil, Subject::Storm] {
        let package = subject.package();
        // In the package's own folder: madsim's flag comes from the .cargo/config.toml there.
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release", "--quiet", "--package", package])
            .current_dir(workspace().join(package))
            .env("CARGO_TARGET_DIR", &target)
            .env_remove("RUSTFLAGS") // it would replace the flags of the configuration
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{package} cannot be built");
    }
    Binaries(target)
}
