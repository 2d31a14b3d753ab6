//! What a kernel can do that the tests of faults need and not every kernel has: these run in the kernel in a box
//! (`cargo xtask test --vm`), where all of it has to be there. Elsewhere they are skipped.
//!
//! By hand, without this crate's own code for faults: they tell a kernel that cannot from code that does not.

#[path = "../common/mod.rs"]
mod common;
mod netlink;

use netlink::{ASK, CREATE, Connection, attribute, message, nested, text};
use rustix::time::{ClockId, clock_gettime, clock_settime};
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

/// Whether this is the kernel in a box; if not, says so.
fn in_the_box() -> bool {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let is_box = line.split_whitespace().any(|word| word == "windtunnel.box");
    if !is_box {
        eprintln!("skipped: this is not the kernel in a box, which `cargo xtask test --vm` starts");
    }
    is_box
}

/// As [`in_the_box`], and root there.
fn in_the_box_as_root() -> bool {
    if !in_the_box() {
        return false;
    }
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root may do that");
    }
    is_root
}

/// rtnetlink(7): sets the loopback up.
fn loopback_up(connection: &Connection) {
    const RTM_NEWLINK: u16 = 16;
    const IFF_UP: u32 = 1;
    // struct ifinfomsg: family, type, index, flags, and which of them change.
    let header = [[0; 4], 1_u32.to_ne_bytes(), IFF_UP.to_ne_bytes(), IFF_UP.to_ne_bytes()].concat();
    connection.ask(&message(RTM_NEWLINK, ASK, 1, &header, &[]), 1).expect("the loopback goes up");
}

/// tc(8): `tc qdisc add dev lo root handle 1: netem delay …`, as in the kernel's `net/sched/sch_netem.c`.
fn delay_loopback(connection: &Connection, delay: Duration) {
    const RTM_NEWQDISC: u16 = 36;
    const TCA_KIND: u16 = 1;
    const TCA_OPTIONS: u16 = 2;
    const TCA_NETEM_LATENCY64: u16 = 10;
    const TC_H_ROOT: u32 = u32::MAX;
    // struct tcmsg: family, interface, handle, parent, unused.
    let header = [[0; 4], 1_u32.to_ne_bytes(), 0x1_0000_u32.to_ne_bytes(), TC_H_ROOT.to_ne_bytes(), [0; 4]].concat();
    // struct tc_netem_qopt: latency, limit, loss, gap, duplication, jitter.
    let options = [[0; 4], 1000_u32.to_ne_bytes(), [0; 4], [0; 4], [0; 4], [0; 4]].concat();
    let nanoseconds = i64::try_from(delay.as_nanos()).expect("a short delay");
    let latency = attribute(TCA_NETEM_LATENCY64, &nanoseconds.to_ne_bytes());
    let attributes = [text(TCA_KIND, "netem"), attribute(TCA_OPTIONS, &[options, latency].concat())];
    let add = message(RTM_NEWQDISC, ASK | CREATE, 2, &header, &attributes);
    connection.ask(&add, 2).expect("the kernel knows netem");
}

#[test]
fn netem_delays_packets() {
    const DELAY: Duration = Duration::from_millis(50);
    if !in_the_box() {
        return;
    }
    common::in_namespaces(|| {
        let connection = Connection::new(None).expect("a socket");
        loopback_up(&connection);
        delay_loopback(&connection, DELAY);
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        receiver.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        let address = receiver.local_addr().expect("an address");
        let begin = Instant::now();
        UdpSocket::bind("127.0.0.1:0").expect("a socket").send_to(b"x", address).expect("it is sent");
        receiver.recv(&mut [0; 1]).expect("it arrives");
        assert!(begin.elapsed() >= DELAY, "it took {:?}", begin.elapsed());
    });
}

#[test]
fn nftables_hands_packets_to_a_queue() {
    if !in_the_box() {
        return;
    }
    common::in_namespaces(|| {
        const NFPROTO_INET: u8 = 1;
        const BATCH_BEGIN: u16 = 0x10;
        const BATCH_END: u16 = 0x11;
        const TABLES: u16 = 10;
        const NEWTABLE: u16 = TABLES << 8;
        const NEWCHAIN: u16 = TABLES << 8 | 3;
        const NEWRULE: u16 = TABLES << 8 | 6;
        // struct nfgenmsg; the batch's names the subsystem.
        let batch = [&[0, 0][..], &TABLES.to_be_bytes()].concat();
        let inet = [NFPROTO_INET, 0, 0, 0];
        // nft add rule inet probe probed queue num 0 (NFTA_QUEUE_NUM, NFTA_QUEUE_TOTAL)
        let queue = nested(2, &[attribute(1, &0_u16.to_be_bytes()), attribute(2, &1_u16.to_be_bytes())]);
        let expressions = nested(4, &[nested(1, &[text(1, "queue"), queue])]);
        let messages = [
            message(BATCH_BEGIN, 1, 0, &batch, &[]),
            message(NEWTABLE, ASK | CREATE, 1, &inet, &[text(1, "probe")]),
            message(NEWCHAIN, ASK | CREATE, 2, &inet, &[text(1, "probe"), text(3, "probed")]),
            message(NEWRULE, ASK | CREATE, 3, &inet, &[text(1, "probe"), text(2, "probed"), expressions]),
            message(BATCH_END, 1, 4, &batch, &[]),
        ];
        let connection = Connection::new(Some(rustix::net::netlink::NETFILTER)).expect("a socket");
        connection.ask(&messages.concat(), 3).expect("the kernel knows queues");
    });
}

#[test]
fn the_device_mapper_has_targets_that_fail_and_delay() {
    if !in_the_box_as_root() {
        return;
    }
    for target in ["flakey", "delay", "error", "linear"] {
        let version = windtunnel_inject::sys::target_version(target);
        version.unwrap_or_else(|error| panic!("there is no target {target}: {error}"));
    }
}

#[test]
fn the_clock_can_be_set() {
    const HOUR: i64 = 3600;
    if !in_the_box_as_root() {
        return;
    }
    let before = clock_gettime(ClockId::Realtime);
    let mut later = before;
    later.tv_sec += HOUR;
    clock_settime(ClockId::Realtime, later).expect("root may set the clock");
    let set = clock_gettime(ClockId::Realtime);
    clock_settime(ClockId::Realtime, before).expect("and set it back");
    assert!(set.tv_sec - before.tv_sec >= HOUR, "{set:?} after {before:?}");
}

#[test]
fn cgroups_limit_processors_memory_tasks_and_disks() {
    if !in_the_box() {
        return;
    }
    let all = Path::new("/sys/fs/cgroup");
    // An ordinary user has a cgroup that is delegated to it.
    let parent = if rustix::process::geteuid().is_root() { all.to_owned() } else { all.join("delegated") };
    let cgroup = parent.join(format!("probe-{}", std::process::id()));
    fs::create_dir(&cgroup).expect("a cgroup");
    let limits = [
        ("cpu.max", "10000 100000"),
        ("memory.max", "67108864"),
        ("pids.max", "17"),
        ("io.max", "7:0 rbps=1048576 wbps=max riops=max wiops=max"),
    ];
    let found = limits.map(|(file, limit)| {
        let set = fs::write(cgroup.join(file), limit).and_then(|()| fs::read_to_string(cgroup.join(file)));
        (file, set.map_err(|error| error.to_string()))
    });
    fs::remove_dir(&cgroup).expect("it is empty");
    assert_eq!(found, limits.map(|(file, limit)| (file, Ok(format!("{limit}\n")))));
}

#[test]
fn devices_for_tunnels_loops_and_user_file_systems_are_there() {
    if !in_the_box() {
        return;
    }
    for device in ["/dev/net/tun", "/dev/fuse", "/dev/loop-control", "/dev/mapper/control"] {
        assert!(Path::new(device).exists(), "there is no {device}");
    }
    for open_to_all in ["/dev/net/tun", "/dev/fuse"] {
        fs::OpenOptions::new().read(true).write(true).open(open_to_all).expect("everybody may open it");
    }
}
