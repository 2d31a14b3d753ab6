//! The workloads in windtunnel's simulated world: unmodified tokio, its runtime on each host, each server and timer
//! host in an image of its own.

#[path = "../../workloads/bodies.rs"]
mod bodies;

/// What the bodies run on: tokio as it is on the registry.
mod under {
    pub use tokio::io::{AsyncReadExt, AsyncWriteExt};
    pub use tokio::net::{TcpListener, TcpStream};
    pub use tokio::task::spawn;
    pub use tokio::time::{interval, sleep};
}

use std::future::Future;
use std::io::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use windtunnel_sim::world::{Config, Console, EventLine, OnExit, Outcome, Position, Program, Sink, ThreadStack};
use windtunnel_sim::{control, world};
use workloads::{IDLE_LASTS, Order, RECORD_BYTES, Stopwatch, TIMERS_LAST, Workload};

/// Each host's own runtime.
fn on_tokio<T>(body: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(body)
}

unsafe fn serve(_: usize, _: &[u8]) -> i32 {
    on_tokio(bodies::serve());
    0
}

/// `fired` is the address of the world's counter: an image has statics of its own.
unsafe fn tick(fired: usize, _: &[u8]) -> i32 {
    // SAFETY: `timers` leaks the counter.
    on_tokio(bodies::tick(unsafe { &*(fired as *const AtomicU64) }));
    0
}

type Entry = unsafe fn(usize, &[u8]) -> i32;

/// Starts a host, as a service is started: its program in an image of its own.
fn start(order: Order, name: &str, entry: Entry, user: usize) {
    let host = control::add_host(name);
    let started = if order.one_image {
        // SAFETY: `user` is what `entry` expects.
        control::start_client(host, Box::new(move || _ = unsafe { entry(user, &[]) }))
    } else {
        let args = vec![name.to_owned()];
        let on_exit = OnExit::Fail;
        control::start(host, &Program { entry, user, payload: Vec::new(), args, env: Vec::new(), on_exit })
    };
    started.expect("the host starts");
}

/// Says what went wrong, and nothing else.
struct Complain;

impl Sink for Complain {
    fn console(&mut self, output: Console<'_>) {
        eprint!("{}: {}", output.host, String::from_utf8_lossy(output.bytes));
    }
    fn note(&mut self, _: Position, _: &str, _: &str) {}
    fn event(&mut self, _: &EventLine<'_>) {}
    fn progress(&mut self, _: Position, _: &str, _: &str) {}
    fn stack(&mut self, stack: &ThreadStack<'_>) {
        eprintln!("{} waits for {}", stack.host, stack.waits_for);
    }
    fn fatal(&mut self, _: Position, text: &str) {
        eprintln!("{text}");
    }
}

fn main() {
    let order = Order::from_args();
    let config = Config {
        seed: order.seed,
        start_unix_ns: 1_800_000_000_000_000_000,
        virtual_timeout: Duration::from_secs(24 * 3600),
        calm: order.calm,
        quiet: windtunnel_sim::world::Quiet::default(),
        cpus: 4,
        test_env: Vec::new(),
        sink: Box::new(Complain),
        record: false,
        perturb: None,
        syncs: windtunnel_sim::world::Syncs::Kept,
        guard: false,
        heap_record: None,
    };
    let body: Box<dyn FnOnce() -> (Arc<Stopwatch>, u64)> = match order.workload {
        Workload::Echo { .. } | Workload::Pairs { .. } => Box::new(move || echo(order)),
        Workload::Timers { hosts } => Box::new(move || timers(order, hosts)),
        Workload::Idle { hosts } => Box::new(move || idle(order, hosts)),
        Workload::Appends { count, unsynced } => Box::new(move || appends(count, unsynced)),
    };
    let (result, results) = mpsc::channel();
    let ending = world::run(config, Box::new(move || result.send(body()).expect("main waits")));
    assert_eq!(ending.outcome, Outcome::Finished);
    let (watch, count) = results.try_recv().expect("the body has ended");
    watch.report(count);
    eprintln!("digest {:032x} after {} events, {} ns", ending.digest, ending.at.event, ending.at.now_ns);
}

fn echo(order: Order) -> (Arc<Stopwatch>, u64) {
    let (pairs, each) = order.workload.pairs();
    let watch = Arc::new(Stopwatch::new(pairs as u64));
    let (done, all_done) = mpsc::channel();
    for pair in 0..pairs {
        let server = format!("s{pair}");
        start(order, &server, serve, 0);
        let (watch, done) = (watch.clone(), done.clone());
        let ask = move || {
            if on_tokio(bodies::ask(server, each, watch)) {
                done.send(()).expect("the body waits");
            }
        };
        control::start_client(control::add_host(&format!("c{pair}")), Box::new(ask)).expect("the client starts");
    }
    all_done.recv().expect("the last client ends");
    (watch, each * pairs as u64)
}

/// Appends to a file of the test's own host.
fn appends(count: u64, unsynced: u64) -> (Arc<Stopwatch>, u64) {
    let watch = Arc::new(Stopwatch::new(1));
    let mut file = std::fs::File::create("/srv/log").expect("a file can be made");
    watch.begin();
    for number in 1..=count {
        file.write_all(&[number as u8; RECORD_BYTES]).expect("there is space");
        if number % unsynced == 0 {
            file.sync_data().expect("the disk is well");
        }
    }
    watch.end();
    (watch, count)
}

fn timers(order: Order, hosts: u64) -> (Arc<Stopwatch>, u64) {
    let watch = Arc::new(Stopwatch::new(1));
    let fired: &'static AtomicU64 = Box::leak(Box::default());
    (0..hosts).for_each(|number| start(order, &format!("h{number}"), tick, std::ptr::from_ref(fired) as usize));
    let count = on_tokio(bodies::supervise(TIMERS_LAST, fired, &watch));
    (watch, count)
}

fn idle(order: Order, hosts: u64) -> (Arc<Stopwatch>, u64) {
    let watch = Arc::new(Stopwatch::new(1));
    (0..hosts).for_each(|number| start(order, &format!("h{number}"), serve, 0));
    on_tokio(bodies::supervise(IDLE_LASTS, &AtomicU64::new(0), &watch));
    (watch, hosts)
}
