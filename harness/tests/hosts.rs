//! Hosts: what their programs are given, and what happens to them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use windtunnel::HostState;
use windtunnel::prelude::*;

/// Fails the host, and with it the case, unless this holds.
#[track_caller]
fn check(holds: bool, what: &str) {
    assert!(holds, "{what}");
}

fn main_with_arguments() {
    let args: Vec<String> = std::env::args().collect();
    check(args[0] == "kv" && args[1] == "--id" && args[3] == "--peers" && args[5] == "--verbose", &format!("{args:?}"));
    let id: usize = args[2].parse().expect("a number was given");
    let peers = ["kv1,kv2", "kv0,kv2", "kv0,kv1"][id];
    check(args[4] == peers, &format!("{args:?}"));
    check(std::env::var("MODE").as_deref() == Ok("fast"), "the environment is the host's");
    check(std::env::var("CHAOS_WORKER").is_err(), "nothing of the worker's environment is");
}

#[chaos_test(cases = 4)]
async fn a_main_gets_arguments_and_environment(cx: Chaos) -> Result<()> {
    let kv = cx
        .hosts("kv", 3)
        .main(main_with_arguments)
        .args(|h| ["--id".into(), h.index().to_string(), "--peers".into(), h.peers().join(",")])
        .arg("--verbose")
        .env("MODE", "slow")
        .env("MODE", "fast")
        .on_exit(OnExit::Ignore)
        .start()
        .await?;
    eventually!(within = "1s", kv.iter().all(|host| host.state() == HostState::Exited(0)));
    assert_eq!(kv.iter().map(Host::name).collect::<Vec<_>>(), ["kv0", "kv1", "kv2"]);
    assert_ne!(kv[0].ip(), kv[1].ip());
    assert_eq!(kv[2].url(80, "/x"), "http://kv2:80/x");
    Ok(())
}

static COUNTER: AtomicU32 = AtomicU32::new(0);
static NAME: OnceLock<String> = OnceLock::new();

async fn has_statics_of_its_own((name, port): (String, u16)) -> Result<(), String> {
    check(COUNTER.fetch_add(1, Ordering::Relaxed) == 0, "a counter of another host");
    check(NAME.get_or_init(|| name.clone()) == &name, "a name of another host");
    sleep(Duration::from_millis(10)).await;
    if port == 7 { Ok(()) } else { Err(format!("port {port}")) }
}

#[chaos_test(cases = 4)]
async fn every_start_has_fresh_statics(cx: Chaos) -> Result<()> {
    COUNTER.store(100, Ordering::Relaxed);
    let hosts = cx
        .hosts("h", 2)
        .run_each(has_statics_of_its_own, |h| (h.name().to_owned(), 7))
        .on_exit(OnExit::Ignore)
        .start()
        .await?;
    for _ in 0..3 {
        eventually!(within = "1s", hosts.iter().all(|host| host.state() == HostState::Exited(0)));
        hosts[0].restart().await?;
    }
    assert_eq!(COUNTER.load(Ordering::Relaxed), 100);
    Ok(())
}

async fn serves_for_ever() {
    std::future::pending().await
}

#[chaos_test(cases = 4)]
async fn hosts_go_through_their_states(cx: Chaos) -> Result<()> {
    let runtime = Runtime::MultiThread { workers: 2 };
    let host = cx.host("kv").main(serves_for_ever).runtime(runtime).start().await?;
    assert_eq!(host.state(), HostState::Up);
    host.pause();
    assert_eq!(host.state(), HostState::Paused);
    host.resume();
    assert_eq!(host.state(), HostState::Up);
    host.crash();
    assert_eq!(host.state(), HostState::Down);
    host.restart().await?;
    host.stop_and_wait().await;
    assert_eq!(host.state(), HostState::Killed(libc::SIGTERM));
    host.restart().await?;
    host.kill();
    assert_ne!(host.state(), HostState::Up);
    Ok(())
}

async fn fails_soon(after_ms: u64) -> Result<(), String> {
    sleep(Duration::from_millis(after_ms)).await;
    Err("as told".to_owned())
}

#[chaos_test(cases = 4)]
async fn a_host_that_ends_is_restarted_with_backoff(cx: Chaos) -> Result<()> {
    let on_exit = OnExit::restart_after("1s");
    let host = cx.host("flaky").run(fails_soon, 100).on_exit(on_exit).start().await?;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(host.state(), HostState::Exited(1));
    eventually!(within = "2s", host.state() == HostState::Up);
    // The second delay is twice as long.
    eventually!(within = "1s", host.state() == HostState::Exited(1));
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(host.state(), HostState::Exited(1));
    eventually!(within = "2s", host.state() == HostState::Up);
    Ok(())
}

#[chaos_test(cases = 4)]
async fn a_storm_brings_back_what_it_felled(cx: Chaos) -> Result<()> {
    let kv = cx.hosts("kv", 4).main(serves_for_ever).start().await?;
    let begin = cx.elapsed();
    let answer = cx
        .storm(async || {
            kv[0].crash();
            kv[1].pause();
            kv[2].kill();
            kv[3].stop_and_wait().await;
            42
        })
        .lasting("10s")
        .await;
    assert_eq!(answer, 42);
    assert!(cx.elapsed() - begin >= Duration::from_secs(10), "the storm lasts as long as it was told");
    let states: Vec<HostState> = kv.iter().map(Host::state).collect();
    let expected = [HostState::Up, HostState::Up, HostState::Up, HostState::Killed(libc::SIGTERM)];
    assert_eq!(states, expected, "what was stopped stays down");
    Ok(())
}

#[chaos_test(cases = 2, expect_failure = "a storm is blowing already")]
async fn storms_do_not_nest(cx: Chaos) {
    cx.storm(async || cx.storm(async || ()).await).await;
}

const NAMES: &str = "a host name has at most 63 letters, digits and hyphens, with dots between its parts; no part \
                     begins or ends with a hyphen, and the last is no number";

#[chaos_test(cases = 2)]
async fn mistakes_in_a_description_are_errors(cx: Chaos) -> Result<()> {
    let message = |error: windtunnel::HostError| error.to_string();
    let unprogrammed = cx.hosts("kv", 2).start().await.map_err(message);
    assert_eq!(unprogrammed.unwrap_err(), "`kv` has no program: call `.main(..)` or `.run(..)` before `.start()`");
    cx.host("kv").main(serves_for_ever).start().await?;
    for (name, reason) in
        [("kv", "it is taken"), ("test", "it is taken"), ("k v", NAMES), ("a..b", NAMES), ("10.0.0.9", NAMES)]
    {
        let refused = cx.host(name).main(serves_for_ever).start().await.map_err(message);
        assert_eq!(refused.unwrap_err(), format!("the name `{name}` cannot be used: {reason}"));
    }
    Ok(())
}

#[chaos_test(cases = 2)]
async fn a_host_that_ends_is_not_waited_for(cx: Chaos) -> Result<()> {
    let never = probe("never", |_| async { false });
    let ended = cx.host("a").run(fails_soon, 10).on_exit(OnExit::Ignore).ready(never.clone()).start().await;
    assert_eq!(ended.unwrap_err().to_string(), "a ended before it was ready (never): exit code 1");
    let late = cx.host("b").main(serves_for_ever).ready(never).ready_within("2s").start().await;
    assert_eq!(late.unwrap_err().to_string(), "b was not ready (never) within 2s: not yet");
    Ok(())
}

#[chaos_test(cases = 8)]
async fn clients_capture_and_share(cx: Chaos) -> Result<()> {
    let total = std::sync::Arc::new(AtomicU32::new(0));
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let clients: Vec<Client<u32>> = (0..3)
        .map(|id| {
            let (total, sender) = (std::sync::Arc::clone(&total), sender.clone());
            cx.client(&format!("c{id}")).run(async move || {
                sleep(Duration::from_millis(u64::from(10 * id))).await;
                total.fetch_add(id, Ordering::Relaxed);
                sender.send(id).await.expect("the test listens");
                id * 10
            })
        })
        .collect();
    drop(sender);
    let mut received = Vec::new();
    while let Some(id) = receiver.recv().await {
        received.push(id);
    }
    let mut returned = Vec::new();
    for client in clients {
        returned.push(client.await);
    }
    received.sort_unstable();
    assert_eq!((received, returned, total.load(Ordering::Relaxed)), (vec![0, 1, 2], vec![0, 10, 20], 3));
    let blocking = cx.client("blocking").run_blocking(|| std::thread::sleep(Duration::from_secs(1)));
    blocking.await;
    Ok(())
}
