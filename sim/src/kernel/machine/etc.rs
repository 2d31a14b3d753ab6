//! `/etc` of a host: names, users, services, time zone.

use super::Who;
use crate::kernel::Kernel;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The one user beside root.
pub(crate) const USER: &str = "windtunnel";
/// Its number, and its group's.
pub(crate) const USER_ID: u32 = 1000;
/// Its group.
pub(crate) const GROUP: &str = "windtunnel";
/// Its home.
pub(crate) const HOME: &str = "/home/windtunnel";
/// Its shell.
pub(crate) const SHELL: &str = "/bin/sh";

/// passwd(5).
pub(super) const USERS: &str = "root:x:0:0:root:/root:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
    windtunnel:x:1000:1000:windtunnel:/home/windtunnel:/bin/sh\n";

/// group(5).
pub(super) const GROUPS: &str = "root:x:0:\nnogroup:x:65534:\nwindtunnel:x:1000:\n";

/// nsswitch.conf(5): names come from `/etc/hosts`, then from the name server.
pub(super) const NAME_SERVICES: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n\
    networks: files\nprotocols: files\nservices: files\n";

/// resolv.conf(5): the world's own name server.
pub(super) const RESOLVER: &str = "nameserver 10.0.255.53\noptions timeout:5 attempts:2\n";

/// os-release(5).
pub(super) const RELEASE: &str = "PRETTY_NAME=\"windtunnel simulated host\"\nNAME=\"windtunnel\"\nID=windtunnel\n\
    ID_LIKE=debian\nVERSION_ID=\"1\"\nVERSION=\"1\"\n";

/// services(5): what resolvers and clients ask for by name.
pub(super) const SERVICES: &str =
    "domain 53/tcp\ndomain 53/udp\nhttp 80/tcp www\nntp 123/udp\nhttps 443/tcp\nhttps 443/udp\n";

/// protocols(5).
pub(super) const PROTOCOLS: &str =
    "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6 41 IPv6\nipv6-icmp 58 IPv6-ICMP\n";

/// hostname(5), and `/proc/sys/kernel/hostname`.
pub(super) fn host_name(k: &mut Kernel, who: Who) -> Vec<u8> {
    format!("{}\n", k.host_of(who.process).name).into_bytes()
}

/// hosts(5): the host itself only. Others are found through the name server, where faults can change the answer.
pub(super) fn hosts(k: &mut Kernel, who: Who) -> Vec<u8> {
    let host = k.host_of(who.process);
    format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{}\t{name}\n{}\t{name}\n",
        host.v4,
        host.v6,
        name = host.name
    )
    .into_bytes()
}

/// 128 bits that tell hosts apart and are the same in every run of a host of that name.
pub(super) fn identity(k: &Kernel, who: Who, what: u64) -> u128 {
    xxh3_128_with_seed(k.host_of(who.process).name.as_bytes(), what)
}

/// machine-id(5).
pub(super) fn machine_id(k: &mut Kernel, who: Who) -> Vec<u8> {
    format!("{:032x}\n", identity(k, who, 1)).into_bytes()
}

/// tzfile(5), RFC 9636 §3: version 2, one type, no transitions; the older block first, then the same again and the
/// footer with the rule.
pub(super) fn utc(_: &mut Kernel, _: Who) -> Vec<u8> {
    // isutcnt, isstdcnt, leapcnt, timecnt, typecnt, charcnt
    const COUNTS: [u32; 6] = [0, 0, 0, 0, 1, 4];
    let mut file = Vec::new();
    for _ in 0..2 {
        file.extend_from_slice(b"TZif2");
        file.extend_from_slice(&[0; 15]);
        COUNTS.iter().for_each(|count| file.extend_from_slice(&count.to_be_bytes()));
        file.extend_from_slice(&[0; 6]); // offset 0, no daylight saving time, abbreviation at 0
        file.extend_from_slice(b"UTC\0");
    }
    file.extend_from_slice(b"\nUTC0\n");
    file
}
