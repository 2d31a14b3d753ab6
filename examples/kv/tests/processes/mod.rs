//! A cluster of ordinary processes on the loopback of the real kernel.

use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use kv::client::Client;
use tokio::time::{sleep, timeout};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// Three replicas, each a process, which end with this value.
pub(crate) struct Cluster {
    addresses: Vec<String>,
    concern: &'static str,
    replicas: Vec<Child>,
}

impl Cluster {
    /// Starts three replicas and waits until all are ready.
    pub(crate) async fn start(concern: &'static str) -> Self {
        let addresses = free_addresses(3);
        let replicas = (0..3).map(|id| spawn(id, &addresses, concern)).collect();
        let cluster = Self { addresses, concern, replicas };
        for id in 0..3 {
            cluster.ready(id).await;
        }
        cluster
    }

    pub(crate) fn client(&self, id: usize) -> Client {
        Client::new(&self.addresses[id]).expect("valid address")
    }

    pub(crate) async fn get_text(&self, id: usize, path: &str) -> reqwest::Result<String> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let response = http.get(format!("http://{}{path}", self.addresses[id])).send().await?;
        response.error_for_status()?.text().await
    }

    /// Waits until the replica says that it is ready.
    pub(crate) async fn ready(&self, id: usize) {
        let ready = async {
            while self.get_text(id, "/healthz").await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(READY_WITHIN, ready).await.unwrap_or_else(|_| panic!("replica {id} is not ready"));
    }

    /// SIGKILL: the replica's memory is lost.
    pub(crate) fn crash(&mut self, id: usize) {
        self.replicas[id].kill().expect("own child");
        self.replicas[id].wait().expect("own child");
    }

    pub(crate) fn restart(&mut self, id: usize) {
        self.replicas[id] = spawn(id, &self.addresses, self.concern);
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self, id: usize) {
        self.signal(id, "TERM");
    }

    /// How the replica's process ends.
    pub(crate) fn exit_status(&mut self, id: usize) -> ExitStatus {
        self.replicas[id].wait().expect("own child")
    }

    /// SIGSTOP: the replica neither hears nor says anything, as behind a partition.
    pub(crate) fn pause(&self, id: usize) {
        self.signal(id, "STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, id: usize) {
        self.signal(id, "CONT");
    }

    fn signal(&self, id: usize, name: &str) {
        let process = self.replicas[id].id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status().expect("kill(1) is there");
        assert!(sent.success(), "SIG{name} to replica {id}: {sent}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for replica in &mut self.replicas {
            // It may have ended by itself, as some tests want.
            let _ = replica.kill();
            let _ = replica.wait();
        }
    }
}

fn spawn(id: usize, addresses: &[String], concern: &str) -> Child {
    let peers: Vec<_> = addresses.iter().filter(|&address| *address != addresses[id]).cloned().collect();
    Command::new(env!("CARGO_BIN_EXE_kv"))
        .args(["--id", &id.to_string(), "--listen", &addresses[id]])
        .args(["--peers", &peers.join(","), "--write-concern", concern])
        .stdout(Stdio::null())
        .spawn()
        .expect("kv starts")
}

/// Addresses that nobody listened on a moment ago.
fn free_addresses(count: usize) -> Vec<String> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    held.iter().map(|listener| listener.local_addr().expect("bound").to_string()).collect()
}
