//! Somebody else changes what a fault has put in force: the case ends with a report that says so, and is not believed.

use crate::look::{Look, is_as_before, own_groups};
use crate::run::{Role, Run};
use crate::sandbox::{User, in_sandbox};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{SendFlags, getsockname, send};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use windtunnel_inject::netlink::in_namespace;
use windtunnel_inject::netlink::nft::{Table, TableDescription, names};
use windtunnel_inject::snapshot::{Part, Snapshot};

const BEGINS_WITHIN: Duration = Duration::from_secs(20);
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Runs a fixture with one long fault, does this once the fault has begun, and expects a report with this text.
fn is_noticed(user: User, fixture: &str, interfere: impl Fn(&Run) -> Result<(), String>, expected: &str) {
    in_sandbox(|| {
        let before = Look::take();
        let mut run = Run::fixture(user, fixture);
        if !run.until(BEGINS_WITHIN, |run| run.text.contains(" begins")) {
            return Err(format!("no fault begins:\n{}", run.text));
        }
        interfere(&run).map_err(|reason| format!("{reason}\n{}", run.text))?;
        if !run.ends_within(ENDS_WITHIN) || run.has_passed() || !run.text.contains(expected) {
            return Err(format!("`{expected}` is not said ({:?}):\n{}", run.end, run.text));
        }
        is_as_before(&before)?;
        Ok(String::new())
    });
}

#[test]
fn a_partition_that_somebody_removes_is_missed() {
    let expected = "partition peer,test->peer,test is no longer in force";
    is_noticed(User::Root, "is_partitioned", remove_tables, expected);
}

#[test]
fn a_partition_of_nobodys_that_somebody_removes_is_missed() {
    let expected = "partition peer,test->peer,test is no longer in force";
    is_noticed(User::Nobody, "is_partitioned", remove_tables, expected);
}

#[test]
fn a_queue_that_somebody_takes_the_packets_from_is_missed() {
    is_noticed(User::Root, "is_slow", remove_tables, "latency peer,test->peer,test is no longer in force");
}

#[test]
fn a_limit_that_somebody_lifts_is_missed() {
    // Without a group it is a limit of the process.
    if !crate::run::is_root_of_the_machine() {
        println!("skipped: limits are of control groups, which this user cannot make");
        return;
    }
    is_noticed(User::Root, "has_no_threads_left", lift_limit, "leak of threads of busy is no longer in force");
}

/// Removes all tables that a case has made in its switch's namespace. Nobody can, where the kernel knows owners (Linux
/// 5.12), but by the very socket that owns them: then that is taken from the case.
fn remove_tables(run: &Run) -> Result<(), String> {
    let case = *run.processes(Role::Case).first().ok_or("there is no case")?;
    let held = fs::read_dir(format!("/proc/{case}/fd")).map_err(|error| error.to_string())?;
    let held: Vec<PathBuf> = held.flatten().map(|entry| entry.path()).collect();
    let is_network = |path: &&PathBuf| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("net:["));
    let mut removed = 0;
    for namespace in held.iter().filter(is_network) {
        let Ok(namespace) = File::open(namespace) else { continue };
        let work = || -> Result<usize, String> {
            let tables = names().map_err(|error| error.to_string())?;
            for name in &tables {
                let foreign =
                    TableDescription { name: name.clone(), sets: Vec::new(), chains: Vec::new(), lease: None };
                match Table::adopt(foreign).and_then(|mut table| table.remove()) {
                    Ok(()) => {}
                    Err(error) if error.is_os(libc::EPERM) => remove_as_owner(case, &held, name)?,
                    Err(error) => return Err(error.to_string()),
                }
            }
            match names().map_err(|error| error.to_string())? {
                left if left.is_empty() => Ok(tables.len()),
                left => Err(format!("{left:?} are still there")),
            }
        };
        // Hosts' networks have no tables; those of hosts that are down may be gone.
        removed += in_namespace(namespace.as_fd(), work).unwrap_or(Ok(0))?;
    }
    if removed == 0 { Err("there was no table to remove".to_owned()) } else { Ok(()) }
}

/// Removes a table through the socket of the case's that owns it: pidfd_getfd(2).
fn remove_as_owner(case: u32, held: &[PathBuf], table: &str) -> Result<(), String> {
    let owner = owner(table).ok_or("a table that nobody owns cannot be removed")?;
    let pid = i32::try_from(case).ok().and_then(Pid::from_raw).ok_or("no number of a process")?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| error.to_string())?;
    let take = |path: &PathBuf| -> Option<OwnedFd> {
        let number = path.file_name()?.to_str()?.parse().ok()?;
        let socket = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()?;
        let address = SocketAddrNetlink::try_from(getsockname(&socket).ok()?).ok()?;
        (address.pid() == owner).then_some(socket)
    };
    // Sockets of other protocols may have the same number; only the owner's can do it, and theirs answer nothing.
    let sockets: Vec<OwnedFd> = held.iter().filter_map(take).collect();
    for socket in &sockets {
        send(socket, &removal(table), SendFlags::empty()).map_err(|error| error.to_string())?;
    }
    if sockets.is_empty() {
        Err(format!("the case does not have the socket {owner} that owns {table}"))
    } else {
        Ok(())
    }
}

/// The number of the socket that owns a table (`NFTA_TABLE_OWNER`, 7), from how the snapshot prints it.
fn owner(table: &str) -> Option<u32> {
    let all = Snapshot::of(&[]).diff(&Snapshot::of(&[Part::Nftables]));
    let line = all.lines().find(|line| line.contains("table ") && line.contains(&format!(" 1={table} ")))?;
    let word = line.split(' ').find_map(|word| word.strip_prefix("7="))?;
    u32::from_str_radix(word, 16).ok()
}

/// A batch of nfnetlink with NFT_MSG_DELTABLE (linux/netfilter/nf_tables.h), which asks for no acknowledgement.
fn removal(table: &str) -> Vec<u8> {
    let message = |kind: u16, family_and_resource: [u8; 4], attributes: &[u8]| {
        let length = u32::try_from(20 + attributes.len()).expect("it is short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(1_u16.to_ne_bytes()); // NLM_F_REQUEST
        bytes.extend([0; 8]);
        bytes.extend(family_and_resource);
        bytes.extend(attributes);
        bytes
    };
    // NFTA_TABLE_NAME, 1, padded to four bytes.
    let length = u16::try_from(4 + table.len() + 1).expect("a name is short");
    let mut name = [length.to_ne_bytes(), 1_u16.to_ne_bytes()].concat();
    name.extend(table.as_bytes());
    name.push(0);
    name.resize(name.len().next_multiple_of(4), 0);
    let subsystem = [0, 0, 0, 10];
    // NFPROTO_INET is 1.
    [message(0x10, subsystem, &[]), message(10 << 8 | 2, [1, 0, 0, 0], &name), message(0x11, subsystem, &[])].concat()
}

/// Gives a host's group all tasks back.
fn lift_limit(_run: &Run) -> Result<(), String> {
    let mut lifted = 0;
    for group in own_groups().iter().flat_map(|group| hosts(Path::new(group))) {
        lifted += usize::from(fs::write(group.join("pids.max"), "max").is_ok());
    }
    if lifted == 0 { Err("there was no limit to lift".to_owned()) } else { Ok(()) }
}

/// The groups of the host `busy` below this one.
fn hosts(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let below: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    let mut found: Vec<PathBuf> =
        below.iter().filter(|path| path.to_string_lossy().ends_with("-busy")).cloned().collect();
    found.extend(below.iter().flat_map(|path| hosts(path)));
    found
}
