//! Running other programs where a person can follow.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A `cargo` command at the tree's root. The cargo that runs this program is used, so that a toolchain chosen with
/// `cargo +nightly xtask` stays chosen.
#[must_use]
pub fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root);
    command
}

/// The command as it would be typed.
#[must_use]
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.display(), typed(&value?.to_string_lossy()))));
    let words = std::iter::once(program).chain(command.get_args()).map(|word| typed(&word.to_string_lossy()));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn typed(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { quoted(word) }
}

/// A word that a shell takes literally.
#[must_use]
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Prints a command and runs it.
///
/// # Errors
/// It could not be started, or ended with another code than 0.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("failed to start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs a command whose output interests only when it fails.
///
/// # Errors
/// It could not be started, or ended with another code than 0; what it wrote to its standard error is told.
pub fn finish(mut command: Command) -> Result<()> {
    let shown = shown(&command);
    let ended = command.output().with_context(|| format!("failed to start `{shown}`"))?;
    let printed = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "`{shown}` ended with {}\n{}", ended.status, printed.trim());
    Ok(())
}

/// Builds with cargo; answers what cargo says that it built, message by message.
///
/// # Errors
/// `what` does not build.
pub fn built(mut cargo: Command, what: &str) -> Result<Vec<serde_json::Value>> {
    println!("$ {}", shown(&cargo));
    cargo.args(["--message-format", "json-render-diagnostics"]).stdout(Stdio::piped());
    let built = cargo.spawn().and_then(Child::wait_with_output).context("failed to start cargo")?;
    ensure!(built.status.success(), "failed to build {what}");
    let messages = serde_json::Deserializer::from_slice(&built.stdout).into_iter();
    messages.collect::<Result<_, _>>().context("failed to read what cargo built")
}

/// Whether a message of cargo's is about this package: its id is `path+file:///…/kv#0.1.0`, or
/// `…/redis#redis-workload@0.1.0` in a directory of another name.
#[must_use]
pub fn is_of_package(message: &serde_json::Value, package: &str) -> bool {
    let id = message.get("package_id").and_then(serde_json::Value::as_str);
    id.is_some_and(|id| id.contains(&format!("/{package}#")) || id.contains(&format!("#{package}@")))
}

/// The program that a message of cargo's is about, if its target has this name.
#[must_use]
pub fn executable(message: &serde_json::Value, target: &str) -> Option<PathBuf> {
    let text = |at: &str| message.pointer(at).and_then(serde_json::Value::as_str);
    text("/executable").filter(|_| text("/target/name") == Some(target)).map(PathBuf::from)
}

/// Whether a command starts and succeeds. Its output is dropped.
#[must_use]
pub fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--", "--exact", "a b"]).env("CHAOS_SEED", "1-20");
        assert_eq!(shown(&command), "CHAOS_SEED=1-20 cargo test -- --exact 'a b'");
    }

    #[test]
    fn a_shell_takes_every_word_literally() {
        let words = ["a b", "it's", "$HOME", "", "*\n"];
        let script = format!("printf '%s|' {}", words.map(quoted).join(" "));
        let printed = Command::new("sh").args(["-c", &script]).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&printed.stdout), "a b|it's|$HOME||*\n|");
    }

    #[test]
    fn a_command_that_fails_is_an_error_that_names_it() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).expect_err("it ends with 3");
        assert_eq!(error.to_string(), "`sh -c 'exit 3'` ended with exit status: 3");
    }
}
