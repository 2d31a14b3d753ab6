//! What is wrong with a disk stays so when its host loses its power, and the host starts again.

use super::{NO_REAL_WORLD, told_by};
use std::io::{ErrorKind, Write as _};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use windtunnel::prelude::*;

/// Makes a file when it starts. Answers each connection with whether there was no room for that, and how many
/// milliseconds 256 KiB took to be on the disk just now.
async fn stores(port: u16) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let made = write_durably(&format!("/var/lib/started-{}", now.as_nanos()), &[7; 4096]);
    let had_no_room = made.is_err_and(|error| error.kind() == ErrorKind::StorageFull);
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let before = Instant::now();
        // Without room that takes no time.
        let _ = write_durably("/var/lib/stored", &[7; 256 << 10]);
        let answer = format!("{had_no_room} {}", before.elapsed().as_millis());
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// What a loss of power took would leave room.
fn write_durably(path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::File::open("/var/lib")?.sync_all()
}

/// Whether there was no room when it started, and how long its disk takes.
async fn ask(host: &Host) -> io::Result<(bool, Duration)> {
    let mut answer = String::new();
    TcpStream::connect(host.addr(7)).await?.read_to_string(&mut answer).await?;
    let (had_no_room, took) = answer.split_once(' ').ok_or(ErrorKind::UnexpectedEof)?;
    Ok((had_no_room == "true", Duration::from_millis(took.parse().expect("a number"))))
}

/// As [`ask`], of a host that is about to start again.
async fn ask_when_it_is_up(host: &Host) -> (bool, Duration) {
    let mut answer = None;
    eventually!(within = "10s", {
        answer = ask(host).await.ok();
        answer.is_some()
    });
    answer.expect("it is up")
}

/// Of 256 KiB at 1 MiB/s.
const SLOW: Duration = Duration::from_millis(150);

#[chaos_test(
    world = [sim, real],
    cases = 1,
    plan = "0s crash stores restart after 100ms
            600ms io-throttle stores 1MiB/s for 3s"
)]
async fn a_disk_that_has_lost_its_power_can_be_slow(cx: Chaos) -> Result<()> {
    let host = cx.host("stores").run(stores, 7).ready(tcp(7)).start().await?;
    cx.storm(async || {
        if !cx.is_calm() {
            tokio::time::sleep(Duration::from_millis(900)).await;
            let (_, took) = ask_when_it_is_up(&host).await;
            assert!(took >= SLOW, "{took:?}");
        }
    })
    .await;
    Ok(())
}

#[chaos_test(
    world = [sim, real],
    cases = 1,
    plan = "0s io-throttle stores 1MiB/s for 4s
            200ms crash stores restart after 100ms
            1s crash stores restart after 100ms"
)]
async fn a_slow_disk_is_so_after_a_loss_of_power(cx: Chaos) -> Result<()> {
    let host = cx.host("stores").run(stores, 7).ready(tcp(7)).start().await?;
    cx.storm(async || {
        if !cx.is_calm() {
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(600)).await;
                let (_, took) = ask_when_it_is_up(&host).await;
                assert!(took >= SLOW, "{took:?}");
            }
        }
    })
    .await;
    ask(&host).await?;
    let (_, took) = ask(&host).await?;
    assert!(took < SLOW, "it is healed, and takes {took:?}");
    Ok(())
}

#[chaos_test(
    world = [sim, real],
    cases = 1,
    plan = "0s disk-full stores0 for 20s
            0s inode-exhaustion stores1 for 20s
            300ms crash stores0 restart after 1ms
            300ms crash stores1 restart after 1ms"
)]
async fn a_host_without_room_starts_again_and_has_none(cx: Chaos) -> Result<()> {
    let hosts = cx.hosts("stores", 2).run(stores, 7).ready(tcp(7)).start().await?;
    cx.storm(async || {
        if !cx.is_calm() {
            tokio::time::sleep(Duration::from_millis(600)).await;
            for host in &hosts {
                let (had_no_room, _) = ask_when_it_is_up(host).await;
                assert!(had_no_room, "{} has found room when it started again", host.name());
            }
        }
    })
    .await;
    Ok(())
}

/// Removes itself.
const ONCE: &str = "unlink readlink '/proc/self/exe' or die $!; sleep 1000";

#[chaos_test(world = real, cases = 1, plan = "100ms crash once by kill restart after 100ms")]
#[ignore = "a fixture"]
async fn starts_once(cx: Chaos) -> Result<()> {
    let _once = cx.host("once").command("perl").args(|_| ["-e", ONCE]).start().await?;
    cx.storm(async || tokio::time::sleep(Duration::from_secs(2)).await).await;
    Ok(())
}

#[test]
fn a_host_that_cannot_be_started_again_fails_the_case() {
    let Some((passed, text)) = told_by("power::starts_once", &[], NO_REAL_WORLD) else { return };
    if text.contains("Permission denied") && !rustix::process::geteuid().is_root() {
        eprintln!("skipped: others than root may not remove the machine's programs, even for a host");
        return;
    }
    assert!(!passed, "{text}");
    assert!(text.contains("once could not be started again: failed to execute `perl`"), "{text}");
}
