//! Tests that end in every way there is. Ignored here; the other modules run them.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use windtunnel::prelude::*;

#[chaos_test]
#[ignore = "a fixture"]
async fn passes(cx: Chaos) {
    sleep(Duration::from_secs(60)).await;
    println!("slept for {:?}", cx.elapsed());
}

#[chaos_test(cases = 8)]
#[ignore = "a fixture"]
async fn panics_at_seed_five(cx: Chaos) {
    sleep(Duration::from_millis(1500)).await;
    println!("looking at seed {}", cx.seed());
    assert_ne!(cx.seed(), 5, "five is not for us");
}

#[chaos_test]
#[ignore = "a fixture"]
async fn fails_in_good_weather(cx: Chaos) -> Result<()> {
    if cx.is_calm() { Err(windtunnel::Error::msg("it rains")) } else { Ok(()) }
}

#[chaos_test]
#[ignore = "a fixture"]
async fn aborts() {
    std::process::abort();
}

#[chaos_test]
#[ignore = "a fixture"]
async fn exits() {
    println!("about to leave");
    std::process::exit(3);
}

#[chaos_test]
#[ignore = "a fixture"]
async fn leaves_with_success() {
    std::process::exit(0);
}

#[chaos_test]
#[ignore = "a fixture"]
async fn overflows_its_stack() {
    fn recurse(depth: u64) -> u64 {
        let ballast = std::hint::black_box([depth; 64]);
        if depth == u64::MAX { 0 } else { recurse(depth + 1) + ballast[0] }
    }
    println!("{}", recurse(0));
}

#[chaos_test(wall_timeout = "1s")]
#[ignore = "a fixture"]
async fn loops_for_ever() {
    loop {
        std::hint::spin_loop();
    }
}

#[chaos_test]
#[ignore = "a fixture"]
async fn waits_for_nothing() {
    std::future::pending::<()>().await;
}

#[chaos_test(virtual_timeout = "30s")]
#[ignore = "a fixture"]
async fn takes_too_long() {
    sleep(Duration::from_secs(60)).await;
}

#[chaos_test]
#[ignore = "a fixture"]
async fn never_becomes_true(cx: Chaos) {
    eventually!(within = "5s", cx.elapsed() > Duration::from_secs(3600), "an hour is over");
}

#[chaos_test(cases = 3, expect_failure = "nobody fails")]
#[ignore = "a fixture"]
async fn should_fail() {}

#[chaos_test(cases = 3, expect_failure = "as foreseen")]
#[ignore = "a fixture"]
async fn fails_as_expected(cx: Chaos) {
    assert!(cx.is_calm(), "as foreseen");
}

fn refuses_to_start() -> Result<(), String> {
    println!("reading the configuration");
    Err("no configuration".to_owned())
}

#[chaos_test]
#[ignore = "a fixture"]
async fn a_host_returns_an_error(cx: Chaos) -> Result<()> {
    cx.hosts("kv", 2).main(refuses_to_start).start().await?;
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

#[chaos_test]
#[ignore = "a fixture"]
async fn a_host_panics(cx: Chaos) -> Result<()> {
    cx.host("kv").main(|| -> () { panic!("no quorum: {} of 3", 1) }).start().await?;
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

#[chaos_test]
#[ignore = "a fixture"]
async fn a_host_aborts(cx: Chaos) -> Result<()> {
    cx.host("kv").main(|| -> () { std::process::abort() }).start().await?;
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

#[chaos_test]
#[ignore = "a fixture"]
async fn a_client_panics(cx: Chaos) -> Result<()> {
    let _client = cx.client("c1").run(async || -> () { panic!("no answer") });
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

#[chaos_test]
#[ignore = "a fixture"]
async fn a_name_is_wrong(cx: Chaos) {
    cx.partition("test", "kv9").keep();
}

#[chaos_test]
#[ignore = "a fixture"]
async fn writes_a_lot() {
    for line in 0..1000 {
        println!("line {line}");
    }
    panic!("enough");
}

/// Draws on everything that must be the same in every run.
#[chaos_test]
#[ignore = "a fixture"]
async fn draws(cx: Chaos) {
    use std::collections::HashMap;
    use std::hash::{BuildHasher as _, RandomState};
    let order: Vec<u32> = (0..20).map(|key| (key, ())).collect::<HashMap<_, _>>().into_keys().collect();
    let stack = std::ptr::from_ref(&order).addr();
    let heap = Box::new(7);
    println!("order {order:?}");
    println!("hash {:x}", RandomState::new().hash_one(1));
    println!("random {:x} {:?}", cx.random::<u64>(), cx.pick(&[1, 2, 3]));
    println!("addresses {stack:x} {:x} {:x}", std::ptr::from_ref(&*heap).addr(), draws as *const () as usize);
    println!("arguments {:?}", std::env::args().collect::<Vec<_>>());
    println!("now {:?} on {:?}", std::time::SystemTime::now(), std::thread::current().name());
    panic!("drawn");
}

/// What it reads may change between two runs; the kernel lets files outside be read.
pub(crate) const CHANGING_FILE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/changing");

#[chaos_test]
#[ignore = "a fixture"]
async fn reads_what_changes() -> Result<()> {
    for _ in 0..10 {
        sleep(Duration::from_millis(1)).await;
    }
    println!("read {}", std::fs::read_to_string(CHANGING_FILE)?);
    Ok(())
}

/// Counts in memory what it is asked to, and answers how much that is.
async fn store() -> std::io::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let listener = TcpListener::bind("0.0.0.0:7").await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let add = stream.read_u8().await?;
            stream.write_u32(COUNT.fetch_add(u32::from(add), SeqCst) + u32::from(add)).await
        });
    }
}

async fn count(add: u8) -> Option<u32> {
    let asked = async {
        let mut stream = TcpStream::connect("store:7").await?;
        stream.write_u8(add).await?;
        stream.read_u32().await
    };
    timeout(Duration::from_millis(500), asked).await.ok()?.ok()
}

/// Counts ten times, each until it is acknowledged, and then looks whether all of them are there.
async fn everything_counted_is_there(cx: Chaos) -> Result<()> {
    cx.host("store").main(store).ready(tcp(7)).start().await?;
    cx.storm(async || {
        for _ in 0..10 {
            while count(1).await.is_none() {}
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let counted = count(0).await.ok_or(windtunnel::Error::msg("no answer in good weather"))?;
    assert!(counted >= 10, "something that was counted is gone");
    Ok(())
}

#[chaos_test(faults = net::partitions() + net::latencies() + net::losses() + host::crashes() + host::pauses())]
#[ignore = "a fixture"]
async fn forgets_in_a_crash(cx: Chaos) -> Result<()> {
    everything_counted_is_there(cx).await
}

#[chaos_test(cases = 20, faults = net::partitions() + net::latencies() + net::losses() + host::pauses())]
#[ignore = "a fixture"]
async fn remembers_without_crashes(cx: Chaos) -> Result<()> {
    everything_counted_is_there(cx).await
}

#[chaos_test(cases = 20, faults = net::all() + clock::all() + host::cpu_burns())]
#[ignore = "a fixture"]
async fn remembers_whatever_happens_but_crashes(cx: Chaos) -> Result<()> {
    everything_counted_is_there(cx).await
}

#[chaos_test(plan = "100ms partition store | test for 50ms; 600ms crash store restart after 1s")]
#[ignore = "a fixture"]
async fn has_a_plan_of_its_own(cx: Chaos) -> Result<()> {
    everything_counted_is_there(cx).await
}

#[chaos_test(plan = "1s crash stores restart after 1s")]
#[ignore = "a fixture"]
async fn has_a_plan_for_somebody_else(cx: Chaos) -> Result<()> {
    everything_counted_is_there(cx).await
}

#[chaos_test(plan = "1s crahs store restart after 1s")]
#[ignore = "a fixture"]
async fn has_a_plan_that_cannot_be_read(cx: Chaos) -> Result<()> {
    everything_counted_is_there(cx).await
}

#[chaos_test(cases = 8, faults = net::partitions())]
#[ignore = "a fixture"]
async fn talks_to_nobody(cx: Chaos) -> Result<()> {
    cx.host("store").main(store).ready(tcp(7)).start().await?;
    cx.storm(async || sleep(Duration::from_secs(3)).await).await;
    Ok(())
}

#[chaos_test(faults = net::partitions())]
#[ignore = "a fixture"]
async fn has_no_storm(cx: Chaos) -> Result<()> {
    cx.host("store").main(store).ready(tcp(7)).start().await?;
    Ok(())
}

#[chaos_test(plan = "1s pause store for 1h")]
#[ignore = "a fixture"]
async fn breaks_its_steady_state(cx: Chaos) -> Result<()> {
    cx.host("store").main(store).ready(tcp(7)).start().await?;
    cx.storm(async || sleep(Duration::from_secs(7200)).await)
        .before(async || println!("before the storm"))
        .steady("200ms", async || count(0).await.map(drop).ok_or("nobody answers"))
        .recovered(async || println!("after a storm that was not broken off"))
        .await;
    Ok(())
}

/// Fails when a map's first key is the last that was put in.
#[chaos_test(cases = 200)]
#[ignore = "a fixture"]
async fn depends_on_the_order_of_a_map(_cx: Chaos) -> Result<()> {
    let map: std::collections::HashMap<u32, ()> = (0..8).map(|key| (key, ())).collect();
    assert_ne!(map.keys().next(), Some(&7), "the last comes first");
    Ok(())
}

/// Fails when the way to `far` and back is long, whatever lies between the others.
#[chaos_test(cases = 200)]
#[ignore = "a fixture"]
async fn depends_on_one_link(cx: Chaos) -> Result<()> {
    cx.hosts("near", 2).main(store).ready(tcp(7)).start().await?;
    cx.host("far").main(store).ready(tcp(7)).start().await?;
    for _ in 0..10 {
        for near in ["near0", "near1"] {
            drop(TcpStream::connect((near, 7)).await?);
        }
        let began = Instant::now();
        drop(TcpStream::connect("far:7").await?);
        assert!(began.elapsed() < Duration::from_micros(2700), "that took too long");
    }
    Ok(())
}

/// Fails when the store has forgotten once for every five operations, so fewer of these need fewer crashes.
#[chaos_test(cases = 200, faults = host::crashes())]
#[ignore = "a fixture"]
async fn needs_a_crash_for_every_five(cx: Chaos, #[strategy = vec(0..9_u8, 6..16)] ops: Vec<u8>) -> Result<()> {
    cx.host("store").main(store).ready(tcp(7)).start().await?;
    let (mut forgotten, mut last) = (0, 0);
    cx.storm(async || {
        for _ in 0..200 {
            if let Some(counted) = count(1).await {
                forgotten += usize::from(counted < last);
                last = counted;
            }
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(forgotten * 5 < ops.len(), "forgotten too often");
    Ok(())
}

/// What a demonstration of a bug looks like.
#[chaos_test(cases = 30, faults = host::crashes(), expect_failure = "something that was counted is gone")]
#[ignore = "a fixture"]
async fn demonstrates_that_memory_forgets(cx: Chaos) -> Result<()> {
    everything_counted_is_there(cx).await
}

/// Expects a failure that does not come; another does.
#[chaos_test(cases = 30, faults = host::crashes(), expect_failure = "the disk is gone")]
#[ignore = "a fixture"]
async fn expects_another_failure(cx: Chaos) -> Result<()> {
    everything_counted_is_there(cx).await
}

#[chaos_test(plan = "1s pause store for 1s", cases = 2)]
#[ignore = "a fixture"]
async fn has_a_plan_and_no_storm(cx: Chaos) -> Result<()> {
    cx.host("store").main(store).ready(tcp(7)).start().await?;
    Ok(())
}

/// The rehearsal may have more hosts than a case, or fewer.
#[chaos_test(cases = 30, faults = net::partitions() + host::crashes())]
#[ignore = "a fixture"]
async fn has_hosts_by_chance(cx: Chaos, #[strategy = 1..=4_usize] count: usize) -> Result<()> {
    cx.hosts("store", count).main(store).ready(tcp(7)).start().await?;
    cx.storm(async || sleep(Duration::from_secs(3)).await).await;
    Ok(())
}

#[chaos_test(faults = host::crashes())]
#[ignore = "a fixture"]
async fn fails_in_every_storm(cx: Chaos) -> Result<()> {
    cx.host("store").main(store).ready(tcp(7)).start().await?;
    cx.storm(async || sleep(Duration::from_secs(3)).await).await;
    assert!(cx.is_calm(), "no fault is needed for this");
    Ok(())
}

/// Serves only when it is the first to count.
async fn starts_once() -> std::io::Result<()> {
    if count(1).await == Some(1) { store().await } else { Err(std::io::Error::other("once is enough")) }
}

#[chaos_test(plan = "1s crash once")]
#[ignore = "a fixture"]
async fn breaks_and_does_not_recover(cx: Chaos) -> Result<()> {
    cx.host("store").main(store).ready(tcp(7)).start().await?;
    cx.host("once").main(starts_once).ready(tcp(7)).start().await?;
    cx.storm(async || sleep(Duration::from_secs(60)).await)
        .steady("200ms", async || timeout(Duration::from_secs(1), TcpStream::connect("once:7")).await.map(drop))
        .await;
    Ok(())
}
