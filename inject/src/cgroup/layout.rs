//! Which hierarchies there are, and where a process is in each: proc_pid_mountinfo(5), cgroups(7) on
//! `/proc/PID/cgroup`.

use crate::error::Result;
use crate::process::proc;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A controller that faults use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Bandwidth of processors.
    Cpu,
    /// Memory.
    Memory,
    /// Number of tasks.
    Pids,
    /// Bandwidth of block devices.
    Io,
    /// Standing still. In version 2 each group can, without a controller.
    Freezer,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Memory, Self::Pids, Self::Io, Self::Freezer];

    /// What the kernel calls it.
    pub fn name(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Cpu, _) => "cpu",
            (Self::Memory, _) => "memory",
            (Self::Pids, _) => "pids",
            (Self::Io, Version::One) => "blkio",
            (Self::Io, Version::Two) => "io",
            (Self::Freezer, _) => "freezer",
        }
    }
}

/// Of cgroups, which look quite different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for each controller, or for several.
    One,
    /// One hierarchy, in which each group says which controllers those below it have.
    Two,
}

/// A hierarchy that is mounted, and where the process is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Of which version.
    pub version: Version,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The directory of the process's own group.
    pub own: PathBuf,
    /// What it controls, in version 1. In version 2 each group says so itself.
    pub controllers: Vec<String>,
}

/// All hierarchies that a process can see itself in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// In the order in which they were mounted.
    pub hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// Where a process is, as far as it is in what is mounted here.
    ///
    /// # Errors
    /// The process has ended.
    pub fn of(pid: u32) -> Result<Self> {
        let mounts = proc::read(std::process::id(), "mountinfo")?;
        Ok(Self::parse(&mounts, &proc::read(pid, "cgroup")?))
    }

    /// Reads the texts of `/proc/PID/mountinfo` and `/proc/PID/cgroup`.
    pub fn parse(mountinfo: &str, cgroup: &str) -> Self {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            let is_known = |known: &Hierarchy| known.version == mount.version && known.controllers == mount.controllers;
            if hierarchies.iter().any(is_known) {
                continue; // the same hierarchy, mounted once more
            }
            let Some(path) = cgroup.lines().find_map(|line| mount.path_in(line)) else { continue };
            // The mount may show a part only, from its root on. A process outside of it cannot be found here.
            let Ok(below) = Path::new(&path).strip_prefix(&mount.root) else { continue };
            let own = mount.point.join(below);
            let Mount { version, point, controllers, .. } = mount;
            hierarchies.push(Hierarchy { version, mount: point, own, controllers });
        }
        Self { hierarchies }
    }

    /// The hierarchy in which this is controlled: in version 1 where it is mounted, else version 2 if it has it at its
    /// root.
    pub fn controlling(&self, controller: Controller) -> Option<&Hierarchy> {
        let name = controller.name(Version::One);
        let one = self.hierarchies.iter().find(|hierarchy| hierarchy.controllers.iter().any(|found| found == name));
        let two = || self.two().filter(|two| super::lend::has(&two.mount, controller));
        // Freezing is better in version 2: what is frozen there can still be killed.
        if controller == Controller::Freezer { two().or(one) } else { one.or_else(two) }
    }

    /// The hierarchy of version 2.
    pub fn two(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::Two)
    }

    /// The directory in which a controller is, for a group that is known by its directory in any hierarchy. Some set up
    /// version 1 with the same path everywhere; where they do not, there is none.
    pub fn sibling(&self, directory: &Path, controller: Controller) -> Option<PathBuf> {
        let wanted = self.controlling(controller)?;
        // The longest: the root of the one may be mounted inside another.
        let holds = |hierarchy: &&Hierarchy| directory.starts_with(&hierarchy.mount);
        let from = self.hierarchies.iter().filter(holds).max_by_key(|hierarchy| hierarchy.mount.as_os_str().len())?;
        let found = wanted.mount.join(directory.strip_prefix(&from.mount).ok()?);
        found.is_dir().then_some(found)
    }
}

/// A line of mountinfo that is about cgroups.
struct Mount {
    version: Version,
    root: PathBuf,
    point: PathBuf,
    controllers: Vec<String>,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (mount, kind) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (unescape(mount.next()?), unescape(mount.next()?));
        let mut kind = kind.split(' ');
        let version = match kind.next()? {
            "cgroup" => Version::One,
            "cgroup2" => Version::Two,
            _ => return None,
        };
        // The options of the hierarchy: `rw`, what it controls, `name=…`, and a few words more.
        let options = kind.nth(1)?.split(',').filter(|&option| option != "rw" && option != "ro");
        let controllers = if version == Version::One { options.map(str::to_owned).collect() } else { Vec::new() };
        Some(Self { version, root, point, controllers })
    }

    /// Where the process is, if this line of `/proc/PID/cgroup` is about this hierarchy: `4:memory:/a/b`, `0::/a/b`.
    fn path_in(&self, line: &str) -> Option<String> {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let mut listed = controllers.split(',');
        let is_this = match self.version {
            Version::Two => controllers.is_empty(),
            Version::One => listed.all(|one| self.controllers.iter().any(|found| found == one)),
        };
        is_this.then(|| path.to_owned())
    }
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(|octal| std::str::from_utf8(octal).ok());
        match octal.and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/1 /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/with\\040space rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn a_process_is_found_in_each_hierarchy() {
        let cgroup = "4:memory:/docker/1/job\n3:name=systemd:/s\n1:cpu,cpuacct:/c\n0::/a:b\n";
        let layout = Layout::parse(HYBRID, cgroup);
        let own = |controller| layout.controlling(controller).map(|found| found.own.clone());
        assert_eq!(own(Controller::Cpu), Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/c")));
        assert_eq!(own(Controller::Memory), Some(PathBuf::from("/sys/fs/cgroup/memory/job")));
        assert_eq!(own(Controller::Io), None);
        assert_eq!(layout.two().map(|two| two.own.clone()), Some(PathBuf::from("/sys/fs/cgroup/with space/a:b")));
    }

    #[test]
    fn a_process_outside_of_what_is_mounted_is_not_found() {
        let layout = Layout::parse(HYBRID, "4:memory:/other\n");
        assert_eq!(layout.controlling(Controller::Memory), None);
    }
}
