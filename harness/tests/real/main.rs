//! The real world: hosts are processes.

mod clocks;
mod commands;
mod endings;
mod files;
mod kinds;
mod logs;
mod overlaps;
mod power;

use std::time::Duration;
use windtunnel::HostState;
use windtunnel::prelude::*;

/// Runs a test of this binary that is ignored otherwise.
fn output_of(test: &str, environment: &[(&str, &str)]) -> std::process::Output {
    let mut command = std::process::Command::new(std::env::current_exe().expect("a test has a binary"));
    command.args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"]);
    command.env("CHAOS_SAVE", "never").envs(environment.iter().copied());
    command.output().expect("this binary can be executed")
}

/// Whether it passed, and what it printed; nothing where one of these sentences says that this machine cannot do it.
fn told_by(test: &str, environment: &[(&str, &str)], skips: &[&str]) -> Option<(bool, String)> {
    let printed = output_of(test, environment);
    let text = String::from_utf8_lossy(&printed.stderr).into_owned();
    if let Some(reason) = text.lines().find(|line| skips.iter().any(|skip| line.contains(skip))) {
        assert!(std::env::var_os("CHAOS_REQUIRE").is_none(), "required, and not possible here: {reason}");
        eprintln!("skipped: {reason}");
        return None;
    }
    Some((printed.status.success(), text))
}

/// How a test is skipped where there is no real world.
const NO_REAL_WORLD: &[&str] = &[" is skipped: "];

/// What a fixture prints that fails; nothing where there is no real world.
fn failure_of(fixture: &str) -> Option<String> {
    let (passed, text) = told_by(fixture, &[], NO_REAL_WORLD)?;
    assert!(!passed, "it passed:\n{text}");
    let block = text.rfind("\nthread '").unwrap_or_else(|| panic!("no block:\n{text}"));
    Some(text[block + 1..].to_owned())
}

/// The second line of a block.
fn sentence(block: &str) -> &str {
    block.lines().nth(1).unwrap_or_default()
}

/// What is remarked in a block.
fn notes(block: &str) -> Vec<&str> {
    block.lines().filter_map(|line| Some(line.strip_prefix("  note ")?.trim())).collect()
}

/// Runs a test of this binary that is ignored otherwise, and whose plan names faults that a machine may not have; what
/// it prints, or nothing if it is skipped for that. It has to pass, and each of its faults to bite.
fn carried_out(test: &str) -> Option<String> {
    let (passed, text) = told_by(test, &[("CHAOS_LOG", "all")], &[" is skipped: ", " does nothing here: "])?;
    let idle: Vec<&str> = text.lines().filter(|line| line.ends_with(", and bit 0 times")).collect();
    assert!(idle.is_empty(), "these have not bitten on anything:\n{}\n\n{text}", idle.join("\n"));
    assert!(passed, "{text}");
    Some(text)
}

/// What a service's own `main` finds.
fn describes_itself() {
    let arguments: Vec<String> = std::env::args().collect();
    println!("{arguments:?} {:?}", std::env::var("COLOUR"));
    std::thread::sleep(Duration::from_secs(3600));
}

#[chaos_test(world = [sim, real], cases = 1)]
async fn a_host_is_a_process_of_its_own(cx: Chaos) -> Result<()> {
    let kv = cx
        .hosts("kv", 2)
        .main(describes_itself)
        .args(|h| ["--id".into(), h.index().to_string()])
        .env("COLOUR", "green")
        .start()
        .await?;
    println!("in the middle");
    tokio::time::sleep(Duration::from_millis(200)).await;
    kv[0].kill();
    assert_eq!(kv[0].state(), HostState::Down);
    kv[0].restart().await?;
    assert_eq!(kv[0].state(), HostState::Up);
    Ok(())
}

async fn echoes(port: u16) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", port)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await
        });
    }
}

async fn round_trip(host: &Host, port: u16) -> std::io::Result<Duration> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect((host.name(), port)).await?;
    let before = std::time::Instant::now();
    stream.write_all(b"hello").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    Ok(before.elapsed())
}

#[chaos_test(world = [sim, real], cases = 1)]
async fn links_can_be_slow_or_cut(cx: Chaos) -> Result<()> {
    let echo = cx.host("echo").run(echoes, 7).ready(tcp(7)).start().await?;
    let plain = round_trip(&echo, 7).await?;
    println!("a round trip takes {plain:?}");
    let slow = cx.slow("test", &echo, "50ms", "0ms");
    let late = round_trip(&echo, 7).await?;
    println!("then {late:?}");
    assert!(late >= Duration::from_millis(100), "{late:?}");
    assert!(slow.heal() > 0);
    let cut = cx.partition("test", &echo);
    let attempt = tokio::time::timeout(Duration::from_millis(300), round_trip(&echo, 7)).await;
    assert!(attempt.is_err(), "{attempt:?}");
    assert!(cut.heal() > 0);
    round_trip(&echo, 7).await?;
    let addr = echo.addr(7);
    let client = cx.client("c1").run(async move || tokio::net::TcpStream::connect(addr).await.map(|_| ()));
    client.await?;
    Ok(())
}

/// Answers each connection with its wall clock, in milliseconds since the epoch, and what stands in a file.
async fn tells_the_time(port: u16) -> std::io::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", port)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        stream.write_all(now.as_millis().to_string().as_bytes()).await?;
    }
}

async fn time_of(host: &Host) -> Result<i128> {
    use tokio::io::AsyncReadExt as _;
    let mut text = String::new();
    tokio::net::TcpStream::connect(host.addr(13)).await?.read_to_string(&mut text).await?;
    Ok(text.parse()?)
}

#[chaos_test(world = [sim, real], cases = 1, plan = "0s clock-skew clock +1h for 500ms")]
async fn clocks_are_wrong_for_a_while(cx: Chaos) -> Result<()> {
    let clock = cx.host("clock").run(tells_the_time, 13).ready(tcp(13)).start().await?;
    let mine =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i128;
    let before = time_of(&clock).await? - mine();
    assert!(before.abs() < 1000, "{before}");
    cx.storm(async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if !cx.is_calm() {
            let ahead = time_of(&clock).await.expect("it answers") - mine();
            assert!((ahead - 3_600_000).abs() < 1000, "{ahead}");
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    })
    .await;
    let after = time_of(&clock).await? - mine();
    assert!(after.abs() < 1000, "{after}");
    Ok(())
}
