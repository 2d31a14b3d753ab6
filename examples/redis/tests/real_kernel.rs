//! The unmodified server as an ordinary process, with its clients in this one.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis_workload::history::Memory;
use redis_workload::workload;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

struct Server {
    address: String,
    process: Child,
}

impl Server {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("bound").to_string();
        drop(free);
        Self { process: spawn(&address), address }
    }

    async fn ready(&self) {
        let ready = async {
            while TcpStream::connect(&self.address).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), ready).await.expect("the server listens");
    }

    fn crash(&mut self) {
        self.process.kill().expect("own child");
        self.process.wait().expect("own child");
    }

    fn restart(&mut self) {
        self.process = spawn(&self.address);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

fn spawn(address: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_redis-workload"))
        .args(["--listen", address])
        .stdout(Stdio::null())
        .spawn()
        .expect("the server starts")
}

/// In good weather every call succeeds, messages arrive and nothing is stale or forgotten.
#[tokio::test]
async fn several_clients_see_one_consistent_server() {
    let server = Server::start();
    server.ready().await;
    let history = workload::run(&server.address, 4, 50).await;
    assert_eq!(history.succeeded(), 200, "{history}");
    assert!(!history.received.is_empty(), "{history}");
    assert_eq!(history.violations(Memory::Kept), [""; 0]);
}

/// A crash costs the clients some calls and the server its memory; then they go on.
#[tokio::test]
async fn clients_go_on_after_a_crash() {
    let mut server = Server::start();
    server.ready().await;
    let address = server.address.clone();
    let clients = tokio::spawn(async move { workload::run(&address, 4, 60).await });
    sleep(Duration::from_millis(200)).await;
    server.crash();
    sleep(Duration::from_millis(200)).await;
    server.restart();
    let history = clients.await.expect("the clients end");
    let failed = history.operations.len() - history.succeeded();
    assert!((1..100).contains(&failed), "{failed} calls failed:\n{history}");
    assert_eq!(history.violations(Memory::MayBeLost), [""; 0]);
}
