//! The differences between the simulated kernel and Linux that remain, each with its reason.
//!
//! A script whose transcripts differ fails unless an entry here explains the difference; and it fails when an entry
//! names it that explains nothing, so that this list says what is true.

use crate::compare::Found;
use std::sync::OnceLock;

/// A known difference.
pub struct Difference {
    /// The scripts it shows in, each of them.
    pub scripts: &'static [&'static str],
    /// What the lines are about: they contain this.
    pub call: &'static str,
    /// How the real kernel's line ends, and the world's.
    pub real: &'static str,
    pub world: &'static str,
    /// The first Linux that answers like this; an older one answers as a world does.
    pub since: (u32, u32),
    /// Why it is so, and stays so.
    pub reason: &'static str,
}

impl Difference {
    /// Whether this is the difference found.
    pub fn explains(&self, found: &Found) -> bool {
        let same_call = found.real.contains(self.call) && found.world.contains(self.call);
        same_call && found.real.ends_with(self.real) && found.world.ends_with(self.world)
    }

    /// Whether it must show on the machine that the tests run on.
    pub fn shows_here(&self) -> bool {
        linux_version() >= self.since
    }
}

/// Major and minor number of the running Linux (uname(2)). Worlds have one of their own: what runs in both has to ask
/// before.
pub fn linux_version() -> (u32, u32) {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(ask_for_version)
}

fn ask_for_version() -> (u32, u32) {
    // SAFETY: room for the names.
    let release = unsafe {
        let mut names: libc::utsname = std::mem::zeroed();
        libc::uname(&mut names);
        std::ffi::CStr::from_ptr(names.release.as_ptr()).to_string_lossy().into_owned()
    };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Whether this is a difference of the namespace in which a user without privilege has the script run, and not of the
/// kernel: one user and one group have numbers there, root has none (user_namespaces(7)).
pub fn is_of_one_user(Found { real, world, .. }: &Found) -> bool {
    let nobody_s_number = || {
        let [real, world] = [real.strip_suffix(" = -1 EINVAL"), world.strip_suffix(" = -1 EPERM")];
        real.is_some() && real == world && real.is_some_and(|call| call.contains("chown"))
    };
    // What the script's own user has mounted is root's elsewhere.
    let mounted = || world.strip_suffix(" of 0 and 0") == Some(real) && real.contains("directory 1777");
    // Who is out of sight is numbered by `/proc/sys/kernel/overflowuid`.
    let out_of_sight = || world.replace("credentials 0 0 0", "credentials 0 65534 65534") == *real;
    nobody_s_number() || mounted() || out_of_sight()
}

/// Every Linux.
const ALWAYS: (u32, u32) = (0, 0);

/// Scripts of every call on UDP sockets.
const UDP: &[&str] = &[
    "matrix::udp_unbound",
    "matrix::udp_bound",
    "matrix::udp_connected",
    "matrix::udp_with_datagrams",
    "matrix::udp_refused",
    "matrix::udp6_unbound",
    "matrix::udp6_connected",
];

/// Those of IPv4 among them.
const UDP_OF_IPV4: &[&str] = UDP.split_at(5).0;

/// Every kind of Unix socket in the matrix.
const UNIX_KINDS: &[&str] = &[
    "matrix::unix_stream_unbound",
    "matrix::unix_stream_bound",
    "matrix::unix_stream_listening",
    "matrix::unix_stream_pair",
    "matrix::unix_stream_with_bytes",
    "matrix::unix_stream_peer_gone",
    "matrix::unix_dgram_unbound",
    "matrix::unix_dgram_bound",
    "matrix::unix_dgram_pair",
    "matrix::unix_dgram_with_messages",
    "matrix::unix_dgram_peer_gone",
    "matrix::unix_seqpacket_pair",
];

/// Scripts of every call on TCP sockets.
const TCP: &[&str] = &[
    "matrix::tcp6_connected",
    "matrix::tcp_connected",
    "matrix::tcp_with_bytes",
    "matrix::tcp_peer_half_closed",
    "matrix::tcp_half_closed",
    "matrix::tcp_both_half_closed",
    "matrix::tcp_reset",
    "matrix::tcp_refused",
    "matrix::tcp_unbound",
    "matrix::tcp_bound",
    "matrix::tcp_listening",
    "matrix::tcp_listening_with_a_connection",
    "matrix::tcp6_unbound",
];

/// Those among them that have a connection, or had one.
const TCP_CONNECTED: &[&str] = TCP.split_at(8).0;

/// Those of IPv4 among them.
const TCP_OF_IPV4: &[&str] = TCP.split_at(12).0.split_at(1).1;

/// All of them.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        scripts: &[
            "matrix::epoll_empty",
            "matrix::epoll_ready",
            "random::descriptors",
            "random::streams",
            "random::datagrams",
            "random::unix",
            "random::messages",
            "random::mixed",
        ],
        call: "ioctl(",
        real: " = -1 EINVAL",
        world: " = -1 ENOTTY",
        since: (6, 9),
        reason: "Linux 6.9 gave epolls requests of their own and answers unknown ones differently since; a world \
                 answers as Linux did before",
    },
    Difference {
        scripts: &["matrix::epoll_empty", "matrix::epoll_ready"],
        call: "isatty(",
        real: " = 0 EINVAL",
        world: " = 0 ENOTTY",
        since: (6, 9),
        reason: "isatty(3) asks with ioctl(2): as above",
    },
    Difference {
        scripts: UNIX_KINDS,
        call: "SO_TIMESTAMP",
        real: "",
        world: " = -1 ENOPROTOOPT",
        since: ALWAYS,
        reason: "messages carry no time of arrival in a world, and whoever asks for it is told so",
    },
    Difference {
        scripts: &["random::files", "random::watches"],
        call: "F_OFD_GETLK, UNLCK",
        real: "",
        world: " = -1 EINVAL",
        since: (6, 6),
        reason: "since Linux 6.6 one may ask for any lock of an open file; a world answers as Linux did before",
    },
    Difference {
        scripts: &["directed::file_contents::sizes_beyond_the_limit"],
        call: "ftruncate(",
        real: " = 0",
        world: " = -1 EFBIG",
        since: ALWAYS,
        reason: "scripts run on a tmpfs, which takes any size; a world's disk is ext4, whose files end at 16 TiB",
    },
    Difference {
        scripts: &["directed::file_contents::sizes_beyond_the_limit"],
        call: "lseek(3, 9223372036854775807, SEEK_SET)",
        real: " = 9223372036854775807",
        world: " = -1 EINVAL",
        since: ALWAYS,
        reason: "as above: ext4 has no such position",
    },
    Difference {
        scripts: &["directed::file_contents::copying_without_a_buffer"],
        call: "copy_file_range(",
        real: " = 5",
        world: " = -1 ENOSYS",
        since: ALWAYS,
        reason: "whoever calls it has another way, as Linux refuses it for many files: std::io::copy reads and writes",
    },
    Difference {
        scripts: UDP,
        call: "UDP_GRO",
        real: "",
        world: " = -1 ENOPROTOOPT",
        since: (5, 0),
        reason: "no world joins datagrams on the way; programs that probe for it take their way for an older Linux",
    },
    Difference {
        scripts: UDP,
        call: "SO_PASSCRED",
        real: " = -1 EOPNOTSUPP",
        world: "",
        since: (6, 16),
        reason: "since Linux 6.16 only Unix and netlink sockets have it; a world answers as Linux did before",
    },
    Difference {
        scripts: UDP_OF_IPV4,
        call: "bind a privileged port: bind(",
        real: " = -1 EACCES",
        world: "",
        since: ALWAYS,
        reason: "every port is free to all in a world, as in containers (ip(7), ip_unprivileged_port_start = 0)",
    },
    Difference {
        scripts: &["matrix::udp_with_datagrams"],
        call: "getsockopt(3, SO_INCOMING_CPU)",
        real: " (4 bytes)",
        world: " = 0 -1 (4 bytes)",
        since: ALWAYS,
        reason: "which processor a datagram came in on: a matter of timing, and worlds have none to name",
    },
    Difference {
        scripts: TCP,
        call: "SO_PASSCRED",
        real: " = -1 EOPNOTSUPP",
        world: "",
        since: (6, 16),
        reason: "since Linux 6.16 only Unix and netlink sockets have it; a world answers as Linux did before",
    },
    Difference {
        scripts: TCP_OF_IPV4,
        call: "bind a privileged port: bind(",
        real: " = -1 EACCES",
        world: "",
        since: ALWAYS,
        reason: "every port is free to all in a world, as in containers (ip(7), ip_unprivileged_port_start = 0)",
    },
    Difference {
        scripts: TCP,
        call: "SO_RCVLOWAT) =",
        real: " (4 bytes)",
        world: " = 0 3145728 (4 bytes)",
        since: ALWAYS,
        reason: "at most half of tcp_rmem[2] (tcp(7)), which Linux chooses by its own memory and its version",
    },
    Difference {
        scripts: TCP_CONNECTED,
        call: "SO_INCOMING_CPU) =",
        real: " (4 bytes)",
        world: " = 0 -1 (4 bytes)",
        since: ALWAYS,
        reason: "which processor a segment came in on: a matter of timing, and worlds have none to name",
    },
    Difference {
        scripts: &["matrix::tcp_peer_half_closed"],
        call: "TCP_QUICKACK) =",
        real: " = 0 0 (4 bytes)",
        world: " = 0 1 (4 bytes)",
        since: ALWAYS,
        reason: "whether acknowledgements are delayed: Linux guesses by the traffic (RFC 1122 §4.2.3.2), a world never",
    },
    Difference {
        scripts: TCP,
        call: "SO_TIMESTAMP",
        real: "",
        world: " = -1 ENOPROTOOPT",
        since: ALWAYS,
        reason: "only datagrams carry the time of their arrival in a world; nobody reads a stream's",
    },
    Difference {
        scripts: TCP_CONNECTED,
        call: "TCP_WINDOW_CLAMP) =",
        real: " (4 bytes)",
        world: " = 0 0 (4 bytes)",
        since: ALWAYS,
        reason: "what a connection begins with depends on Linux's memory; setting it changes no window in a world",
    },
    Difference {
        scripts: &["directed::tcp::a_blocking_accept_and_its_number"],
        call: "the number of accept(2) is taken before it waits",
        real: "true",
        world: "false",
        since: ALWAYS,
        reason: "a world gives a connection its descriptor when it comes; it shows only when another thread opens \
                 something while accept(2) waits",
    },
    Difference {
        scripts: &["directed::locks::robust_mutexes"],
        call: "trylock of what an ended thread holds",
        real: "EOWNERDEAD",
        world: "EBUSY",
        since: ALWAYS,
        reason: "robust mutexes are for processes that share memory; within one, a thread that ends with a lock held \
                 leaves it locked",
    },
];

/// Every entry names scripts that exist, and gives its reason.
#[test]
fn every_entry_names_scripts_that_exist() {
    let binary = std::env::current_exe().expect("the test's own path");
    let output =
        std::process::Command::new(binary).args(["--list", "--format", "terse"]).output().expect("lists tests");
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    for entry in DIFFERENCES {
        assert!(entry.reason.len() > 20, "`{}` gives no reason", entry.call);
        for script in entry.scripts {
            assert!(list.lines().any(|line| line == format!("{script}: test")), "there is no script {script}");
        }
    }
}
