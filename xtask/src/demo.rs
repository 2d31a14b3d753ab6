//! `cargo xtask demo`: the two proofs in `examples/`.

use anyhow::{Result, bail};
use std::path::Path;

/// Runs both.
///
/// # Errors
/// One of them did not turn out as it has to.
pub fn run(_root: &Path) -> Result<()> {
    bail!("the chaos tests that this shows are not there yet")
}
