//! A disk that is slow: so many bytes or operations per second between a cgroup and a block device.
//!
//! Version 1 (`blkio.throttle.*`, <https://docs.kernel.org/admin-guide/cgroup-v1/blkio-controller.html>) slows direct
//! and synced I/O and what is read; what the kernel writes back by itself later is nobody's there. Version 2 (`io.max`,
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>) counts writeback as well where the file system helps (ext4).

use super::store::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::{Injection, Target};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// How much may pass in a second. What is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoLimits {
    /// Bytes read per second.
    pub read_bytes: Option<u64>,
    /// Bytes written per second.
    pub write_bytes: Option<u64>,
    /// Reads per second.
    pub reads: Option<u64>,
    /// Writes per second.
    pub writes: Option<u64>,
}

/// Limits on what a cgroup's processes read from and write to a device.
///
/// Like everything in a cgroup it outlives its maker; it is gone with the cgroup.
#[derive(Debug)]
pub struct IoThrottle {
    cgroup: PathBuf,
    version: Version,
    device: Device,
    settings: Vec<Setting>,
    passed_before: u64,
    healed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// One number of the kernel's.
#[derive(Debug, Clone, Copy)]
struct Setting {
    knob: Knob,
    /// `None` is no limit.
    before: Option<u64>,
    wanted: u64,
}

/// What a number is called in either version.
#[derive(Debug, Clone, Copy)]
struct Knob {
    file_v1: &'static str,
    key_v2: &'static str,
}

const READ_BYTES: Knob = Knob { file_v1: "blkio.throttle.read_bps_device", key_v2: "rbps" };
const WRITE_BYTES: Knob = Knob { file_v1: "blkio.throttle.write_bps_device", key_v2: "wbps" };
const READS: Knob = Knob { file_v1: "blkio.throttle.read_iops_device", key_v2: "riops" };
const WRITES: Knob = Knob { file_v1: "blkio.throttle.write_iops_device", key_v2: "wiops" };

impl Device {
    /// The disk beneath a file, as cgroups want it: of a partition, the whole disk.
    ///
    /// # Errors
    /// There is no block device beneath: memory, an overlay, the network, or btrfs, which does not say.
    pub fn beneath(path: &Path) -> Result<Self> {
        let failed = |error| Error::os(format!("find the disk beneath {}", path.display()), error);
        let device = std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).map_err(failed)?);
        let this = Self { major: rustix::fs::major(device), minor: rustix::fs::minor(device) };
        if this.major == 0 {
            return Err(Error::lacking(
                "slow down a disk",
                format!("there is no block device beneath {}", path.display()),
                "take a host's own disk of ext4, or a path on a disk",
            ));
        }
        let entry = PathBuf::from(format!("/sys/dev/block/{this}"));
        if !entry.join("partition").exists() {
            return Ok(this);
        }
        // A partition's directory stands in that of its disk.
        let disk =
            fs::canonicalize(entry).and_then(|entry| fs::read_to_string(entry.join("../dev"))).map_err(failed)?;
        Self::parse(disk.trim()).ok_or_else(|| Error::unlike("find a disk's number", "major:minor", disk))
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

impl IoThrottle {
    /// Limits what passes between a cgroup and a device. `device` is `None` for a disk without one.
    ///
    /// # Errors
    /// There is no device; the target is no cgroup, or one without this controller, or one that this process may not
    /// change.
    pub fn apply(target: &Target, device: Option<Device>, limits: IoLimits) -> Result<Self> {
        let lacking = |missing: String, remedy: &str| Error::lacking("slow down a disk", missing, remedy);
        let cgroup = target.cgroup().ok_or_else(|| {
            lacking("the target is no cgroup".into(), "put the processes into one (needs root, or delegation)")
        })?;
        let device = device.ok_or_else(|| {
            lacking("the disk is memory, without a block device".into(), "make it of ext4, which needs root")
        })?;
        let version = if cgroup.join(READ_BYTES.file_v1).exists() {
            Version::One
        } else if cgroup.join("io.max").exists() {
            Version::Two
        } else {
            let missing = format!("{} has neither blkio.throttle nor io.max", cgroup.display());
            return Err(lacking(missing, "enable the io controller: echo +io > cgroup.subtree_control in its parent"));
        };
        let mut throttle = Self {
            cgroup: cgroup.to_path_buf(),
            version,
            device,
            settings: Vec::new(),
            passed_before: 0,
            healed: false,
        };
        throttle.passed_before = throttle.passed()?;
        let wanted = [
            (READ_BYTES, limits.read_bytes),
            (WRITE_BYTES, limits.write_bytes),
            (READS, limits.reads),
            (WRITES, limits.writes),
        ];
        for (knob, wanted) in wanted {
            let Some(wanted) = wanted else { continue };
            let before = throttle.read(knob)?;
            // Noted before it is done, so that it is undone if the next one fails.
            throttle.settings.push(Setting { knob, before, wanted });
            throttle.write(knob, Some(wanted))?;
        }
        throttle.read_back()?;
        Ok(throttle)
    }

    fn file(&self, knob: Knob) -> PathBuf {
        self.cgroup.join(match self.version {
            Version::One => knob.file_v1,
            Version::Two => "io.max",
        })
    }

    /// The limit in force. `None` is none.
    fn read(&self, knob: Knob) -> Result<Option<u64>> {
        let text = self.text(&self.file(knob))?;
        Ok(match self.version {
            Version::One => line_of(&text, self.device).next().and_then(|value| value.parse().ok()),
            Version::Two => value_of(&text, self.device, knob.key_v2),
        })
    }

    fn write(&self, knob: Knob, limit: Option<u64>) -> Result<()> {
        let device = self.device;
        let line = match (self.version, limit) {
            (Version::One, limit) => format!("{device} {}", limit.unwrap_or(0)),
            (Version::Two, Some(limit)) => format!("{device} {}={limit}", knob.key_v2),
            (Version::Two, None) => format!("{device} {}=max", knob.key_v2),
        };
        let file = self.file(knob);
        fs::write(&file, &line).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::gone(format!("limit I/O in {}", self.cgroup.display())),
            io::ErrorKind::PermissionDenied => Error::lacking(
                "slow down a disk",
                format!("{} may not be written ({error})", file.display()),
                "run as root, or have the cgroup delegated to this user",
            ),
            _ => Error::os(format!("write {line:?} to {}", file.display()), error),
        })
    }

    fn text(&self, file: &Path) -> Result<String> {
        fs::read_to_string(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::gone(format!("read {}", file.display())),
            _ => Error::os(format!("read {}", file.display()), error),
        })
    }

    /// Operations that passed between cgroup and device, ever.
    fn passed(&self) -> Result<u64> {
        Ok(match self.version {
            Version::One => {
                let text = self.text(&self.cgroup.join("blkio.throttle.io_serviced"))?;
                let prefix = format!("{} Total ", self.device);
                text.lines().filter_map(|line| line.strip_prefix(&prefix)?.trim().parse::<u64>().ok()).sum()
            }
            Version::Two => {
                let text = self.text(&self.cgroup.join("io.stat"))?;
                ["rios", "wios"].into_iter().filter_map(|key| value_of(&text, self.device, key)).sum()
            }
        })
    }
}

/// The words that follow the device's number in its line.
fn line_of(text: &str, device: Device) -> impl Iterator<Item = &str> {
    let mut lines = text.lines().map(str::split_whitespace);
    let line = lines.find_map(|mut words| (words.next().and_then(Device::parse) == Some(device)).then_some(words));
    line.into_iter().flatten()
}

/// A number in a line of the form `7:0 key=value key=value`. `None` if it is `max`, or not there.
fn value_of(text: &str, device: Device, key: &str) -> Option<u64> {
    line_of(text, device).find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}

impl Injection for IoThrottle {
    fn mechanism(&self) -> &'static str {
        match self.version {
            Version::One => "cgroup v1 blkio.throttle",
            Version::Two => "cgroup v2 io.max",
        }
    }

    fn read_back(&mut self) -> Result<()> {
        for setting in &self.settings {
            let found = self.read(setting.knob)?;
            if found != Some(setting.wanted) {
                let (file, found) =
                    (self.file(setting.knob), found.map_or("no limit".into(), |found| found.to_string()));
                return Err(Error::unlike(
                    format!("limit I/O in {}", file.display()),
                    setting.wanted.to_string(),
                    found,
                ));
            }
        }
        Ok(())
    }

    /// Operations that went through the limit since it was applied, whether they had to wait or not: the kernel does
    /// not count waits.
    fn bit(&mut self) -> Result<u64> {
        Ok(self.passed()?.saturating_sub(self.passed_before))
    }

    /// A limit that somebody has changed since is theirs, and stays.
    fn heal(&mut self) -> Result<()> {
        if self.healed {
            return Ok(());
        }
        for setting in self.settings.iter().rev() {
            let restored = self.read(setting.knob).and_then(|now| match now {
                Some(limit) if limit == setting.wanted => self.write(setting.knob, setting.before),
                _ => Ok(()),
            });
            match restored {
                Err(Error { kind: ErrorKind::TargetGone, .. }) => break,
                restored => restored?,
            }
        }
        self.healed = true;
        Ok(())
    }
}

impl Drop for IoThrottle {
    fn drop(&mut self) {
        let _ = self.heal(); // Nobody to tell.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOP: Device = Device { major: 7, minor: 1 };

    /// A directory that looks like a cgroup of version 2, as the documentation shows its files. Unlike the kernel's, a
    /// file keeps what was written last, so each test writes one limit.
    fn version_two(io_max: &str) -> (tempfile::TempDir, Target) {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("io.max"), io_max).expect("io.max");
        fs::write(directory.path().join("io.stat"), "7:1 rbytes=4096 wbytes=0 rios=1 wios=2 dbytes=0 dios=0\n")
            .expect("io.stat");
        let target = Target::Cgroup(directory.path().to_path_buf());
        (directory, target)
    }

    #[test]
    fn version_two_is_written_read_back_and_restored() {
        let (directory, target) =
            version_two("8:0 rbps=1 wbps=max riops=max wiops=max\n7:1 rbps=max wbps=500 riops=max wiops=max\n");
        let limits = IoLimits { write_bytes: Some(1000), ..IoLimits::default() };
        let mut throttle = IoThrottle::apply(&target, Some(LOOP), limits).expect("a limit");
        assert_eq!(throttle.mechanism(), "cgroup v2 io.max");
        assert_eq!(fs::read_to_string(directory.path().join("io.max")).expect("io.max"), "7:1 wbps=1000");
        throttle.heal().expect("healed");
        assert_eq!(fs::read_to_string(directory.path().join("io.max")).expect("io.max"), "7:1 wbps=500");
    }

    #[test]
    fn what_somebody_else_has_set_meanwhile_is_reported_and_stays() {
        let (directory, target) = version_two("");
        let limits = IoLimits { reads: Some(10), ..IoLimits::default() };
        let mut throttle = IoThrottle::apply(&target, Some(LOOP), limits).expect("a limit");
        fs::write(directory.path().join("io.max"), "7:1 riops=77").expect("another's limit");
        let report = throttle.read_back().expect_err("it is another's");
        assert!(report.to_string().ends_with("asked for 10, the kernel says 77"), "{report}");
        throttle.heal().expect("nothing to do");
        assert_eq!(fs::read_to_string(directory.path().join("io.max")).expect("io.max"), "7:1 riops=77");
    }

    #[test]
    fn operations_are_counted_from_the_beginning_of_the_fault() {
        let (directory, target) = version_two("");
        let limits = IoLimits { reads: Some(10), ..IoLimits::default() };
        let mut throttle = IoThrottle::apply(&target, Some(LOOP), limits).expect("a limit");
        assert_eq!(throttle.bit().expect("a count"), 0);
        fs::write(directory.path().join("io.stat"), "7:1 rbytes=0 wbytes=0 rios=6 wios=2\n").expect("io.stat");
        assert_eq!(throttle.bit().expect("a count"), 5);
    }

    #[test]
    fn what_is_lacking_is_said() {
        let nowhere = Target::Cgroup("/nonexistent".into());
        let error = IoThrottle::apply(&nowhere, None, IoLimits::default()).expect_err("no device");
        assert!(error.to_string().contains("without a block device"), "{error}");
        let error = IoThrottle::apply(&nowhere, Some(LOOP), IoLimits::default()).expect_err("no cgroup");
        assert!(error.to_string().contains("neither blkio.throttle nor io.max"), "{error}");
    }

    #[test]
    fn a_file_system_of_memory_has_no_device() {
        let error = Device::beneath(Path::new("/proc")).expect_err("no device");
        assert!(matches!(error.kind, ErrorKind::Lacking { .. }), "{error}");
    }
}
