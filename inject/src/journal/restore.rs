//! A value in a file of the kernel's, and what it was before.

use super::undo::Outcome;
use crate::error::{Error, ErrorKind, Result};
use crate::process::identity::Identity;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A value that is ours for now. It is restored only while it still reads as we left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The file.
    pub file: PathBuf,
    /// Its inode: a cgroup that was removed and made again under its old name is another one. None below `/proc`.
    pub inode: Option<u64>,
    /// Whose file it is, below `/proc`: a process's number may be another's by then.
    pub process: Option<Identity>,
    /// Of a file with a line for each of several things, with which word ours begins: `8:0`.
    pub key: Option<String>,
    /// How the value reads that we set.
    pub ours: String,
    /// How it read before.
    pub prior: String,
    /// What to write so that it reads as before.
    pub prior_text: String,
}

impl Restore {
    /// Reads what is there now, so that it can be restored once it reads `ours`. `absent` is what to write to get rid
    /// of a line that was not there.
    ///
    /// # Errors
    /// The file is not there, or this user may not read it.
    pub fn remember(file: &Path, key: Option<&str>, ours: &str, absent: &str) -> Result<Self> {
        let what = || format!("read {}", file.display());
        let (text, inode) = read(file).map_err(|error| Error::os(what(), error))?;
        let prior = value(&text, key);
        let prior_text = match (key, prior.as_str()) {
            (Some(_), "") => absent.to_owned(),
            (Some(key), prior) => format!("{key} {prior}"),
            (None, prior) => prior.to_owned(),
        };
        let below_proc = file.starts_with("/proc");
        Ok(Self {
            file: file.to_owned(),
            inode: (!below_proc).then_some(inode),
            process: None,
            key: key.map(str::to_owned),
            ours: ours.to_owned(),
            prior,
            prior_text,
        })
    }

    /// The value as it reads now.
    ///
    /// # Errors
    /// The file is gone, or another one has its name.
    pub fn current(&self) -> Result<String> {
        let what = || format!("read {}", self.file.display());
        if let Some(process) = &self.process
            && process.open()?.is_none()
        {
            return Err(Error::gone(what()));
        }
        let (text, inode) = read(&self.file)
            .map_err(|error| if is_gone(&error) { Error::gone(what()) } else { Error::os(what(), error) })?;
        if self.inode.is_some_and(|ours| ours != inode) {
            return Err(Error::gone(what()));
        }
        Ok(value(&text, self.key.as_deref()))
    }

    /// Writes into the file, in one write(2), as such files want it.
    pub(crate) fn write(&self, text: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(&self.file)?.write_all(text.as_bytes())
    }

    pub(super) fn undo(&self) -> Outcome {
        let current = match self.current() {
            Ok(current) => current,
            Err(Error { kind: ErrorKind::TargetGone, .. }) => return Outcome::TargetGone,
            Err(error) => return Outcome::failed(error),
        };
        if current == self.prior {
            return Outcome::Recovered;
        }
        if current != self.ours {
            return Outcome::Foreign { found: current };
        }
        match self.write(&self.prior_text).map_err(|error| Error::os("write", error)).and_then(|()| self.current()) {
            Ok(now) if now == self.prior => Outcome::Recovered,
            Ok(now) => Outcome::failed(Error::unlike(format!("restore {}", self.file.display()), &self.prior, now)),
            Err(Error { kind: ErrorKind::TargetGone, .. }) => Outcome::TargetGone,
            Err(error) => Outcome::failed(format!("{}: {error}", self.file.display())),
        }
    }

    /// This one, which was applied over an `earlier` one that ends before it: it now restores what was before both.
    pub(super) fn inherit(&self, earlier: &Self) -> Option<Self> {
        let is_over = self.file == earlier.file && self.key == earlier.key && self.inode == earlier.inode;
        (is_over && self.process == earlier.process && self.prior == earlier.ours).then(|| Self {
            prior: earlier.prior.clone(),
            prior_text: earlier.prior_text.clone(),
            ..self.clone()
        })
    }
}

fn read(file: &Path) -> io::Result<(String, u64)> {
    let mut file = std::fs::File::open(file)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, file.metadata()?.ino()))
}

/// ENODEV: the file was opened, and its cgroup removed since (kernfs).
fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::NODEV, Errno::SRCH].map(|errno| Some(errno.raw_os_error()));
    gone.contains(&error.raw_os_error())
}

/// The whole text, or what follows the key on its line; empty if there is no such line.
fn value(text: &str, key: Option<&str>) -> String {
    let Some(key) = key else {
        // freezer.state while not all of a group have stopped (cgroup-v1/freezer-subsystem.rst): as it was asked for.
        return if text.trim() == "FREEZING" { "FROZEN".to_owned() } else { text.trim().to_owned() };
    };
    let rest = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    rest.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("restore-{}-{name}", std::process::id()));
            fs::write(&path, text).expect("a file");
            Self(path)
        }

        /// As the kernel's files: what is written replaces the whole value.
        fn write(&self, text: &str) {
            fs::write(&self.0, text).expect("written");
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_value_is_restored_only_while_it_is_ours() {
        let file = Scratch::new("ours", "max\n");
        let restore = Restore::remember(&file.0, None, "7", "").expect("a value");
        assert_eq!(restore.undo(), Outcome::Recovered, "it never was changed");
        file.write("9\n");
        assert_eq!(restore.undo(), Outcome::Foreign { found: "9".to_owned() });
        assert_eq!(fs::read_to_string(&file.0).expect("a value"), "9\n", "left alone");
        file.write("7\n");
        // A genuine file keeps what is not overwritten; the kernel's do not: so the text here is as long.
        assert_eq!(Restore { prior_text: "max".to_owned(), ..restore.clone() }.undo(), Outcome::Recovered);
        fs::remove_file(&file.0).expect("removed");
        assert_eq!(restore.undo(), Outcome::TargetGone);
    }

    #[test]
    fn another_file_under_the_old_name_is_left_alone() {
        let file = Scratch::new("again", "max\n");
        let restore = Restore::remember(&file.0, None, "7", "").expect("a value");
        let other = Scratch::new("other", "7\n");
        fs::rename(&other.0, &file.0).expect("renamed");
        assert_eq!(restore.undo(), Outcome::TargetGone);
    }

    #[test]
    fn a_line_among_several_is_found_by_its_first_word() {
        let text = "8:0 100\n8:16 rbps=1 wbps=max\n";
        assert_eq!(value(text, Some("8:0")), "100");
        assert_eq!(value(text, Some("8:16")), "rbps=1 wbps=max");
        assert_eq!(value(text, Some("8:1")), "");
    }

    #[test]
    fn of_two_one_over_the_other_the_later_inherits_what_was_before_both() {
        let file = Scratch::new("two", "max\n");
        let first = Restore::remember(&file.0, None, "7", "").expect("a value");
        file.write("7\n");
        let second = Restore::remember(&file.0, None, "5", "").expect("a value");
        assert_eq!(second.inherit(&first).map(|restore| restore.prior), Some("max".to_owned()));
        assert_eq!(first.inherit(&second), None);
    }
}
