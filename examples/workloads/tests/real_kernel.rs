//! Each service as an ordinary process, with its client in this one. What is equal in all runs is
//! checked here; that *all* is equal for equal seeds can only be checked on a simulated kernel.

use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command};

use workloads::{blocking, grpc, http, threads, tls, udp, unix};

/// A service that ends with this value.
struct Service(Child);

impl Service {
    fn start(args: &[&str]) -> Self {
        let program = env!("CARGO_BIN_EXE_workloads");
        Self(Command::new(program).args(args).spawn().expect("the service starts"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().expect("own child");
        self.0.wait().expect("own child");
    }
}

fn free_tcp() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

fn free_udp() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound").to_string()
}

/// How many lines of `transcript` begin with `start`.
fn count(transcript: &str, start: &str) -> usize {
    transcript.lines().filter(|line| line.starts_with(start)).count()
}

#[tokio::test]
async fn grpc_calls_and_streams() {
    let address = free_tcp();
    let _service = Service::start(&["grpc", "--listen", &address]);
    let transcript = grpc::client(&address).await.expect("all calls succeed");
    let total = 5 * (1 + 2 + 3 + 4);
    assert!(transcript.contains(&format!(": total {total}, server: elapsed=")), "{transcript}");
    assert_eq!((count(&transcript, "adder"), count(&transcript, "tick")), (20, 10), "{transcript}");
    assert_eq!(count(&transcript, "refused: InvalidArgument: nothing to add"), 1, "{transcript}");
}

#[tokio::test]
async fn tls_is_spoken_over_http_2_and_trusted_by_choice() {
    let (encrypted, plain) = (free_tcp(), free_tcp());
    let _service =
        Service::start(&["tls", "--listen", &encrypted, "--certificate-listen", &plain, "--name", "127.0.0.1"]);
    let transcript = tls::client(&encrypted, &plain).await.expect("all requests succeed");
    assert_eq!(count(&transcript, "one: HTTP/2.0, server: "), 5, "{transcript}");
    assert_eq!(count(&transcript, "several "), 5, "{transcript}");
    let mut secrets: Vec<_> =
        transcript.lines().filter_map(|line| line.split_once("server: ")?.1.split(' ').next()).collect();
    secrets.dedup();
    assert_eq!(secrets.len(), 1 + 5, "one secret for each connection: {transcript}");
}

#[tokio::test]
async fn a_thousand_connections_are_open_at_once() {
    let address = free_tcp();
    let _service = Service::start(&["http", "--listen", &address]);
    let transcript = http::client(&address, 1_000).await.expect("all requests succeed");
    assert_eq!(count(&transcript, "client "), 1_000);
}

#[tokio::test]
async fn blocking_work_ends_in_some_order() {
    let address = free_tcp();
    let _service = Service::start(&["blocking", "--listen", &address]);
    let transcript = blocking::client(&address).await.expect("all requests succeed");
    assert_eq!(count(&transcript, "client 3: pieces ["), 5, "{transcript}");
}

#[test]
fn threads_serve_and_are_counted() {
    let address = free_tcp();
    let _service = Service::start(&["threads", "--listen", &address]);
    for _ in 0..2 {
        let transcript = threads::client(&address).expect("all requests succeed");
        assert_eq!(count(&transcript, "request "), 40, "{transcript}");
        assert!(transcript.contains(" by worker-"), "{transcript}");
    }
}

#[tokio::test]
async fn udp_echoes_answer() {
    let (on_tokio, on_std) = (free_udp(), free_udp());
    let _service = Service::start(&["udp", "--listen", &on_tokio, "--std-listen", &on_std]);
    let transcript = udp::client(&on_tokio, &on_std).await.expect("all requests are answered");
    assert_eq!((count(&transcript, "tokio "), count(&transcript, "std ")), (10, 10), "{transcript}");
}

#[tokio::test]
async fn unix_sockets_of_all_kinds_work() {
    let address = free_tcp();
    let dir = std::env::temp_dir();
    let dir = dir.to_str().expect("a printable directory");
    let _service = Service::start(&["unix", "--listen", &address, "--dir", dir]);
    let transcript = unix::client(&address).await.expect("all sockets work");
    for (kind, lines) in [
        ("tokio abstract stream: ONE ", 3),
        ("tokio path stream: ONE ", 3),
        ("tokio stream pair: 1048576 bytes", 1),
        ("tokio datagram pair: [3, 3, 5] bytes", 1),
        ("tokio abstract datagram: ONE, TWO, THREE", 1),
        ("std abstract stream: ONE ", 2),
        ("std path stream: ONE ", 2),
        ("std stream pair: onetwothree", 1),
        ("std abstract datagram: ONE, TWO, THREE", 1),
        ("std path datagram: over a path", 1),
    ] {
        assert_eq!(count(&transcript, kind), lines, "{kind:?} in\n{transcript}");
    }
}
