//! What a sandbox looks like: everything that a test could leave.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use windtunnel_inject::process::proc::{self, Stat};
use windtunnel_inject::snapshot::{Part, Snapshot};

/// How long what was killed may take to end, and who undoes what it left to do so.
pub const GONE_WITHIN: Duration = Duration::from_secs(5);

const PARTS: [Part; 6] =
    [Part::Nftables, Part::Network, Part::Mounts, Part::Cgroups, Part::Processes, Part::Namespaces];

/// A look at the sandbox.
pub struct Look {
    snapshot: Snapshot,
    more: BTreeSet<String>,
}

impl Look {
    pub fn take() -> Self {
        let own = own_groups();
        // Groups of others on this machine are not the sandbox's.
        let is_ours = |part, line: &str| part != Part::Cgroups || own.iter().any(|own| line.starts_with(own));
        Self { snapshot: Snapshot::of(&PARTS).only(is_ours), more: processes().into_iter().chain(files()).collect() }
    }

    /// What is there now and was not before, and the reverse; empty if all is as it was.
    pub fn diff(&self, before: &Self) -> String {
        let mut text = self.snapshot.diff(&before.snapshot);
        let lines = |lines: &BTreeSet<String>, others: &BTreeSet<String>, sign: &str| -> String {
            lines.difference(others).map(|line| format!("{sign} {line}\n")).collect()
        };
        text += &lines(&self.more, &before.more, "+");
        text + &lines(&before.more, &self.more, "-")
    }
}

/// Waits until all is as it was before. How long that took, or what is still otherwise.
pub fn is_as_before(before: &Look) -> Result<Duration, String> {
    let since = Instant::now();
    loop {
        let diff = Look::take().diff(before);
        if diff.is_empty() {
            return Ok(since.elapsed());
        }
        if since.elapsed() > GONE_WITHIN {
            return Err(diff);
        }
        reap();
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for orphans, which are this first process's children.
pub fn reap() -> Vec<(u32, windtunnel_inject::sys::End)> {
    std::iter::from_fn(|| windtunnel_inject::sys::wait_any(false).ok().flatten()).collect()
}

/// Where the sandbox's group is.
pub fn own_groups() -> Vec<String> {
    let layout = windtunnel_inject::cgroup::Layout::of(std::process::id()).expect("this process is in groups");
    // In version 2 this process is in a group below it, and its name says more.
    let is_sandbox = |group: &&Path| {
        let name = group.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        name.split('+').next().is_some_and(|name| name.ends_with("-sandbox"))
    };
    let groups = layout.hierarchies.iter().filter_map(|hierarchy| hierarchy.own.ancestors().find(is_sandbox));
    groups.map(|group| group.display().to_string()).collect()
}

/// Everybody but this process. Who has ended does nothing any more.
fn processes() -> Vec<String> {
    let line = |pid: u32| {
        let stat = Stat::of(pid).ok().filter(|stat| !stat.has_ended())?;
        let name = proc::read(pid, "comm").ok()?;
        // Where one that is stopped stands: the number of its system call, and what it was asked.
        let call = if stat.state == 'T' { proc::read(pid, "syscall").unwrap_or_default() } else { String::new() };
        Some(format!("process {} ({}), child of {} {}", name.trim(), stat.state, stat.parent, call.trim()))
    };
    proc::all().into_iter().filter(|&pid| pid != std::process::id()).filter_map(line).collect()
}

/// Files where journals and temporary files are. Where journals are may be made, and stays.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    for place in ["/run", "/tmp"] {
        below(Path::new(place), &mut found);
    }
    found
}

fn below(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !(is_directory && entry.file_name().to_string_lossy().starts_with("windtunnel")) {
            found.push(format!("file {}", entry.path().display()));
        }
        below(&entry.path(), found);
    }
}

/// Loop devices that are bound to what had a name no more, each by what nobody else is given again: its number among
/// all disks (`diskseq`, Linux 5.15). Those of other sandboxes are among them.
pub fn loops() -> BTreeSet<String> {
    let line = |entry: fs::DirEntry| {
        let file = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        let number = fs::read_to_string(entry.path().join("diskseq")).unwrap_or_default();
        Some(format!("{} of {}, disk {}", entry.file_name().to_string_lossy(), file.trim(), number.trim()))
    };
    fs::read_dir("/sys/block").into_iter().flatten().flatten().filter_map(line).collect()
}

#[test]
fn whatever_a_test_could_leave_is_seen() {
    use windtunnel_inject::sys::{Forked, end_now, fork};
    crate::sandbox::in_sandbox(|| {
        let empty = Snapshot::of(&[]);
        let all = empty.diff(&Look::take().snapshot);
        for (what, line) in [
            ("a foreign table", "- Nftables: table"),
            ("its set", "- Nftables: set"),
            ("its set's elements", "- Nftables: element"),
            ("its rule", "- Nftables: rule"),
            ("a foreign queueing discipline", "=tbf"),
            ("a foreign mount", " / /mnt rw"),
        ] {
            if !all.contains(line) && !all.contains("cannot look") {
                return Err(format!("{what} is not seen in:\n{all}"));
            }
        }
        let before = Look::take();
        let Forked::Parent(pid) = fork().expect("a process") else {
            let _ = rustix::thread::set_name(c"somebody");
            windtunnel_inject::namespace::leave_for_new(rustix::thread::UnshareFlags::NEWNET).expect("a network");
            fs::write("/run/windtunnel-left", "").expect("a file");
            std::thread::sleep(Duration::from_secs(60));
            end_now(0)
        };
        let since = Instant::now();
        let seen = |diff: &str| {
            ["process somebody", "Namespaces: net:", "file /run/windtunnel-left"].iter().all(|part| diff.contains(part))
        };
        while !seen(&Look::take().diff(&before)) {
            if since.elapsed() > GONE_WITHIN {
                return Err(format!("something is not seen in:\n{}", Look::take().diff(&before)));
            }
        }
        crate::run::signal(pid, rustix::process::Signal::KILL);
        reap();
        fs::remove_file("/run/windtunnel-left").expect("it is there");
        is_as_before(&before)?;
        Ok(String::new())
    });
}
