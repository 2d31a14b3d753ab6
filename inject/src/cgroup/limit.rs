//! A limit of a group, as a fault.

use super::group::{Group, set};
use super::layout::{Controller, Version};
use super::{v1, v2};
use crate::error::{Error, ErrorKind, Result};
use crate::injection::Injection;
use crate::journal::{Change, Restore};
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A limit for all processes of a group together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// Memory, page cache included, without swap. Rounded down to whole pages, as the kernel does.
    Memory {
        /// How much.
        bytes: u64,
    },
    /// Processes and threads.
    Tasks {
        /// How many.
        count: u64,
    },
    /// Time on processors.
    Processors {
        /// How much time on all processors together…
        quota_us: u64,
        /// …in each period of this length, at most a second (`MAX_BW_PERIOD`).
        period_us: u64,
    },
    /// Throughput of a block device.
    Io {
        /// Which: of a file's device number, see [`Device::below`].
        device: Device,
        /// What is limited, and to what.
        rates: Rates,
    },
}

/// What is limited of a block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes read each second.
    pub read_bytes_per_s: Option<u64>,
    /// Bytes written each second.
    pub write_bytes_per_s: Option<u64>,
    /// Reads each second.
    pub read_calls_per_s: Option<u64>,
    /// Writes each second.
    pub write_calls_per_s: Option<u64>,
}

/// A block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl Device {
    /// The whole device on which this file is. A partition cannot be throttled, only what it is on.
    ///
    /// # Errors
    /// It is on no block device (tmpfs, overlay, a network): what is lacking, and the remedy.
    pub fn below(path: &Path) -> Result<Self> {
        let what = || format!("find the device below {}", path.display());
        let number = fs::metadata(path).map_err(|error| Error::os(what(), error))?.dev();
        let device = Self { major: rustix::fs::major(number), minor: rustix::fs::minor(number) };
        let in_sys = fs::canonicalize(format!("/sys/dev/block/{device}")).map_err(|_| {
            let remedy = "use a file on a disk; for others, slow the calls down instead";
            Error::lacking(what(), format!("its device {device} is no block device"), remedy)
        })?;
        if !in_sys.join("partition").exists() {
            return Ok(device);
        }
        let whole = in_sys.parent().and_then(|whole| fs::read_to_string(whole.join("dev")).ok());
        whole.and_then(|text| Self::parse(text.trim())).ok_or_else(|| Error::gone(what()))
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once(':')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl Display for Device {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// What to write into one of a group's files.
#[derive(Debug)]
pub(super) struct Value {
    pub file: &'static str,
    pub key: Option<String>,
    pub text: String,
    /// How it reads then, without its key.
    pub reads: String,
    /// What to write so that a line with this key is gone.
    pub absent: String,
}

impl Value {
    pub(super) fn plain(file: &'static str, value: impl Display) -> Self {
        let text = value.to_string();
        Self { file, key: None, reads: text.clone(), text, absent: String::new() }
    }
}

/// Where a number stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counter {
    /// The whole file.
    Whole(&'static str),
    /// On the line that begins with this word.
    Line(&'static str, &'static str),
    /// The sum of all reads and writes on lines of this device: `8:0 Read 3`, `8:0 rbytes=1 rios=3 wios=4 …`.
    Device(&'static str, Device),
}

impl Counter {
    pub(super) fn read(self, directory: &Path) -> Result<u64> {
        let (Self::Whole(file) | Self::Line(file, _) | Self::Device(file, _)) = self;
        let path = directory.join(file);
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::gone(format!("read {}", path.display())),
            _ => Error::os(format!("read {}", path.display()), error),
        })?;
        Ok(self.parse(&text))
    }

    fn parse(self, text: &str) -> u64 {
        let number = |word: &str| word.trim().parse().unwrap_or(0);
        match self {
            Self::Whole(_) => number(text),
            Self::Line(_, word) => {
                let rest = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
                rest.map_or(0, number)
            }
            Self::Device(_, device) => {
                let key = format!("{device} ");
                let lines = text.lines().filter_map(|line| line.strip_prefix(key.as_str()));
                let of = |line: &str| -> u64 {
                    let plain = ["Read ", "Write "].into_iter().find_map(|kind| line.strip_prefix(kind));
                    let calls = line
                        .split(' ')
                        .filter_map(|word| ["rios=", "wios="].into_iter().find_map(|kind| word.strip_prefix(kind)));
                    plain.map_or_else(|| calls.map(number).sum(), number)
                };
                lines.map(of).sum()
            }
        }
    }
}

/// A limit that is in force.
#[derive(Debug)]
pub struct Limited {
    mechanism: &'static str,
    directory: PathBuf,
    settings: Vec<(Restore, Change)>,
    counter: Counter,
    /// What the counter said before.
    before: u64,
}

impl Limited {
    /// Sets a limit for a group.
    ///
    /// # Errors
    /// The group lacks the controller, this user may not, or what is in force is something else: version 1 answers
    /// EBUSY to a memory limit below what is used and cannot be reclaimed.
    pub fn apply(group: &Group, limit: &Limit) -> Result<Self> {
        let limit = &rounded(limit);
        let (version, directory) = group.directory(controller(limit))?;
        let counter = if version == Version::One { v1::counter(limit) } else { v2::counter(limit) };
        let values = if version == Version::One { v1::values(directory, limit) } else { v2::values(directory, limit) };
        let before = counter.read(directory)?;
        let mut settings = Vec::new();
        for value in values {
            let file = directory.join(value.file);
            let restore = Restore::remember(&file, value.key.as_deref(), &value.reads, &value.absent);
            let restore =
                restore.map_err(|error| Error { what: format!("limit a group ({})", error.what), ..error })?;
            let change = match set(group.journal(), restore.clone(), &value.text) {
                Ok(change) => change,
                Err(error) => {
                    take_back(&mut settings)?;
                    return Err(error);
                }
            };
            settings.push((restore, change));
        }
        Ok(Self { mechanism: mechanism(version, limit), directory: directory.to_owned(), settings, counter, before })
    }
}

impl Injection for Limited {
    fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    fn read_back(&mut self) -> Result<()> {
        for (restore, change) in &self.settings {
            let now = restore.current()?;
            if now != restore.ours || change.is_undone() {
                return Err(Error::unlike(format!("keep {}", restore.file.display()), &restore.ours, now));
            }
        }
        Ok(())
    }

    fn bit(&mut self) -> Result<u64> {
        Ok(self.counter.read(&self.directory)?.saturating_sub(self.before))
    }

    fn heal(&mut self) -> Result<()> {
        take_back(&mut self.settings)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.heal();
    }
}

/// Undoes what was set, the last first. Those that are undone stay in the list: they are what is read back.
fn take_back(settings: &mut [(Restore, Change)]) -> Result<()> {
    for (_, change) in settings.iter_mut().rev() {
        change.undo()?;
    }
    Ok(())
}

/// The kernel keeps memory limits in pages, rounded down (`page_counter_memparse`).
fn rounded(limit: &Limit) -> Limit {
    match limit {
        Limit::Memory { bytes } => {
            let page = rustix::param::page_size() as u64;
            Limit::Memory { bytes: bytes / page * page }
        }
        other => other.clone(),
    }
}

fn controller(limit: &Limit) -> Controller {
    match limit {
        Limit::Memory { .. } => Controller::Memory,
        Limit::Tasks { .. } => Controller::Pids,
        Limit::Processors { .. } => Controller::Cpu,
        Limit::Io { .. } => Controller::Io,
    }
}

fn mechanism(version: Version, limit: &Limit) -> &'static str {
    match (version, limit) {
        (Version::One, Limit::Memory { .. }) => "cgroup v1 memory.limit_in_bytes",
        (Version::One, Limit::Tasks { .. }) => "cgroup v1 pids.max",
        (Version::One, Limit::Processors { .. }) => "cgroup v1 cpu.cfs_quota_us",
        (Version::One, Limit::Io { .. }) => "cgroup v1 blkio.throttle",
        (Version::Two, Limit::Memory { .. }) => "cgroup v2 memory.max",
        (Version::Two, Limit::Tasks { .. }) => "cgroup v2 pids.max",
        (Version::Two, Limit::Processors { .. }) => "cgroup v2 cpu.max",
        (Version::Two, Limit::Io { .. }) => "cgroup v2 io.max",
    }
}

/// How much a group uses, in all, and how often it was struck.
impl Group {
    /// Memory that is charged to it, page cache included.
    ///
    /// # Errors
    /// It lacks the controller, or is gone.
    pub fn memory_used_bytes(&self) -> Result<u64> {
        self.count(Controller::Memory, v1::MEMORY_USED, v2::MEMORY_USED)
    }

    /// Processes and threads in it.
    ///
    /// # Errors
    /// It lacks the controller, or is gone.
    pub fn tasks_used(&self) -> Result<u64> {
        self.count(Controller::Pids, v1::TASKS_USED, v2::TASKS_USED)
    }

    /// Processes that the kernel has killed in it for want of memory.
    ///
    /// # Errors
    /// It lacks the controller, or is gone.
    pub fn oom_kills(&self) -> Result<u64> {
        self.count(Controller::Memory, v1::OOM_KILLS, v2::OOM_KILLS)
    }

    fn count(&self, controller: Controller, one: Counter, two: Counter) -> Result<u64> {
        let (version, directory) = self.directory(controller)?;
        if version == Version::One { one.read(directory) } else { two.read(directory) }
    }
}

/// Whether this is version 1's way to refuse a memory limit below what is used.
pub(crate) fn is_below_use(error: &Error) -> bool {
    let busy = Some(rustix::io::Errno::BUSY.raw_os_error());
    matches!(&error.kind, ErrorKind::Os(error) if error.raw_os_error() == busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_in_both_versions_forms() {
        let counter = Counter::Device("", Device { major: 8, minor: 0 });
        assert_eq!(counter.parse("8:0 Read 3\n8:0 Write 4\n8:0 Sync 7\n8:0 Total 7\n8:16 Read 9\nTotal 16\n"), 7);
        assert_eq!(counter.parse("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=5\n"), 7);
        assert_eq!(Counter::Line("", "oom_kill").parse("oom_kill_disable 1\nunder_oom 0\noom_kill 2\n"), 2);
    }

    #[test]
    fn a_file_without_a_device_is_refused_with_a_remedy() {
        let error = Device::below(Path::new("/proc/self/stat")).expect_err("no block device");
        assert!(matches!(error.kind, ErrorKind::Lacking { .. }), "{error}");
    }
}
