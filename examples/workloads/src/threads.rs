//! std threads: an acceptor, a pool of workers that wait on a condition variable, a thread that
//! counts what a channel brings, a table behind a read-write lock, over `std::net`.
//!
//! `--listen` (default `0.0.0.0:7104`).

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::args;
use crate::dial;
use crate::fingerprint::fingerprint_blocking;

const WORKERS: usize = 4;
const CLIENTS: usize = 8;
const REQUESTS: usize = 5;

/// How long an idle worker waits before it looks around.
const IDLE_MAX: Duration = Duration::from_millis(50);

/// Connections that wait for a worker.
#[derive(Default)]
struct Queue {
    waiting: Mutex<VecDeque<TcpStream>>,
    filled: Condvar,
}

impl Queue {
    fn push(&self, stream: TcpStream) {
        self.waiting.lock().expect("no holder panics").push_back(stream);
        self.filled.notify_one();
    }

    fn pop(&self) -> TcpStream {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        loop {
            if let Some(stream) = waiting.pop_front() {
                return stream;
            }
            (waiting, _) = self.filled.wait_timeout(waiting, IDLE_MAX).expect("no holder panics");
        }
    }
}

/// What all workers share.
struct Shared {
    began: Instant,
    queue: Queue,
    /// How many requests each worker served.
    served: RwLock<BTreeMap<usize, usize>>,
    all_started: Barrier,
}

/// Serves until it is killed.
///
/// # Errors
///
/// When it cannot listen or accept.
pub fn server_main() -> anyhow::Result<()> {
    let listener = TcpListener::bind(args::value_of("--listen", "0.0.0.0:7104")?)?;
    let shared = Arc::new(Shared {
        began: Instant::now(),
        queue: Queue::default(),
        served: RwLock::default(),
        all_started: Barrier::new(WORKERS + 1),
    });
    let (served, counter) = mpsc::channel();
    for worker in 0..WORKERS {
        let (shared, served) = (shared.clone(), served.clone());
        thread::Builder::new().name(format!("worker-{worker}")).spawn(move || work(worker, &shared, &served))?;
    }
    let counting = shared.clone();
    thread::spawn(move || {
        for worker in counter {
            *counting.served.write().expect("no holder panics").entry(worker).or_default() += 1;
        }
    });
    shared.all_started.wait();
    for stream in listener.incoming() {
        shared.queue.push(stream?);
    }
    Ok(())
}

fn work(worker: usize, shared: &Shared, served: &mpsc::Sender<usize>) {
    shared.all_started.wait();
    loop {
        let stream = shared.queue.pop();
        if let Err(error) = serve(worker, shared, served, &stream) {
            eprintln!("worker {worker}: {error:#}");
        }
    }
}

fn serve(worker: usize, shared: &Shared, served: &mpsc::Sender<usize>, mut stream: &TcpStream) -> anyhow::Result<()> {
    for line in BufReader::new(stream).lines() {
        let answer = match line?.as_str() {
            "served" => format!("{:?}", shared.served.read().expect("no holder panics")),
            "fingerprint" => fingerprint_blocking(shared.began),
            request => {
                served.send(worker)?;
                format!("{request} by {}", thread::current().name().unwrap_or("nobody"))
            }
        };
        stream.write_all(format!("{answer}\n").as_bytes())?;
    }
    Ok(())
}

/// Several threads with a connection each, then one that asks who served them.
///
/// # Errors
///
/// When a request fails, or the server's count is not that of the requests.
pub fn client(address: &str) -> anyhow::Result<String> {
    let began = Instant::now();
    let before = total(&Connection::open(address)?.ask("served")?);
    let (answers, in_order) = mpsc::channel();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|id| {
                let answers = answers.clone();
                scope.spawn(move || ask(address, id, &answers))
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().expect("clients return their errors"))
    })?;
    drop(answers);
    let mut transcript: Vec<String> = in_order.into_iter().collect();

    let mut connection = Connection::open(address)?;
    // The counting thread may lag behind the answers.
    let counted = loop {
        let served = connection.ask("served")?;
        if total(&served) >= before + CLIENTS * REQUESTS {
            break served;
        }
        thread::sleep(IDLE_MAX);
    };
    ensure!(total(&counted) == before + CLIENTS * REQUESTS, "{counted}");
    transcript.push(format!("served: {counted}"));
    transcript.push(format!("server: {}", connection.ask("fingerprint")?));
    transcript.push(format!("client: {}", fingerprint_blocking(began)));
    Ok(transcript.join("\n"))
}

fn ask(address: &str, id: usize, answers: &mpsc::Sender<String>) -> anyhow::Result<()> {
    let mut connection = Connection::open(address)?;
    for request in 0..REQUESTS {
        let answer = connection.ask(&format!("request {id}.{request}"))?;
        answers.send(answer)?;
    }
    Ok(())
}

/// The sum of the counts in `{0: 3, 1: 2}`.
fn total(counted: &str) -> usize {
    let counts = counted.split([':', ',', '}']).skip(1).step_by(2);
    counts.filter_map(|count| count.trim().parse::<usize>().ok()).sum()
}

struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: &str) -> anyhow::Result<Self> {
        let stream = dial::tcp_blocking(address).context("failed to reach the server")?;
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    fn ask(&mut self, request: &str) -> anyhow::Result<String> {
        self.reader.get_mut().write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        ensure!(self.reader.read_line(&mut answer)? > 0, "the server closed the connection");
        Ok(answer.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_total_is_the_sum_of_all_counts() {
        assert_eq!(super::total("{}"), 0);
        assert_eq!(super::total("{0: 3, 1: 12, 3: 4}"), 19);
    }
}
