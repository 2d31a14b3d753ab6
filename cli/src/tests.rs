//! The test binaries of a workspace, by cargo's own account.

use anyhow::{Context as _, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Builds all tests and answers where they are.
pub(crate) fn binaries(arguments: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["test", "--no-run", "--message-format=json-render-diagnostics"])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo could not be started")?;
    if !built.status.success() {
        bail!("the tests could not be built");
    }
    let messages = built.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let found: Vec<PathBuf> = messages.filter_map(|message: serde_json::Value| executable(&message)).collect();
    if found.is_empty() {
        bail!("there are no tests here: name a binary, or a package behind `--`");
    }
    Ok(found)
}

/// The test that a message of cargo's is about (`cargo help build`, `--message-format`).
fn executable(message: &serde_json::Value) -> Option<PathBuf> {
    let is_test = message["profile"]["test"].as_bool() == Some(true);
    message["executable"].as_str().filter(|_| is_test).map(PathBuf::from)
}
