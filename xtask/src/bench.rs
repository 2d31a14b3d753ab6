//! `cargo xtask bench`: measurements against peers.
//!
//! `bench/` is a workspace of its own, because madsim needs build flags that would change every other crate.

use crate::process::{cargo, run as run_command};
use anyhow::{Result, bail};
use std::path::Path;

/// Runs the benchmark, which explains its arguments with `cargo xtask bench --help`.
///
/// # Errors
/// It is not there, or failed.
pub fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let workspace = root.join("bench");
    if !workspace.join("Cargo.toml").exists() {
        bail!("there is no workspace {}", workspace.display());
    }
    // Run in its directory: that is where cargo looks for the `.cargo/config.toml` with the flags.
    let mut bench = cargo(&workspace, &["run", "--release", "--locked", "--"]);
    run_command(bench.args(arguments))
}
