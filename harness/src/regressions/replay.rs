//! A file given to `CHAOS_REPLAY`: a regression file, or a plan.

use super::entry::Entry;
use super::file::{entries, unreadable};
use crate::document::{FileError, Source};
use crate::package;
use std::path::{Path, PathBuf};
use windtunnel_faults::Plan;

/// What such a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReplayFile {
    /// `.toml`: these cases.
    Entries(Vec<Entry>),
    /// `.json`, `.yaml`, `.yml`, or anything else, which is text: this plan, under seeds that come from elsewhere.
    Plan(Plan),
}

/// Reads a file that `CHAOS_REPLAY` names.
pub(crate) fn read_replay(path: &Path) -> Result<ReplayFile, FileError> {
    read_below(&package::directory(), path)
}

fn read_below(package: &Path, path: &Path) -> Result<ReplayFile, FileError> {
    let file = path.display().to_string();
    if path.is_dir() {
        let message = "it is a directory; CHAOS_REPLAY takes one file, or a token";
        return Err(FileError { file, line: None, message: message.to_owned() });
    }
    let Some(found) = find(package, path) else {
        let message = "there is no such file; CHAOS_REPLAY takes a token, which begins with `c1_`, or the path of a \
                       regression file or of a plan, as seen from the package or the workspace";
        return Err(FileError { file, line: None, message: message.to_owned() });
    };
    let text = std::fs::read_to_string(found).map_err(|error| unreadable(&file, &error))?;
    parse(&file, &text)
}

/// A relative path is looked for in the package's directory, where tests run, and above, where people are.
fn find(package: &Path, path: &Path) -> Option<PathBuf> {
    let directories = package::up_to_workspace(package);
    directories.map(|directory| directory.join(path)).find(|path| path.is_file())
}

fn parse(file: &str, text: &str) -> Result<ReplayFile, FileError> {
    let source = Source { file, text };
    let error = |line, message: String| FileError { file: file.to_owned(), line, message };
    let extension = Path::new(file).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let plan = match extension {
        "toml" => {
            let entries = entries(&source)?;
            if entries.is_empty() {
                return Err(error(None, "there is no entry in it to replay".to_owned()));
            }
            return Ok(ReplayFile::Entries(entries));
        }
        "json" => Plan::from_json(text).map_err(|problem| error(None, problem.to_string()))?,
        "yaml" | "yml" => Plan::from_yaml(text).map_err(|problem| error(None, problem.to_string()))?,
        _ => text.parse::<Plan>().map_err(|problem| error(Some(problem.line()), problem.to_string()))?,
    };
    plan.validate().map_err(|problem| error(None, format!("the plan makes no sense: {problem}")))?;
    Ok(ReplayFile::Plan(plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "1s crash kv1 restart after 2s";

    #[test]
    fn a_plan_is_read_in_each_of_its_forms() {
        let plan: Plan = PLAN.parse().expect("a literal of this test");
        for (file, text) in [
            ("storm", format!("# isolates the leader\n{PLAN}\n")),
            ("storm.txt", PLAN.to_owned()),
            ("storm.json", plan.to_json()),
            ("storm.yaml", plan.to_yaml()),
        ] {
            assert_eq!(parse(file, &text), Ok(ReplayFile::Plan(plan.clone())), "{file}");
        }
        let file = parse("kv.toml", &format!("[[found]]\nseed = \"1\"\nplan = \"{PLAN}\"\n"));
        assert!(matches!(file, Ok(ReplayFile::Entries(entries)) if entries[0].plan == plan));
    }

    #[test]
    fn a_file_is_found_from_the_workspace() {
        let root = tempfile::tempdir().expect("the system's directory for temporary files is writable");
        let package = root.path().join("kv");
        std::fs::create_dir_all(&package).expect("it is a directory of ours");
        std::fs::write(root.path().join("Cargo.lock"), "").expect("as above");
        std::fs::write(root.path().join("storm.txt"), PLAN).expect("as above");
        std::fs::write(package.join("calm.txt"), "").expect("as above");
        let storm = read_below(&package, Path::new("storm.txt"));
        assert!(matches!(storm, Ok(ReplayFile::Plan(plan)) if plan.faults.len() == 1));
        let calm = read_below(&package, Path::new("calm.txt"));
        assert!(matches!(calm, Ok(ReplayFile::Plan(plan)) if plan.faults.is_empty()));
        let missing = read_below(&package, Path::new("0x5f1d")).expect_err("there is none").to_string();
        let problems = [
            parse("storm.txt", "1s crash kv1\n2s crahs kv1\n"),
            parse("storm.json", "{}"),
            parse("kv.toml", "# nothing yet\n"),
        ];
        let problems = problems.map(|problem| problem.expect_err("it is no plan").to_string());
        insta::assert_snapshot!(format!("{missing}\n\n{}", problems.join("\n\n")));
    }
}
