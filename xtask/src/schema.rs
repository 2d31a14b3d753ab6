//! `cargo xtask schema`: the JSON Schema of plans.
//!
//! Asks an example of the crate that defines plans, so that `cargo xtask tidy` need not build that crate.

use crate::process::{cargo, shown};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Prints the schema, and nothing else, to standard output.
///
/// # Errors
/// The example could not be built or run.
pub fn print(root: &Path) -> Result<()> {
    let mut command = cargo(root, &["run", "--quiet", "--locked", "-p", "windtunnel-faults", "--example", "schema"]);
    let status = command.status().with_context(|| format!("failed to start `{}`", shown(&command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(&command));
    }
    Ok(())
}
