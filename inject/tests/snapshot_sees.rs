//! What a snapshot sees come and go.

mod common;
mod victims;

use std::fs;
use victims::{Scratch, Victim, group};
use windtunnel_inject::process::{CpuBurn, Paused};
use windtunnel_inject::snapshot::{Part, Snapshot};

#[test]
fn what_did_not_change_is_no_difference() {
    common::in_namespaces(|| {
        // Groups of ours and loop devices come and go with other tests, which run meanwhile.
        let look = || {
            let parts = [Part::Nftables, Part::Network, Part::Mounts, Part::Cgroups];
            Snapshot::of(&parts).only(|_, line| !line.contains("/windtunnel-"))
        };
        assert_eq!(look().diff(&look()), "");
    });
}

#[test]
fn a_mount_is_seen_and_so_is_its_end() {
    common::in_namespaces(|| {
        let scratch = Scratch::new("mount");
        let before = Snapshot::of(&[Part::Mounts]);
        let (flags, options) = (rustix::mount::MountFlags::empty(), c"size=4096");
        rustix::mount::mount("none", scratch.path(), "tmpfs", flags, options).expect("mounted");
        let diff = Snapshot::of(&[Part::Mounts]).diff(&before);
        assert!(diff.starts_with("+ Mounts: ") && diff.contains("tmpfs") && diff.lines().count() == 1, "{diff}");
        rustix::mount::unmount(scratch.path(), rustix::mount::UnmountFlags::empty()).expect("unmounted");
        assert_eq!(Snapshot::of(&[Part::Mounts]).diff(&before), "");
    });
}

#[test]
fn the_loopback_coming_up_is_seen() {
    common::in_namespaces(|| {
        let before = Snapshot::of(&[Part::Network, Part::Nftables]);
        let lines = before.diff(&Snapshot::of(&[]));
        assert!(lines.contains("link") && lines.contains("=lo") && !lines.contains("cannot look"), "{lines}");
        bring_loopback_up();
        let diff = Snapshot::of(&[Part::Network, Part::Nftables]).diff(&before);
        assert!(diff.contains("address") && diff.contains("7f000001"), "{diff}");
    });
}

/// RTM_NEWLINK (rtnetlink(7)) with `IFF_UP` for device 1.
fn bring_loopback_up() {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
    let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
    let socket = socket_with(AddressFamily::NETLINK, kind, flags, None).expect("a socket");
    let header = [32_u32.to_ne_bytes(), [16, 0, 5, 0], [0; 4], [0; 4]];
    let link = [[0; 4], 1_u32.to_ne_bytes(), 1_u32.to_ne_bytes(), 1_u32.to_ne_bytes()];
    send(&socket, &[header, link].as_flattened().concat(), SendFlags::empty()).expect("asked");
    let mut answer = [0; 256];
    recv(&socket, &mut answer[..], RecvFlags::empty()).expect("answered");
    assert_eq!(answer[16..20], [0; 4], "acknowledged");
}

#[test]
fn groups_and_helpers_of_ours_are_seen_until_they_end() {
    let scratch = Scratch::new("ours");
    let (journal, victim) = (scratch.journal(), Victim::busy());
    let (own, before) = (format!("windtunnel-{}-", std::process::id()), Snapshot::of(&[Part::Cgroups]));
    let pid = std::process::id().to_string();
    let helpers = || Snapshot::of(&[Part::Processes]).only(|_, line| line.ends_with(&format!("of {pid}")));
    let nobody = helpers();
    let burn = CpuBurn::by_stopping(&journal, &victim.process, 100_000).expect("burning");
    let diff = helpers().diff(&nobody);
    assert!(diff.contains("wt:stopper"), "{diff}");
    drop(burn);
    assert_eq!(helpers().diff(&nobody), "");
    drop(Paused::apply(&journal, &victim.process).expect("paused"));
    let Some(group) = group(&journal, "seen") else { return };
    let diff = Snapshot::of(&[Part::Cgroups]).diff(&before);
    assert!(diff.contains(&own) && diff.contains("pids.max: max"), "{diff}");
    group.remove().expect("removed");
    let after = Snapshot::of(&[Part::Cgroups]).only(|_, line| line.contains(&own));
    assert_eq!(after.diff(&before.only(|_, line| line.contains(&own))), "");
    assert!(fs::metadata("/proc/self").is_ok());
}
