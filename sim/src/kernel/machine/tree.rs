//! The made-up part of the tree: every path in it, in one sorted table.
//!
//! `[pid]` stands for the process's own id, `[tid]` for one of its threads: no other process is to be seen. A directory
//! is whatever paths here have in front of a slash. Under [`CLOSED`] nothing else exists; elsewhere a path that is not
//! listed is looked for outside.

use super::Make::{By, Text};
use super::{Device, Make, Node, Who, etc, facts, own, process};
use crate::kernel::Kernel;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a path of the table is.
enum Entry {
    File(Make),
    Link(&'static str),
    Device(Device),
    /// A directory without entries of its own here.
    Directory,
    /// `/proc/[pid]/fd`: one link for each open file.
    Handles,
    /// Not there, whatever is outside: it would tell one machine from another.
    Hidden,
}
use Entry::{Directory, File, Handles, Hidden, Link};

/// Directories of which nothing outside is visible.
const CLOSED: &[&str] = &["/dev", "/proc", "/run", "/sys"];

/// Whether a directory shows only what the host has made there, although what is outside can be reached by its path: a
/// checkout may well lie in one.
pub(super) fn is_own(path: &Path) -> bool {
    super::VOLATILE.iter().any(|own| path == Path::new(own))
}

const V2_CONTROLLERS: &str = "cpuset cpu io memory hugetlb pids rdma misc\n";
const UNLIMITED: Make = Text("max\n");

/// How often the virtual machine was restored from a snapshot: never. Where this device is, aws-lc relies on
/// getrandom(2) alone; elsewhere it times the processor, which gives every process other bytes
/// (crypto/fipsmodule/rand/entropy/entropy_sources.c, `use_opt_out_cpu_jitter_entropy`).
const GENERATION: &str = "\0\0\0\0";

static TREE: &[(&str, Entry)] = &[
    ("/.dockerenv", Hidden),
    ("/dev/fd", Link("/proc/self/fd")),
    ("/dev/full", Entry::Device(Device::Full)),
    ("/dev/null", Entry::Device(Device::Null)),
    ("/dev/random", Entry::Device(Device::Random)),
    ("/dev/shm", Directory),
    ("/dev/stderr", Link("/proc/self/fd/2")),
    ("/dev/stdin", Link("/proc/self/fd/0")),
    ("/dev/stdout", Link("/proc/self/fd/1")),
    ("/dev/sysgenid", File(Text(GENERATION))),
    ("/dev/tty", Entry::Device(Device::Terminal)),
    ("/dev/urandom", Entry::Device(Device::Random)),
    ("/dev/zero", Entry::Device(Device::Zero)),
    ("/etc/group", File(By(etc::groups))),
    ("/etc/gshadow", Hidden),
    ("/etc/host.conf", File(Text("multi on\n"))),
    ("/etc/hostid", Hidden),
    ("/etc/hostname", File(By(etc::host_name))),
    ("/etc/hosts", File(By(etc::hosts))),
    ("/etc/localtime", Link("/usr/share/zoneinfo/Etc/UTC")),
    ("/etc/machine-id", File(By(etc::machine_id))),
    ("/etc/mtab", Link("/proc/self/mounts")),
    ("/etc/nsswitch.conf", File(Text(etc::NAME_SERVICES))),
    ("/etc/os-release", File(Text(etc::RELEASE))),
    ("/etc/passwd", File(By(etc::users))),
    ("/etc/protocols", File(Text(etc::PROTOCOLS))),
    ("/etc/resolv.conf", File(Text(etc::RESOLVER))),
    ("/etc/services", File(Text(etc::SERVICES))),
    ("/etc/shadow", Hidden),
    ("/etc/timezone", File(Text("Etc/UTC\n"))),
    ("/home/windtunnel", Directory),
    ("/proc/[pid]/auxv", Hidden),
    ("/proc/[pid]/cgroup", File(Text("0::/\n"))),
    ("/proc/[pid]/cmdline", File(By(process::command_line))),
    ("/proc/[pid]/comm", File(By(process::name))),
    ("/proc/[pid]/coredump_filter", File(Text("00000033\n"))),
    ("/proc/[pid]/cpuset", File(Text("/\n"))),
    ("/proc/[pid]/cwd", Link("[cwd]")),
    ("/proc/[pid]/environ", File(By(process::environment))),
    ("/proc/[pid]/exe", Link("[exe]")),
    ("/proc/[pid]/fd", Handles),
    ("/proc/[pid]/io", File(Text(process::IO))),
    ("/proc/[pid]/limits", File(By(process::limits))),
    ("/proc/[pid]/loginuid", File(Text("4294967295"))),
    ("/proc/[pid]/maps", File(By(own::maps))),
    ("/proc/[pid]/mountinfo", File(Text(process::MOUNT_INFO))),
    ("/proc/[pid]/mounts", File(Text(process::MOUNTS))),
    ("/proc/[pid]/oom_adj", File(Text("0\n"))),
    ("/proc/[pid]/oom_score", File(Text("666\n"))),
    ("/proc/[pid]/oom_score_adj", File(Text("0\n"))),
    ("/proc/[pid]/root", Link("/")),
    ("/proc/[pid]/sched", Hidden),
    ("/proc/[pid]/sessionid", File(Text("4294967295"))),
    ("/proc/[pid]/stat", File(By(process::stat))),
    ("/proc/[pid]/statm", File(Text(process::STATM))),
    ("/proc/[pid]/status", File(By(process::status))),
    ("/proc/[pid]/task/[tid]/comm", File(By(process::thread_name))),
    ("/proc/[pid]/task/[tid]/stat", File(By(process::thread_stat))),
    ("/proc/[pid]/task/[tid]/status", File(By(process::thread_status))),
    ("/proc/cgroups", File(Text(facts::CGROUPS))),
    ("/proc/cmdline", File(Text("BOOT_IMAGE=/boot/vmlinuz root=/dev/sda1 ro quiet\n"))),
    ("/proc/cpuinfo", File(By(facts::processors))),
    ("/proc/filesystems", File(Text("nodev\tproc\nnodev\tsysfs\nnodev\ttmpfs\nnodev\tcgroup2\n\text4\n"))),
    ("/proc/loadavg", File(By(facts::load))),
    ("/proc/meminfo", File(By(facts::memory))),
    ("/proc/mounts", Link("self/mounts")),
    ("/proc/self", Link("[pid]")),
    ("/proc/stat", File(By(facts::stat))),
    ("/proc/swaps", File(Text("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"))),
    ("/proc/sys/fs/file-max", File(Text("9223372036854775807\n"))),
    ("/proc/sys/fs/inotify/max_user_instances", File(Text("128\n"))),
    ("/proc/sys/fs/inotify/max_user_watches", File(Text("65536\n"))),
    ("/proc/sys/fs/nr_open", File(Text("1048576\n"))),
    ("/proc/sys/fs/pipe-max-size", File(Text("1048576\n"))),
    ("/proc/sys/kernel/cap_last_cap", File(Text("40\n"))),
    ("/proc/sys/kernel/domainname", File(Text("(none)\n"))),
    ("/proc/sys/kernel/hostname", File(By(etc::host_name))),
    ("/proc/sys/kernel/ngroups_max", File(Text("65536\n"))),
    ("/proc/sys/kernel/osrelease", File(Text(facts::RELEASE_LINE))),
    ("/proc/sys/kernel/ostype", File(Text("Linux\n"))),
    ("/proc/sys/kernel/perf_event_paranoid", File(Text("4\n"))),
    ("/proc/sys/kernel/pid_max", File(Text("4194304\n"))),
    ("/proc/sys/kernel/random/boot_id", File(By(facts::boot_id))),
    ("/proc/sys/kernel/random/entropy_avail", File(Text("256\n"))),
    ("/proc/sys/kernel/random/poolsize", File(Text("256\n"))),
    ("/proc/sys/kernel/random/uuid", File(By(facts::random_uuid))),
    ("/proc/sys/kernel/randomize_va_space", File(Text("2\n"))),
    ("/proc/sys/kernel/seccomp/actions_avail", File(Text("kill_process kill_thread trap errno trace log allow\n"))),
    ("/proc/sys/kernel/threads-max", File(Text("63536\n"))),
    ("/proc/sys/kernel/version", File(Text("#1 SMP PREEMPT_DYNAMIC\n"))),
    ("/proc/sys/net/core/rmem_default", File(Text("212992\n"))),
    ("/proc/sys/net/core/rmem_max", File(Text("212992\n"))),
    ("/proc/sys/net/core/somaxconn", File(Text("4096\n"))),
    ("/proc/sys/net/core/wmem_default", File(Text("212992\n"))),
    ("/proc/sys/net/core/wmem_max", File(Text("212992\n"))),
    ("/proc/sys/net/ipv4/ip_local_port_range", File(Text("32768\t60999\n"))),
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", File(Text("1024\n"))),
    ("/proc/sys/net/ipv4/tcp_fastopen", File(Text("1\n"))),
    ("/proc/sys/net/ipv4/tcp_max_syn_backlog", File(Text("512\n"))),
    ("/proc/sys/net/ipv6/conf/all/disable_ipv6", File(Text("0\n"))),
    ("/proc/sys/vm/max_map_count", File(Text("65530\n"))),
    ("/proc/sys/vm/overcommit_memory", File(Text("0\n"))),
    ("/proc/sys/vm/overcommit_ratio", File(Text("50\n"))),
    ("/proc/sys/vm/swappiness", File(Text("60\n"))),
    ("/proc/thread-self", Link("[pid]/task/[tid]")),
    ("/proc/uptime", File(By(facts::uptime))),
    ("/proc/version", File(Text(facts::VERSION))),
    ("/run", Directory),
    ("/sys/devices/system/cpu/kernel_max", File(Text("8191\n"))),
    ("/sys/devices/system/cpu/online", File(By(facts::processor_list))),
    ("/sys/devices/system/cpu/possible", File(By(facts::processor_list))),
    ("/sys/devices/system/cpu/present", File(By(facts::processor_list))),
    ("/sys/devices/system/node/online", File(Text("0\n"))),
    ("/sys/devices/system/node/possible", File(Text("0\n"))),
    ("/sys/fs/cgroup/cgroup.controllers", File(Text(V2_CONTROLLERS))),
    ("/sys/fs/cgroup/cpu.max", File(Text("max 100000\n"))),
    ("/sys/fs/cgroup/memory.high", File(UNLIMITED)),
    ("/sys/fs/cgroup/memory.max", File(By(facts::memory_limit))),
    ("/sys/fs/cgroup/memory.swap.max", File(UNLIMITED)),
    ("/sys/fs/cgroup/pids.max", File(By(facts::thread_limit))),
    ("/sys/kernel/mm/hugepages", Directory),
    ("/sys/kernel/mm/transparent_hugepage/enabled", File(Text("always [madvise] never\n"))),
    ("/tmp", Directory),
    ("/usr/lib/os-release", File(Text(etc::RELEASE))),
    ("/usr/share/zoneinfo/Etc/UTC", File(By(etc::utc))),
    ("/var/run", Link("/run")),
];

/// What the table says of a path.
pub(super) enum Answer {
    /// This is there.
    Node(Node),
    /// Nothing is there, whatever is outside.
    Hidden,
    /// It has no opinion.
    Outside,
}

/// Looks a path up that has no links, dots or doubled slashes.
pub(super) fn look_up(k: &Kernel, who: Who, path: &[u8]) -> Answer {
    let first = path.get(1..).unwrap_or_default().split(|b| *b == b'/').next().unwrap_or_default();
    if !matches!(
        first,
        b"proc" | b"sys" | b"dev" | b"etc" | b"run" | b"usr" | b"var" | b"home" | b"tmp" | b".dockerenv"
    ) {
        return Answer::Outside;
    }
    let closed = CLOSED.iter().any(|top| top.as_bytes()[1..] == *first);
    let Some((pattern, who)) = to_pattern(k, who, path) else { return Answer::Hidden };
    if let Some(fd) = pattern.strip_prefix(b"/proc/[pid]/fd/") {
        return match handle(k, who, fd) {
            Some(node) => Answer::Node(node),
            None => Answer::Hidden,
        };
    }
    match find(&pattern) {
        Some(Hidden) => Answer::Hidden,
        Some(File(make)) => Answer::Node(Node::Made(*make, who)),
        Some(Link(target)) => Answer::Node(Node::Link(expand(k, who, target))),
        Some(Entry::Device(device)) => Answer::Node(Node::Device(*device)),
        Some(Directory | Handles) => Answer::Node(Node::MadeDirectory),
        None if closed && is_directory(&pattern) => Answer::Node(Node::MadeDirectory),
        None if closed => Answer::Hidden,
        None => Answer::Outside,
    }
}

fn find(pattern: &[u8]) -> Option<&'static Entry> {
    let at = TREE.binary_search_by(|(path, _)| path.as_bytes().cmp(pattern)).ok()?;
    Some(&TREE[at].1)
}

/// Entries below a directory of the table; `directory` has no slash at its end, `/` is empty.
fn below(directory: &[u8]) -> impl Iterator<Item = (&'static [u8], &'static Entry)> {
    let prefix = [directory, b"/"].concat();
    let start = TREE.partition_point(|(path, _)| path.as_bytes() < &prefix[..]);
    TREE[start..].iter().map_while(move |(path, entry)| Some((path.as_bytes().strip_prefix(&prefix[..])?, entry)))
}

/// Whether the table has something below a path.
pub(super) fn is_directory(pattern: &[u8]) -> bool {
    below(pattern).any(|(_, entry)| !matches!(entry, Hidden)) || matches!(find(pattern), Some(Directory | Handles))
}

/// Replaces the numbers of a process and a thread; `None` when they are not the caller's own.
fn to_pattern(k: &Kernel, who: Who, path: &[u8]) -> Option<(Vec<u8>, Who)> {
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    let number =
        |at: usize| parts.get(at).and_then(|p| std::str::from_utf8(p).ok()).and_then(|p| p.parse::<i32>().ok());
    if parts.get(1) != Some(&&b"proc"[..]) || number(2).is_none() {
        return Some((path.to_vec(), who));
    }
    let process = k.processes.get(who.process)?;
    let mut parts = parts.clone();
    let mut about = Who { thread: process.main.unwrap_or(who.thread), ..who };
    let (pid, tid) = (number(2), number(4));
    if pid != Some(process.pid) {
        return None;
    }
    parts[2] = b"[pid]";
    if let (Some(tid), Some(&b"task")) = (tid, parts.get(3)) {
        about.thread = *process.threads.iter().find(|t| k.threads[**t].tid == tid)?;
        parts[4] = b"[tid]";
    }
    Some((parts.join(&b'/'), about))
}

/// A link's target.
fn expand(k: &Kernel, who: Who, target: &str) -> Vec<u8> {
    let Some(process) = k.processes.get(who.process) else { return Vec::new() };
    let tid = k.threads.get(who.thread).map_or(0, |t| t.tid);
    match target {
        "[cwd]" => k.describe_directory_of(process),
        "[exe]" => own::program(k, who).as_os_str().as_bytes().to_vec(),
        _ => target.replace("[pid]", &process.pid.to_string()).replace("[tid]", &tid.to_string()).into_bytes(),
    }
}

/// What `/proc/self/fd/N` leads to.
fn handle(k: &Kernel, who: Who, fd: &[u8]) -> Option<Node> {
    let fd = std::str::from_utf8(fd).ok()?.parse().ok()?;
    let descriptor = k.tables[k.processes.get(who.process)?.table].get(fd)?;
    Some(Node::Handle(descriptor.file))
}

/// Names that the table gives a directory, with the type bits of each, and whether it hides the others.
pub(super) struct Listing {
    pub(super) names: Vec<(Vec<u8>, u32)>,
    /// Names that are not to be seen even if they are outside.
    pub(super) hidden: Vec<Vec<u8>>,
    /// Nothing outside is to be seen.
    pub(super) closed: bool,
}

/// What a directory holds according to the table.
pub(super) fn list(k: &Kernel, who: Who, path: &Path) -> Listing {
    let path = path.as_os_str().as_bytes();
    let path = if path == b"/" { b"" } else { path };
    let closed =
        CLOSED.iter().any(|top| path.strip_prefix(top.as_bytes()).is_some_and(|p| p.is_empty() || p[0] == b'/'));
    let mut listing = Listing { names: Vec::new(), hidden: Vec::new(), closed };
    let Some((pattern, who)) = to_pattern(k, who, path) else { return listing };
    let Some(process) = k.processes.get(who.process) else { return listing };
    if matches!(find(&pattern), Some(Handles)) {
        listing.names = k.tables[process.table].open().map(|fd| (fd.to_string().into_bytes(), libc::S_IFLNK)).collect();
        return listing;
    }
    for (rest, entry) in below(&pattern) {
        let name = rest.split(|b| *b == b'/').next().unwrap_or_default();
        let kind = match entry {
            Hidden if name.len() == rest.len() => {
                listing.hidden.push(name.to_vec());
                continue;
            }
            Hidden => continue,
            _ if name.len() < rest.len() => libc::S_IFDIR,
            File(_) => libc::S_IFREG,
            Link(_) => libc::S_IFLNK,
            Entry::Device(_) => libc::S_IFCHR,
            Directory | Handles => libc::S_IFDIR,
        };
        match name {
            b"[pid]" => listing.names.push((process.pid.to_string().into_bytes(), kind)),
            b"[tid]" => {
                let tids = process.threads.iter().map(|t| k.threads[*t].tid.to_string().into_bytes());
                listing.names.extend(tids.map(|tid| (tid, kind)));
            }
            _ => listing.names.push((name.to_vec(), kind)),
        }
    }
    listing.names.sort();
    listing.names.dedup();
    listing
}

/// What `readlink` says of a link of `/proc/self/fd`.
pub(super) fn describe_handle(k: &Kernel, file: crate::kernel::file::FileId) -> Vec<u8> {
    use crate::kernel::file::Kind;
    let number = k.handle_number(file);
    match &k.files[file].kind {
        Kind::Outside(open) => open.path().as_os_str().as_bytes().to_vec(),
        Kind::Disk(open) => k.path_of_open(open),
        Kind::Null => b"/dev/null".to_vec(),
        Kind::Zero => b"/dev/zero".to_vec(),
        Kind::Full => b"/dev/full".to_vec(),
        Kind::Random => b"/dev/urandom".to_vec(),
        Kind::Console(_) | Kind::Pipe(_) => format!("pipe:[{number}]").into_bytes(),
        Kind::Socket(_) => format!("socket:[{number}]").into_bytes(),
        Kind::Event(_) => b"anon_inode:[eventfd]".to_vec(),
        Kind::Timer(_) => b"anon_inode:[timerfd]".to_vec(),
        Kind::Inotify(_) => b"anon_inode:inotify".to_vec(),
        Kind::Epoll(_) => b"anon_inode:[eventpoll]".to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::TREE;

    #[test]
    fn the_table_is_sorted() {
        let sorted = TREE.windows(2).all(|pair| pair[0].0.as_bytes() < pair[1].0.as_bytes());
        assert!(sorted, "{:?}", TREE.windows(2).find(|p| p[0].0 >= p[1].0).map(|p| (p[0].0, p[1].0)));
    }
}
