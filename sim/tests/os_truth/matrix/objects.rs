//! Kinds of descriptors, each made afresh.

use crate::calls::Addr;
use crate::calls::files::c;
use crate::calls::netlink::request;
use crate::transcript::Transcript;
use libc::{AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_SEQPACKET, SOCK_STREAM, c_int};

/// A kind of descriptor.
pub struct Object {
    pub name: &'static str,
    /// Makes one; 3 and up are free.
    pub make: fn(&Transcript) -> c_int,
}

macro_rules! objects {
    ($($name:ident($t:ident) $body:block)*) => {
        pub const OBJECTS: &[Object] = &[$(Object {
            name: stringify!($name),
            make: |$t| $body,
        },)*];
    };
}

const PAIR: c_int = SOCK_NONBLOCK;

objects! {
    // Neither sockets nor files.
    closed(_t) { 40 }
    negative(_t) { -1 }
    console(_t) { 1 }
    standard_input(_t) { 0 }
    pipe_reader_empty(t) { t.pipe(libc::O_NONBLOCK).0 }
    pipe_reader_with_bytes(t) {
        let (reader, writer) = t.pipe(libc::O_NONBLOCK);
        t.write(writer, b"hello pipe");
        reader
    }
    pipe_reader_alone(t) {
        let (reader, writer) = t.pipe(libc::O_NONBLOCK);
        t.write(writer, b"left");
        t.close(writer);
        reader
    }
    pipe_writer(t) { t.pipe(libc::O_NONBLOCK).1 }
    pipe_writer_full(t) {
        let (_, writer) = t.pipe(libc::O_NONBLOCK);
        t.write(writer, &[b'f'; 65_536]);
        writer
    }
    pipe_writer_alone(t) {
        let (reader, writer) = t.pipe(libc::O_NONBLOCK);
        t.close(reader);
        writer
    }
    eventfd_zero(t) { t.eventfd(0, libc::EFD_NONBLOCK) }
    eventfd_three(t) { t.eventfd(3, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) }
    eventfd_full(t) {
        let fd = t.eventfd(0, libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE);
        t.write_word(fd, u64::MAX - 1);
        fd
    }
    timerfd_unarmed(t) { t.timerfd(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK) }
    timerfd_expired(t) {
        let fd = t.timerfd(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC);
        t.timerfd_set(fd, 0, 1, 0);
        t.poll(fd, libc::EPOLLIN as u32, 1000);
        fd
    }
    epoll_empty(t) { t.epoll() }
    epoll_ready(t) {
        let (epoll, event) = (t.epoll(), t.eventfd(1, libc::EFD_NONBLOCK));
        t.epoll_add(epoll, event, libc::EPOLLIN as u32);
        epoll
    }
    // TCP.
    tcp_unbound(t) { t.tcp() }
    tcp_bound(t) {
        let fd = t.tcp();
        t.bind(fd, Addr::local(0));
        fd
    }
    tcp_listening(t) { t.listener(AF_INET, 8).0 }
    tcp_listening_with_a_connection(t) {
        let (listener, address) = t.listener(AF_INET, 8);
        let client = t.tcp();
        t.connect(client, address);
        t.settle();
        listener
    }
    tcp_connected(t) { t.connection(AF_INET).1 }
    tcp_with_bytes(t) {
        let (_, client, server) = t.connection(AF_INET);
        t.send(server, b"hello tcp", 0);
        t.settle();
        client
    }
    tcp_peer_half_closed(t) {
        let (_, client, server) = t.connection(AF_INET);
        t.send(server, b"last", 0);
        t.shutdown(server, libc::SHUT_WR);
        t.settle();
        client
    }
    tcp_half_closed(t) {
        let (_, client, _) = t.connection(AF_INET);
        t.shutdown(client, libc::SHUT_WR);
        t.settle();
        client
    }
    tcp_both_half_closed(t) {
        let (_, client, server) = t.connection(AF_INET);
        t.shutdown(client, libc::SHUT_WR);
        t.shutdown(server, libc::SHUT_WR);
        t.settle();
        client
    }
    tcp_reset(t) {
        let (_, client, server) = t.connection(AF_INET);
        t.linger(server, 1, 0);
        t.close(server);
        t.settle();
        client
    }
    tcp_refused(t) {
        let port = t.closed_port();
        let fd = t.tcp();
        t.connect(fd, Addr::local(port));
        t.settle();
        fd
    }
    tcp6_unbound(t) { t.tcp6() }
    tcp6_connected(t) { t.connection(AF_INET6).1 }
    // UDP.
    udp_unbound(t) { t.udp() }
    udp_bound(t) {
        let fd = t.udp();
        t.bind(fd, Addr::local(0));
        fd
    }
    udp_connected(t) { udp_pair(t, AF_INET).0 }
    udp_with_datagrams(t) {
        let (fd, peer) = udp_pair(t, AF_INET);
        t.send(peer, b"hello udp", 0);
        t.send(peer, b"", 0);
        t.send(peer, b"third", 0);
        t.settle();
        fd
    }
    udp_refused(t) {
        let (fd, peer) = udp_pair(t, AF_INET);
        t.close(peer);
        t.send(fd, b"nobody", 0);
        t.settle();
        fd
    }
    udp6_unbound(t) { t.udp6() }
    udp6_connected(t) { udp_pair(t, AF_INET6).0 }
    // Unix sockets.
    unix_stream_unbound(t) { t.unix(SOCK_STREAM) }
    unix_stream_bound(t) {
        let fd = t.unix(SOCK_STREAM);
        t.bind(fd, Addr::name("truth"));
        fd
    }
    unix_stream_listening(t) {
        let fd = t.unix(SOCK_STREAM);
        t.bind(fd, Addr::name("truth"));
        t.listen(fd, 8);
        fd
    }
    unix_stream_pair(t) { t.socketpair(AF_UNIX, SOCK_STREAM | PAIR).0 }
    unix_stream_with_bytes(t) {
        let (fd, peer) = t.socketpair(AF_UNIX, SOCK_STREAM | PAIR);
        t.send(peer, b"hello unix", 0);
        fd
    }
    unix_stream_peer_gone(t) {
        let (fd, peer) = t.socketpair(AF_UNIX, SOCK_STREAM | PAIR);
        t.send(peer, b"left", 0);
        t.close(peer);
        fd
    }
    netlink_unbound(t) { t.netlink() }
    netlink_bound(t) {
        let fd = t.netlink();
        t.bind(fd, Addr::netlink(0, 0));
        fd
    }
    netlink_with_answers(t) {
        let fd = t.netlink();
        t.bind(fd, Addr::netlink(4242, 0));
        // An acknowledgement of nothing, twice.
        t.send(fd, &[request(3, 5, 1, &[]), request(3, 5, 2, &[])].concat(), 0);
        fd
    }
    unix_dgram_unbound(t) { t.unix(SOCK_DGRAM) }
    unix_dgram_bound(t) {
        let fd = t.unix(SOCK_DGRAM);
        t.bind(fd, Addr::name("truth"));
        fd
    }
    unix_dgram_pair(t) { t.socketpair(AF_UNIX, SOCK_DGRAM | PAIR).0 }
    unix_dgram_with_messages(t) {
        let (fd, peer) = t.socketpair(AF_UNIX, SOCK_DGRAM | PAIR);
        t.send(peer, b"hello message", 0);
        t.send(peer, b"", 0);
        t.send(peer, b"third", 0);
        fd
    }
    unix_dgram_peer_gone(t) {
        let (fd, peer) = t.socketpair(AF_UNIX, SOCK_DGRAM | PAIR);
        t.close(peer);
        fd
    }
    unix_seqpacket_pair(t) { t.socketpair(AF_UNIX, SOCK_SEQPACKET | PAIR).0 }
    // Files.
    regular_file(t) { open(t, "/usr/bin/env", libc::O_RDONLY) }
    dev_null(t) { open(t, "/dev/null", libc::O_RDWR) }
    dev_zero(t) { open(t, "/dev/zero", libc::O_RDWR) }
    dev_urandom(t) { open(t, "/dev/urandom", libc::O_RDWR) }
    directory(t) { open(t, "/usr/bin", libc::O_RDONLY | libc::O_DIRECTORY) }
    own_file(t) { own(t, libc::O_RDWR) }
    own_file_read_only(t) { own(t, libc::O_RDONLY) }
    own_file_write_only(t) { own(t, libc::O_WRONLY) }
    own_file_append(t) { own(t, libc::O_RDWR | libc::O_APPEND) }
    own_file_deleted(t) {
        let fd = own(t, libc::O_RDWR);
        t.unlink("/tmp/own/file");
        fd
    }
    own_file_unnamed(t) {
        own_place();
        let fd = t.open("/tmp/own", libc::O_TMPFILE | libc::O_RDWR);
        t.write(fd, b"0123456789");
        fd
    }
    own_file_path_only(t) { own(t, libc::O_PATH) }
    own_file_in_a_closed_directory(t) {
        let fd = own(t, libc::O_RDWR);
        t.chmod("/tmp/own", 0o000);
        fd
    }
    own_directory(t) {
        own_place();
        t.close(t.file("/tmp/own/file", b"x"));
        t.open("/tmp/own", libc::O_RDONLY | libc::O_DIRECTORY)
    }
    own_directory_removed(t) {
        own_place();
        let fd = t.open("/tmp/own", libc::O_RDONLY | libc::O_DIRECTORY);
        t.rmdir("/tmp/own");
        fd
    }
    own_directory_path_only(t) {
        own_place();
        t.open("/tmp/own", libc::O_PATH)
    }
    own_link_path_only(t) {
        own_place();
        t.symlink("file", "/tmp/own/link");
        t.open("/tmp/own/link", libc::O_PATH | libc::O_NOFOLLOW)
    }
    inotify_empty(t) { t.inotify() }
    inotify_with_events(t) {
        own_place();
        let fd = t.inotify();
        t.watch(fd, "/tmp/own", libc::IN_ALL_EVENTS);
        t.mkdir("/tmp/own/inner");
        fd
    }
}

/// Two UDP sockets that are connected to each other.
fn udp_pair(t: &Transcript, domain: c_int) -> (c_int, c_int) {
    let ends = [0, 1].map(|_| t.socket(domain, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    let addresses = ends.map(|fd| {
        t.bind(fd, Addr::loopback(domain, 0));
        t.getsockname(fd)
    });
    t.connect(ends[0], addresses[1]);
    t.connect(ends[1], addresses[0]);
    (ends[0], ends[1])
}

/// An empty directory at a place of its own, without a line, whatever was left there.
fn own_place() {
    // SAFETY: C strings.
    unsafe {
        libc::chdir(c"/tmp".as_ptr());
        libc::chmod(c"/tmp/own".as_ptr(), 0o755);
        for file in [c"/tmp/own/file", c"/tmp/own/link", c"/tmp/own/inner"] {
            libc::unlink(file.as_ptr());
            libc::rmdir(file.as_ptr());
        }
        libc::rmdir(c"/tmp/own".as_ptr());
        libc::mkdir(c"/tmp/own".as_ptr(), 0o755);
    }
}

/// A file of ten bytes in a directory of its own.
fn own(t: &Transcript, flags: c_int) -> c_int {
    own_place();
    t.close(t.file("/tmp/own/file", b"0123456789"));
    t.open("/tmp/own/file", flags)
}

fn open(t: &Transcript, path: &str, flags: c_int) -> c_int {
    let name = path.rsplit('/').next().unwrap_or(path);
    let path = c(path);
    // SAFETY: a C string.
    crate::transcript::record!(t, unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) }, "open(…/{name})")
        as c_int
}
