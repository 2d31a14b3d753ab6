//! ledger in a storm of crashes: what it promises, and what it loses when one step on the way to the disk is left out.
//!
//! Several clients write, each its own keys from a host of its own, while the power fails and processes are killed.
//! What was answered must be there afterwards, and so must what was only seen; and nobody may see what nobody wrote.
//! What is there is printed on the console of host `test`, so that it can be compared run by run.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use ledger::client::{Client, Error};
use rstest::rstest;
use tokio::time::{sleep, timeout};
use windtunnel::faults::{Faults, host};
use windtunnel::{Chaos, chaos_test, eventually, faults, tcp};

const SERVICE: &str = "ledger:7000";
const CLIENTS: usize = 4;
const KEYS_PER_CLIENT: usize = 3;
const WRITES: u32 = 40;

/// How long a client thinks between two writes, at most.
const THINK_US_MAX: u64 = 2_000;
/// A value is shorter than this: some records lie in one sector of the disk, some in several pages.
const VALUE_BYTES_MAX: usize = 6_000;
/// Small, so that a storm sees many segments and snapshots.
const SEGMENT_BYTES: u32 = 16 << 10;
/// How long a client waits for an answer, and before it tries again.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(10);

/// What ledger promises to survive: any number of losses of power, and kills. It starts again at once, so that there is
/// time for several in one storm.
const WEATHER: Faults = faults::plan()
    .kinds(host::crashes())
    .lasting_at_least(Duration::from_millis(10))
    .lasting_at_most(Duration::from_millis(50));

const LOST: &str = "a write that was answered or seen is lost";
const NOBODY_WROTE: &str = "a value that nobody wrote";

#[chaos_test(cases = 40, faults = WEATHER)]
async fn what_was_answered_is_on_the_disk(cx: Chaos) -> Result<()> {
    writes_survive(&cx, None).await
}

/// Planted: an answer before the log is synced.
#[chaos_test(cases = 500, faults = WEATHER, expect_failure = "a write that was answered or seen is lost")]
async fn an_answer_before_the_sync_is_found(cx: Chaos) -> Result<()> {
    writes_survive(&cx, Some("sync-before-answer")).await
}

/// Planted: segments whose names are not on the disk.
#[chaos_test(cases = 500, faults = WEATHER, expect_failure = "a write that was answered or seen is lost")]
async fn a_segment_in_an_unsynced_directory_is_found(cx: Chaos) -> Result<()> {
    writes_survive(&cx, Some("directory-sync")).await
}

/// Planted: what a killed process left in memory is shown, and then the power fails.
#[chaos_test(cases = 500, faults = WEATHER, expect_failure = "a write that was answered or seen is lost")]
async fn a_start_without_a_sync_is_found(cx: Chaos) -> Result<()> {
    writes_survive(&cx, Some("sync-at-start")).await
}

/// Planted: a torn record is taken for a record.
#[chaos_test(cases = 500, faults = WEATHER, expect_failure = "a value that nobody wrote")]
async fn a_torn_record_that_is_believed_is_found(cx: Chaos) -> Result<()> {
    writes_survive(&cx, Some("checksums")).await
}

/// Planted: a snapshot with a name and no content. ledger notices, and refuses to start.
#[chaos_test(cases = 500, faults = WEATHER, expect_failure = ".snapshot is damaged")]
async fn a_snapshot_that_is_renamed_before_the_sync_is_found(cx: Chaos) -> Result<()> {
    writes_survive(&cx, Some("snapshot-sync")).await
}

/// As above, without an expectation: for whoever wants to see how they shrink.
#[chaos_test(cases = 500, faults = WEATHER)]
#[rstest]
#[case::sync_before_answer("sync-before-answer")]
#[case::directory_sync("directory-sync")]
#[case::sync_at_start("sync-at-start")]
#[case::checksums("checksums")]
#[case::snapshot_sync("snapshot-sync")]
#[ignore = "fails by design; `tests/tests/planted_bugs.rs` looks at how"]
async fn a_step_is_left_out(cx: Chaos, #[case] step: &'static str) -> Result<()> {
    writes_survive(&cx, Some(step)).await
}

/// Starts ledger, lets the storm blow, and looks for all that must be there.
async fn writes_survive(cx: &Chaos, leave_out: Option<&'static str>) -> Result<()> {
    let arguments = ["--segment-bytes".to_owned(), SEGMENT_BYTES.to_string()];
    let leave_out = leave_out.map(|step| ["--leave-out".to_owned(), step.to_owned()]);
    let arguments: Vec<String> = arguments.into_iter().chain(leave_out.into_iter().flatten()).collect();
    cx.host("ledger").main(ledger::main).args(move |_| arguments.clone()).ready(tcp(7000)).start().await?;

    let registers = cx
        .storm(async || {
            let clients = (0..CLIENTS).map(|id| {
                let cx_of_client = cx.clone();
                cx.client(&format!("client{id}")).run(async move || write(&cx_of_client, id).await)
            });
            let mut registers = BTreeMap::new();
            for client in clients.collect::<Vec<_>>() {
                registers.append(&mut client.await);
            }
            registers
        })
        .await;

    assert!(registers.values().any(|register| register.least > 0), "nothing was answered, so nothing was tested");
    let mut found = BTreeMap::new();
    eventually!(within = "10s", {
        found = read_all().await?;
        Ok::<_, Error>(())
    });
    for key in found.keys() {
        assert!(registers.contains_key(key), "{NOBODY_WROTE}: there is the key {key:?}");
    }
    for (key, mut register) in registers {
        println!("{key}: {register:?}, {} bytes", found.get(&key).map_or(0, String::len));
        register.sees(&key, found.get(&key).map(String::as_str));
    }
    Ok(())
}

async fn read_all() -> Result<BTreeMap<String, String>, Error> {
    let mut client = Client::connect(SERVICE).await?;
    let mut found = BTreeMap::new();
    for key in client.list().await? {
        let value = client.get(&key).await?.unwrap_or_default();
        found.insert(key, value);
    }
    Ok(found)
}

/// What a client knows of a key that only it writes. Versions count from 1; version 0 is no value.
#[derive(Debug, Default, Clone, Copy)]
struct Register {
    /// The version that was answered or seen last: no older one may be there.
    least: u32,
    /// The version that was written last.
    most: u32,
}

impl Register {
    /// Judges a value that was read.
    fn sees(&mut self, key: &str, value: Option<&str>) {
        let version = match value {
            None => 0,
            Some(value) => value.split(' ').next().and_then(|version| version.parse().ok()).unwrap_or(u32::MAX),
        };
        assert!(version <= self.most, "{NOBODY_WROTE}: {key} has {value:?}");
        if let Some(value) = value {
            let (found, written) = (value.as_bytes(), value_of(key, version));
            let differs = found.iter().zip(written.as_bytes()).position(|(one, other)| one != other);
            let differs = differs.or((found.len() != written.len()).then_some(found.len().min(written.len())));
            if let Some(at) = differs {
                let found = found.get(at).map_or_else(|| "missing".to_owned(), |byte| format!("{byte:#x}"));
                panic!("{NOBODY_WROTE}: byte {at} of {key}, version {version}, is {found}");
            }
        }
        assert!(self.least <= version, "{LOST}: {key} has version {version} after {}", self.least);
        self.least = version;
    }
}

/// The value of a version: the same for whoever asks.
fn value_of(key: &str, version: u32) -> String {
    let letters = (b'a'..=b'z').map(char::from).cycle().skip(version as usize % 26);
    let length = key.bytes().fold(version as usize * 2_357, |sum, byte| sum * 31 + usize::from(byte)) % VALUE_BYTES_MAX;
    format!("{version} {}", letters.take(length).collect::<String>())
}

/// Writes its keys one after the other, and reads now and then, and whenever it got no answer.
async fn write(cx: &Chaos, id: usize) -> BTreeMap<String, Register> {
    let keys: Vec<String> = (0..KEYS_PER_CLIENT).map(|number| format!("{id}.{number}")).collect();
    let mut registers: BTreeMap<String, Register> = keys.iter().map(|key| (key.clone(), Register::default())).collect();
    let mut connection = None;
    for number in 0..WRITES {
        let key = &keys[number as usize % keys.len()];
        let register = registers.get_mut(key).expect("one for each key");
        register.most += 1;
        let version = register.most;
        let value = value_of(key, version);
        let reads = cx.random::<u8>().is_multiple_of(4);
        let asked = ask(&mut connection, async |client| {
            client.put(key, &value).await?;
            if reads { Ok(Some(client.get(key).await?)) } else { Ok(None) }
        });
        match asked.await {
            Some(seen) => {
                register.least = version;
                if let Some(seen) = seen {
                    register.sees(key, seen.as_deref());
                }
            }
            // It may have taken place nonetheless. Whoever looks, once there is an answer again, knows; and before the
            // next puts cover up what is gone.
            None => {
                for (key, register) in &mut registers {
                    register.sees(key, keep_asking(&mut connection, key).await.as_deref());
                }
            }
        }
        sleep(Duration::from_micros(cx.random::<u64>() % THINK_US_MAX)).await;
    }
    registers
}

/// The value of a key, however long it takes to get one.
async fn keep_asking(connection: &mut Option<Client>, key: &str) -> Option<String> {
    loop {
        match ask(connection, async |client| client.get(key).await).await {
            Some(value) => break value,
            None => sleep(PAUSE).await,
        }
    }
}

/// Asks over a connection that is made when there is none, and dropped when it has no answer.
async fn ask<T>(
    connection: &mut Option<Client>,
    request: impl AsyncFnOnce(&mut Client) -> Result<T, Error>,
) -> Option<T> {
    let asked = async {
        let mut client = match connection.take() {
            Some(client) => client,
            None => Client::connect(SERVICE).await?,
        };
        let answer = request(&mut client).await?;
        *connection = Some(client);
        Ok::<_, Error>(answer)
    };
    timeout(PATIENCE, asked).await.ok()?.ok()
}
