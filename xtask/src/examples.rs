//! The chaos tests of `examples/`, built and run one by one.

use crate::process::{cargo, shown};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds the test binary `chaos` of a package; answers where it is.
///
/// One package at a time, as the commands in the reports do: several together would have other features of their
/// dependencies, and would be another build.
///
/// # Errors
/// It does not build.
pub fn build(root: &Path, package: &str, arguments: &[&str]) -> Result<PathBuf> {
    let mut build = cargo(root, &["test", "--no-run", "--locked", "-p", package, "--test", "chaos"]);
    build.args(arguments);
    println!("$ {}", shown(&build));
    build.args(["--message-format", "json-render-diagnostics"]).stdout(Stdio::piped());
    let built = build.spawn().and_then(std::process::Child::wait_with_output).context("failed to start cargo")?;
    ensure!(built.status.success(), "the chaos tests of {package} do not build");
    for line in String::from_utf8_lossy(&built.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("failed to read what cargo built")?;
        let text = |at: &str| message.pointer(at).and_then(serde_json::Value::as_str);
        // Cargo builds a package's programs along with its tests, and names them too.
        if let (Some("chaos"), Some(executable)) = (text("/target/name"), text("/executable")) {
            return Ok(executable.into());
        }
    }
    bail!("{package} has no test binary `chaos`")
}

/// The faults that a failure's block lists, in their text form.
#[must_use]
pub fn faults(printed: &str) -> Vec<String> {
    let listed = printed.lines().skip_while(|line| *line != "  faults").skip(1);
    let faults = listed.map_while(|line| line.strip_prefix("    ")).filter_map(|line| line.split("  ").next());
    faults.map(str::to_owned).collect()
}

/// One test in a process of its own, in its package's directory, with these variables of windtunnel's and no others.
#[must_use]
pub fn command(binary: &Path, directory: &Path, test: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary);
    command.args(["--exact", test, "--include-ignored", "--nocapture"]).current_dir(directory);
    command.stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
    for (name, _) in std::env::vars_os() {
        // The reports name commands for the runner that started them, and that is none here.
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("NEXTEST") || name.starts_with("CHAOS_") {
            command.env_remove(name);
        }
    }
    command.envs(variables.iter().copied());
    command
}
