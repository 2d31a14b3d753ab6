//! Clients of one server: some set, get and publish, one subscribes. Whatever breaks, they connect
//! again and go on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mini_redis::client::{self, Client, Subscriber};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::history::{Call, History, Operation, Outcome, Received};

/// How long a client waits for a connection or an answer. mini-redis itself waits for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long it waits after something broke.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a subscriber believes in a silent connection. One whose server lost power never breaks.
const QUIET_MAX: Duration = Duration::from_secs(3);

/// How long a client thinks between two calls, at most.
const THINK_MAX: Duration = Duration::from_millis(20);

const CHANNEL: &str = "news";
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// Has `clients` clients call the server at `address`, `calls` times each, and one subscriber
/// listen, and returns what they saw.
pub async fn run(address: &str, clients: usize, calls: usize) -> History {
    let began = Instant::now();
    run_group(0, address, clients, calls, move || began.elapsed()).await
}

/// As [`run`], for one of several groups that run on machines of their own: `clock` tells the time
/// on which all of them agree. What they return can be put together with [`History::of_groups`].
pub async fn run_group(
    group: usize,
    address: &str,
    clients: usize,
    calls: usize,
    clock: impl Fn() -> Duration + Send + Sync + 'static,
) -> History {
    let log = Log { clock: Arc::new(clock), history: Arc::default() };
    let mut subscribers = JoinSet::new();
    subscribers.spawn(subscribe_forever(address.to_owned(), group, log.clone()));

    // Each client has a number of its own among those of all groups.
    let ids = group * clients..(group + 1) * clients;
    let callers: JoinSet<()> = ids.map(|id| Caller::new(id, address, log.clone()).call_times(calls)).collect();
    callers.join_all().await;
    subscribers.shutdown().await;
    log.history()
}

/// The history so far, shared by all.
#[derive(Clone)]
struct Log {
    clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    history: Arc<Mutex<History>>,
}

impl Log {
    fn now(&self) -> Duration {
        (self.clock)()
    }

    fn record(&self, add: impl FnOnce(&mut History)) {
        // Each addition is one push: a panic elsewhere cannot have left half of one.
        add(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A client that calls, and its connection while it has one.
struct Caller {
    id: usize,
    address: String,
    connection: Option<Client>,
    log: Log,
}

impl Caller {
    fn new(id: usize, address: &str, log: Log) -> Self {
        Self { id, address: address.to_owned(), connection: None, log }
    }

    async fn call_times(mut self, calls: usize) {
        for number in 0..calls {
            let call = random_call(self.id, number);
            let started = self.log.now();
            let outcome = self.call(&call).await;
            let ended = self.log.now();
            let failed = matches!(outcome, Outcome::Unreached(_) | Outcome::Unknown(_));
            let operation = Operation { client: self.id, started, ended, call, outcome };
            self.log.record(|history| history.operations.push(operation));
            sleep(if failed { PAUSE } else { THINK_MAX.mul_f64(rand::random()) }).await;
        }
    }

    async fn call(&mut self, call: &Call) -> Outcome {
        // A connection is put back only after an answer: an answer that is still on its way must
        // not be taken for that of the next call.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match in_time(client::connect(&self.address)).await {
                Ok(connection) => connection,
                Err(error) => return Outcome::Unreached(error),
            },
        };
        match in_time(perform(&mut connection, call)).await {
            Ok(outcome) => {
                self.connection = Some(connection);
                outcome
            }
            Err(error) => Outcome::Unknown(error),
        }
    }
}

async fn perform(connection: &mut Client, call: &Call) -> mini_redis::Result<Outcome> {
    Ok(match call {
        Call::Set { key, value } => {
            connection.set(key, Bytes::from(value.clone())).await?;
            Outcome::Set
        }
        Call::Get { key } => {
            let value = connection.get(key).await?;
            Outcome::Got(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
        }
        Call::Publish { message } => {
            Outcome::Published(connection.publish(CHANNEL, Bytes::from(message.clone())).await?)
        }
    })
}

fn random_call(client: usize, number: usize) -> Call {
    let unique = format!("{client}.{number}");
    let key = KEYS[rand::random_range(0..KEYS.len())].to_owned();
    match rand::random_range(0..10) {
        0..4 => Call::Set { key, value: unique },
        4..8 => Call::Get { key },
        _ => Call::Publish { message: unique },
    }
}

/// Receives until the task is aborted.
async fn subscribe_forever(address: String, id: usize, log: Log) {
    loop {
        if let Ok(mut subscriber) = in_time(subscribe(&address)).await {
            while let Ok(Ok(Some(message))) = timeout(QUIET_MAX, subscriber.next_message()).await {
                let message = String::from_utf8_lossy(&message.content).into_owned();
                let received = Received { subscriber: id, at: log.now(), message };
                log.record(|history| history.received.push(received));
            }
        }
        sleep(PAUSE).await;
    }
}

async fn subscribe(address: &str) -> mini_redis::Result<Subscriber> {
    client::connect(address).await?.subscribe(vec![CHANNEL.to_owned()]).await
}

async fn in_time<T>(call: impl Future<Output = mini_redis::Result<T>>) -> Result<T, String> {
    match timeout(PATIENCE, call).await {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {PATIENCE:?}")),
    }
}
