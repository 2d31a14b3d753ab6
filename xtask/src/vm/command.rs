//! What runs in the box, as a script.

use crate::process::quoted;
use clap::ValueEnum;
use std::fmt::Write;
use std::path::PathBuf;

/// Who runs a command in the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum User {
    /// The user 0, with every capability.
    Root,
    /// The user 65534, without any, in a cgroup that is delegated to it.
    Nobody,
}

impl User {
    /// The name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Nobody => "nobody",
        }
    }
}

/// A command, where and by whom it runs, and its environment.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) user: User,
    pub(super) directory: PathBuf,
    pub(super) environment: Vec<(String, String)>,
    pub(super) words: Vec<String>,
}

impl Command {
    /// A command of root's, with those of our variables that tell how to run.
    pub(super) fn new(directory: PathBuf, words: &[String]) -> Self {
        let environment = std::env::vars().filter(|(name, _)| goes_along(name)).collect();
        Self { user: User::Root, directory, environment, words: words.to_vec() }
    }

    /// The script; `init.sh` runs it with busybox.
    pub(super) fn script(&self) -> String {
        let mut script = String::new();
        for (name, value) in &self.environment {
            let _ = writeln!(script, "export {name}={}", quoted(value));
        }
        let _ = writeln!(script, "cd {} || exit 126", quoted(&self.directory.to_string_lossy()));
        let as_user = match self.user {
            User::Root => "",
            User::Nobody => "/run/vm/as-nobody ",
        };
        let words: Vec<_> = self.words.iter().map(|word| quoted(word)).collect();
        let _ = writeln!(script, "exec {as_user}{}", words.join(" "));
        script
    }
}

/// Variables that mean the same in the box.
fn goes_along(name: &str) -> bool {
    matches!(name, "PATH" | "TERM" | "LANG") || ["CHAOS_", "RUST_"].iter().any(|ours| name.starts_with(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_keeps_its_directory_environment_and_user() {
        let command = Command {
            user: User::Nobody,
            directory: "/a b".into(),
            environment: vec![("CHAOS_SEED".to_owned(), "1 2".to_owned())],
            words: vec!["ls".to_owned(), "-l".to_owned()],
        };
        let script = "export CHAOS_SEED='1 2'\ncd '/a b' || exit 126\nexec /run/vm/as-nobody 'ls' '-l'\n";
        assert_eq!(command.script(), script);
    }

    #[test]
    fn only_variables_that_mean_the_same_go_along() {
        assert!(goes_along("PATH") && goes_along("RUST_LOG") && goes_along("CHAOS_REQUIRE"));
        assert!(!goes_along("HOME") && !goes_along("CARGO_HOME") && !goes_along("NOT_CHAOS_"));
    }
}
