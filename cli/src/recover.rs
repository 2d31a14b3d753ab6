//! What dead processes left in force, undone: what was done, what was left alone, what failed.

use std::fmt::Write as _;
use std::path::PathBuf;
use windtunnel_inject::journal::{Outcome, Undo};
use windtunnel_inject::process::limit::Resource;
use windtunnel_inject::recover::{Report, Undone};

/// The report, for people.
pub(crate) fn tell(report: &Report) -> String {
    let mut text = String::new();
    let (mut undone, mut left, mut failed) = (0, 0, report.unreadable.len());
    // Writing to a text cannot fail.
    for Undone { undo, outcome } in &report.undone {
        let what = describe(undo);
        let _ = match outcome {
            Outcome::Recovered => {
                undone += 1;
                writeln!(text, "undone  {what}")
            }
            Outcome::TargetGone => {
                undone += 1;
                writeln!(text, "gone    {what}: what it was about is there no more")
            }
            Outcome::Foreign { found } => {
                left += 1;
                writeln!(text, "left    {what}: somebody has changed it since ({found})")
            }
            Outcome::Inherited => {
                left += 1;
                writeln!(text, "left    {what}: undone with a later change of the same")
            }
            Outcome::Failed { reason } => {
                failed += 1;
                writeln!(text, "failed  {what}: {reason}")
            }
        };
    }
    for (name, why) in &report.unreadable {
        let _ = writeln!(text, "failed  the journal {name} cannot be read: {why}");
    }
    let in_use = match report.in_use.len() {
        0 => String::new(),
        1 => "; 1 journal belongs to a process that still runs".to_owned(),
        count => format!("; {count} journals belong to processes that still run"),
    };
    let _ = match (undone, left, failed) {
        (0, 0, 0) => writeln!(text, "nothing is left to undo{in_use}"),
        _ => writeln!(text, "{undone} undone, {left} left alone, {failed} failed{in_use}"),
    };
    text
}

/// What is undone, in words.
fn describe(undo: &Undo) -> String {
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    match undo {
        Undo::RemoveGroup { directories, .. } => format!("control group {}", paths(directories)),
        Undo::Restore(restore) => format!("value in {}", restore.file.display()),
        Undo::Limit { process, resource, .. } => {
            let of = match resource {
                Resource::Descriptors => "descriptors",
                Resource::Threads => "threads",
                Resource::Memory => "memory",
            };
            format!("limit of {of} of process {}", process.pid)
        }
        Undo::Continue { process } => format!("stop of process {}", process.pid),
        Undo::Kill { process } => format!("process {} of ours", process.pid),
        Undo::Clock { process, .. } => format!("clock of process {}", process.pid),
        Undo::Uncover(covered) => format!("mount over {}", covered.directory.display()),
        Undo::RemoveFile { path, .. } => format!("file {}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_word() {
        let file = |name: &str| Undo::RemoveFile { path: PathBuf::from(name), device: 1, inode: 2 };
        let one = |name, outcome| Undone { undo: file(name), outcome };
        let report = Report {
            in_use: vec!["7.journal".to_owned()],
            undone: vec![
                one("/mnt/a", Outcome::Recovered),
                one("/mnt/b", Outcome::TargetGone),
                one("/mnt/c", Outcome::Foreign { found: "inode 3".to_owned() }),
                one("/mnt/d", Outcome::Failed { reason: "it is a directory".to_owned() }),
            ],
            unreadable: vec![("8.journal".to_owned(), "no JSON".to_owned())],
        };
        insta::assert_snapshot!(tell(&report), @r"
        undone  file /mnt/a
        gone    file /mnt/b: what it was about is there no more
        left    file /mnt/c: somebody has changed it since (inode 3)
        failed  file /mnt/d: it is a directory
        failed  the journal 8.journal cannot be read: no JSON
        2 undone, 1 left alone, 2 failed; 1 journal belongs to a process that still runs
        ");
    }

    #[test]
    fn nothing_to_do_is_said() {
        assert_eq!(tell(&Report::default()), "nothing is left to undo\n");
    }
}
