//! Log files of the last failed case, one per host, and its arguments: `target/chaos/<binary>/<test>/<host>.log`,
//! `…/arguments.txt`.

use super::arguments::Argument;
use super::lines::Log;
use crate::blackbox::{Kind, Recording};
use crate::definition::TestDefinition;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// What was drawn for the test's parameters.
const ARGUMENTS: &str = "arguments.txt";

/// The directory of a test's log files.
#[derive(Debug, Clone)]
pub(crate) struct LogDirectory {
    path: PathBuf,
    shown: String,
}

impl LogDirectory {
    /// Where a test's files go: below `CHAOS_OUT`, or below the target directory that the binary lies in.
    pub(crate) fn of(definition: &TestDefinition, out: Option<&Path>) -> Self {
        let target = std::env::current_exe().ok().and_then(|executable| target_directory(&executable));
        let root = match (out, &target) {
            (Some(out), _) => out.to_owned(),
            (None, Some(target)) => target.join("chaos"),
            (None, None) => Path::new("target").join("chaos"),
        };
        let path = root.join(definition.binary()).join(definition.name().replace("::", "."));
        // As seen from the workspace, which is where people are; a test's own working directory is its package.
        let workspace = target.as_deref().filter(|target| target.ends_with("target")).and_then(Path::parent);
        let shown = workspace.and_then(|workspace| path.strip_prefix(workspace).ok()).unwrap_or(&path);
        Self { shown: shown.display().to_string(), path }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the files, in place of those of an earlier case. Returns what to tell the reader.
    pub(crate) fn write(&self, log: &Log, arguments: &[Argument]) -> io::Result<Option<String>> {
        let hosts = log.hosts();
        if hosts.is_empty() && arguments.is_empty() {
            return Ok(None);
        }
        std::fs::create_dir_all(&self.path)?;
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") || path.ends_with(ARGUMENTS) {
                std::fs::remove_file(path)?;
            }
        }
        for host in &hosts {
            self.write_host(host, log)?;
        }
        let mut names: Vec<String> = hosts.iter().take(5).map(|host| format!("{host}.log")).collect();
        if hosts.len() > names.len() {
            names.push("…".to_owned());
        }
        if !arguments.is_empty() {
            std::fs::write(self.path.join(ARGUMENTS), Argument::file(arguments))?;
            names.push(ARGUMENTS.to_owned());
        }
        Ok(Some(format!("{}/ ({})", self.shown, names.join(", "))))
    }

    /// Writes the events of the last run to `events.txt`. Returns where it is, for people.
    pub(crate) fn write_events(&self, recording: &Recording<'_>) -> io::Result<String> {
        std::fs::create_dir_all(&self.path)?;
        let mut file = io::BufWriter::new(std::fs::File::create(self.path.join("events.txt"))?);
        recording.copy_to(&mut file)?;
        file.flush()?;
        Ok(format!("{}/events.txt", self.shown))
    }

    fn write_host(&self, host: &str, log: &Log) -> io::Result<()> {
        let file = std::fs::File::create(self.path.join(format!("{host}.log")))?;
        let mut file = io::BufWriter::new(file);
        if log.dropped_bytes > 0 {
            writeln!(
                file,
                "# the first {} bytes of all hosts' output were dropped",
                super::grouped(log.dropped_bytes)
            )?;
        }
        for line in log.of(host) {
            let mark = match line.kind {
                Kind::Output => '|',
                Kind::ErrorOutput => '!',
                Kind::Note => '*',
            };
            writeln!(file, "{:>8} {:>16.9} {mark} {}", line.at.event, line.at.now_ns as f64 / 1e9, line.text)?;
        }
        file.flush()
    }
}

/// The nearest directory above that cargo has marked as a target directory (`CACHEDIR.TAG`), or the one that its layout
/// implies.
fn target_directory(executable: &Path) -> Option<PathBuf> {
    let marked = executable.ancestors().skip(1).find(|directory| directory.join("CACHEDIR.TAG").is_file());
    let implied = || {
        let deps = executable.parent().filter(|deps| deps.ends_with("deps"))?;
        deps.parent()?.parent()
    };
    marked.or_else(implied).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blackbox::{At, Record};

    #[test]
    fn each_host_has_a_file_with_event_numbers_and_times() {
        let directory = tempfile::tempdir().expect("the system's directory for temporary files is writable");
        let directory = directory.path();
        let files = LogDirectory { path: directory.to_owned(), shown: "target/chaos/kv/test".to_owned() };
        let record = |event, host: &str, kind, text: &str| Record {
            at: At { event, now_ns: event * 1_000_001 },
            kind,
            host: host.to_owned(),
            bytes: text.as_bytes().to_vec(),
        };
        let records = [
            record(1, "kv0", Kind::Note, "started"),
            record(12, "kv0", Kind::Output, "listening\n"),
            record(1204, "kv1", Kind::ErrorOutput, "no quorum\n"),
        ];
        std::fs::write(directory.join("kv9.log"), "of an earlier case").expect("it is writable");
        let ops = Argument {
            name: "ops".to_owned(),
            line: "[Get(1)]".to_owned(),
            text: "[\n    Get(\n        1,\n    ),\n]".to_owned(),
            elements: Some(1),
        };
        let told = files.write(&Log::new(&records, 1500), &[ops]).expect("it is writable");
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("it was written");
        assert_eq!(told.as_deref(), Some("target/chaos/kv/test/ (kv0.log, kv1.log, arguments.txt)"));
        assert_eq!(read("arguments.txt"), "ops = [\n    Get(\n        1,\n    ),\n]\n");
        files.write(&Log::new(&records, 1500), &[]).expect("it is writable");
        assert!(!directory.join("arguments.txt").exists(), "it belongs to an earlier case");
        insta::assert_snapshot!(format!("{}---\n{}", read("kv0.log"), read("kv1.log")), @r"
        # the first 1,500 bytes of all hosts' output were dropped
               1      0.001000001 * started
              12      0.012000012 | listening
        ---
        # the first 1,500 bytes of all hosts' output were dropped
            1204      1.204001204 ! no quorum
        ");
        assert!(!directory.join("kv9.log").exists());
    }
}
