//! What a real world is made of, piece by piece.

use super::means::By;
use super::scratch::Wire;
use super::trial::{Verdict, attempt};
use crate::cgroup::{Controller, Group, Layout, Version};
use crate::clock::ForeignClocks;
use crate::disk::{DiskKind, OwnDisk};
use crate::error::{Error, Result};
use crate::injection::Injection;
use crate::journal::Journal;
use crate::keeper::{WORLD, in_a_child, mount_proc};
use crate::namespace::{enter_user_namespace, leave_for_new};
use crate::netlink::Socket;
use crate::netlink::route::LOOPBACK;
use crate::shape::Trouble;
use crate::sys::{Forked, fork, wait};
use crate::target::{Process, Target};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::thread::UnshareFlags;
use serde::{Serialize, Serializer};
use std::path::Path;
use std::time::Duration;

/// `TCA_OPTIONS` and the bytes of `struct tc_netem_qopt` (linux/rtnetlink.h, linux/pkt_sched.h).
const TCA_OPTIONS: u16 = 2;
const NETEM_BYTES: usize = 24;
/// Longer than a clock is wrong here.
const LEASE: Duration = Duration::from_secs(5);
/// Enough for a disk on which nothing is written.
const DISK_BYTES: u64 = 16 << 20;
const DISK_INODES: u64 = 256;

/// A piece of a real world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foundation {
    /// In which whoever is not root is root of their own.
    UserNamespaces,
    /// Of network, mounts, processes, names and IPC.
    Namespaces,
    /// Of a host's own PID namespace.
    Proc,
    /// Cables, addresses and routes between hosts.
    Network,
    /// Rules for packets.
    Nftables,
    /// Packets that a process is asked about.
    PacketQueue,
    /// The kernel's own network emulator.
    Netem,
    /// A host's disk over the machine's files.
    Overlay,
    /// A disk that can lose its power.
    Ext4,
    /// Limits for all processes of a host together.
    Groups,
    /// Clocks of programs that are not the test's own.
    Vdso,
}

impl Foundation {
    /// Every one, those first on which others stand.
    pub const ALL: [Self; 11] = [
        Self::UserNamespaces,
        Self::Namespaces,
        Self::Proc,
        Self::Network,
        Self::Nftables,
        Self::PacketQueue,
        Self::Netem,
        Self::Overlay,
        Self::Ext4,
        Self::Groups,
        Self::Vdso,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserNamespaces => "user namespaces",
            Self::Namespaces => "namespaces",
            Self::Proc => "/proc of its own",
            Self::Network => "network",
            Self::Nftables => "nftables",
            Self::PacketQueue => "packet queue",
            Self::Netem => "netem",
            Self::Overlay => "overlayfs",
            Self::Ext4 => "ext4 on a loop device",
            Self::Groups => "control groups",
            Self::Vdso => "vDSO, by ptrace",
        }
    }

    /// What is done with it.
    pub fn serves(self) -> &'static str {
        match self {
            Self::UserNamespaces => "worlds of users who are not root",
            Self::Namespaces => "hosts",
            Self::Proc => "hosts' processes",
            Self::Network => "links between hosts",
            Self::Nftables => "partitions",
            Self::PacketQueue => "latency, loss, duplication, reordering, corruption, bandwidth",
            Self::Netem => "nothing: the seed decides what happens to packets, not the kernel",
            Self::Overlay => "hosts' disks",
            Self::Ext4 => "disks that lose their power, or are throttled",
            Self::Groups => "limits and faults of a host as a whole",
            Self::Vdso => "clocks of programs that know nothing of windtunnel",
        }
    }

    /// Whether there is no real world without it, or one whose hosts nothing keeps apart.
    pub fn is_required(self) -> bool {
        match self {
            Self::Namespaces | Self::Proc | Self::Network | Self::Nftables | Self::Overlay => true,
            // Root needs none; whoever is not root sees it in the namespaces.
            Self::UserNamespaces | Self::PacketQueue | Self::Netem | Self::Ext4 | Self::Groups | Self::Vdso => false,
        }
    }

    /// What would help where the kernel only says no.
    fn remedy(self) -> &'static str {
        match self {
            Self::UserNamespaces | Self::Namespaces => {
                "run as root; in a container, allow unshare(2) and mount(2): --privileged"
            }
            Self::Proc => {
                "in a container, leave /proc unmasked: --security-opt systempaths=unconfined, or --privileged"
            }
            Self::Network => "a kernel with CONFIG_VETH, CONFIG_IPV6 and CONFIG_IP_MULTIPLE_TABLES; CAP_NET_ADMIN",
            Self::Nftables => "a kernel with CONFIG_NF_TABLES_INET; modprobe nf_tables",
            Self::PacketQueue => {
                "a kernel with CONFIG_NETFILTER_NETLINK_QUEUE and CONFIG_NFT_QUEUE; modprobe nft_queue"
            }
            Self::Netem => "none is needed",
            Self::Overlay => {
                "a kernel with CONFIG_OVERLAY_FS, from 5.11 on for users who are not root; modprobe overlay"
            }
            Self::Ext4 => "run as root, with CONFIG_EXT4_FS and loop devices; in a container, with /dev/loop-control",
            Self::Groups => "mount the cgroup file system, with cpu, memory, pids and io",
            Self::Vdso => "sysctl kernel.yama.ptrace_scope=1 or less, or CAP_SYS_PTRACE",
        }
    }

    /// Tries it.
    pub(super) fn attempt(self) -> Verdict {
        attempt(self.remedy(), || match self {
            Self::UserNamespaces => enter_user_namespace().map(|()| "root of one's own".to_owned()),
            Self::Namespaces => leave_for_new(WORLD).map(|()| "network, mount, PID, UTS, IPC".to_owned()),
            Self::Proc => proc(),
            Self::Network => wired(|_| Ok("veth pairs, routed".to_owned())),
            Self::Nftables => wired(cut),
            Self::PacketQueue => wired(queue),
            Self::Netem => netem(),
            Self::Overlay => disk(DiskKind::Memory),
            Self::Ext4 => disk(DiskKind::Ext4),
            Self::Groups => groups(),
            Self::Vdso => foreign_clock(),
        })
    }
}

impl Serialize for Foundation {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = serializer.serialize_struct("Foundation", 3)?;
        fields.serialize_field("name", self.name())?;
        fields.serialize_field("serves", self.serves())?;
        fields.serialize_field("required", &self.is_required())?;
        fields.end()
    }
}

/// A new PID namespace is for children (pid_namespaces(7)).
fn proc() -> Result<String> {
    leave_for_new(UnshareFlags::NEWNS | UnshareFlags::NEWPID)?;
    match in_a_child(mount_proc)? {
        Ok(()) => Ok("mounted".to_owned()),
        Err(reason) => Err(Error::os("mount /proc", std::io::Error::other(reason))),
    }
}

/// With two hosts' networks.
fn wired(trial: impl FnOnce(&Wire) -> Result<String>) -> Result<String> {
    leave_for_new(UnshareFlags::NEWNET | UnshareFlags::NEWNS)?;
    trial(&Wire::lay()?)
}

fn queue(wire: &Wire) -> Result<String> {
    Ok(match super::faults::divert(wire, Trouble::Doubling { probability: 0.5 })? {
        By::Mechanism => "by nf_tables' own statement",
        By::Fallback => "by the target of iptables",
    }
    .to_owned())
}

fn cut(wire: &Wire) -> Result<String> {
    Ok(match super::faults::cut(wire)? {
        By::Mechanism => "tables that their sockets own",
        By::Fallback => "tables that end with their namespace: no owner flag, which came with Linux 5.12",
    }
    .to_owned())
}

/// tc(8): `tc qdisc add dev lo root netem`.
fn netem() -> Result<String> {
    leave_for_new(UnshareFlags::NEWNET)?;
    let mut message = TcMessage::with_index(LOOPBACK.cast_signed());
    message.header.parent = TcHandle::ROOT;
    message.attributes = vec![
        TcAttribute::Kind("netem".to_owned()),
        TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, vec![0; NETEM_BYTES])),
    ];
    let mut socket = Socket::open(NETLINK_ROUTE)?;
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    let added = socket.tell(RouteNetlinkMessage::NewQueueDiscipline(message), flags, "add a queueing discipline");
    match added {
        Ok(()) => Ok("there, and not used".to_owned()),
        Err(error) if error.is_os(libc::ENOENT) => Err(Error::lacking(
            "add a queueing discipline",
            "this kernel has none (CONFIG_NET_SCH_NETEM)",
            "none is needed",
        )),
        Err(error) => Err(error),
    }
}

fn disk(kind: DiskKind) -> Result<String> {
    leave_for_new(UnshareFlags::NEWNS)?;
    let mut disk = OwnDisk::make(Path::new("/"), kind, DISK_BYTES, DISK_INODES)?;
    match kind {
        DiskKind::Memory => Ok("over the machine's files, in memory".to_owned()),
        DiskKind::Ext4 => {
            disk.lose_power()?;
            Ok("made, lost its power, and mounted again".to_owned())
        }
    }
}

fn groups() -> Result<String> {
    let journal = Journal::open()?;
    let group = Group::make(&journal, "doctor")?;
    let (mut there, mut lacking) = (Vec::new(), Vec::new());
    for controller in Controller::ALL {
        match group.directory(controller) {
            Ok((version, _)) => there.push(controller.name(version)),
            Err(_) => lacking.push(controller.name(Version::Two)),
        }
    }
    group.remove()?;
    let layout = Layout::of(std::process::id())?;
    let has = |version| layout.hierarchies.iter().any(|hierarchy| hierarchy.version == version);
    let versions = match (has(Version::One), has(Version::Two)) {
        (true, true) => "versions 1 and 2",
        (true, false) => "version 1",
        (false, _) => "version 2",
    };
    let text = format!("{versions}: {}", there.join(", "));
    Ok(if lacking.is_empty() { text } else { format!("{text}; without {}", lacking.join(", ")) })
}

/// Sets the clock of another program off, and puts it right.
fn foreign_clock() -> Result<String> {
    let Forked::Parent(pid) = fork().map_err(|error| Error::os("make a process", error))? else {
        loop {
            std::thread::park();
        }
    };
    let process = Process::open(pid)?;
    let tried = skew(process.clone());
    process.kill()?;
    wait(pid).map_err(|error| Error::os("wait for a child", error))?;
    tried.map(|()| "replaced for a moment, and put back".to_owned())
}

fn skew(process: Process) -> Result<()> {
    // It ends at once, whatever is left in it.
    let clocks = ForeignClocks::new(&Journal::of_world()?, LEASE)?;
    clocks.follow(&Target::Process(process))?;
    let mut ahead = clocks.skew(1_000_000_000, false)?;
    ahead.read_back()?;
    ahead.heal()?;
    drop(ahead);
    clocks.release()
}
