//! Hosts whose program is none of the test binary's functions.

use super::{NO_REAL_WORLD, told_by};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use windtunnel::HostState;
use windtunnel::prelude::*;

/// Answers each connection with what it sent, and says what it is told when it is asked to end. Perl is on every
/// Debian.
const ECHO: &str = r#"
    use IO::Socket::INET;
    $| = 1;
    $SIG{TERM} = sub { print "good bye, $ENV{COLOUR}\n"; exit 0 };
    my $listener = IO::Socket::INET->new(LocalPort => 7, Listen => 8, ReuseAddr => 1) or die $!;
    while (1) {
        my $stream = $listener->accept() or next;
        $stream->syswrite($_) while $stream->sysread($_, 4096);
    }
"#;

#[chaos_test(
    world = real,
    cases = 1,
    plan = "100ms pause echo for 200ms
            600ms crash echo restart after 100ms"
)]
async fn a_host_can_be_any_program(cx: Chaos) -> Result<()> {
    let echo = cx.host("echo").command("perl").args(|_| ["-e", ECHO]).env("COLOUR", "green").ready(tcp(7));
    let echo = echo.stop_within("5s").start().await?;
    cx.storm(async || {
        let before = std::time::Instant::now();
        let slowest = slowest_answer(&echo, before + Duration::from_millis(500)).await;
        assert!(cx.is_calm() || slowest.is_ok_and(|slowest| slowest >= Duration::from_millis(100)));
        tokio::time::sleep(Duration::from_millis(400)).await;
    })
    .await;
    eventually!(within = "5s", slowest_answer(&echo, std::time::Instant::now()).await.is_ok());
    echo.stop_and_wait().await;
    assert_eq!(echo.state(), HostState::Exited(0));
    Ok(())
}

/// Children that all wait at the same socket.
const FORKS: &str = r#"
    use IO::Socket::INET;
    my $listener = IO::Socket::INET->new(LocalPort => 7, Listen => 8, ReuseAddr => 1) or die "cannot listen: $!";
    for (1..30) { fork() // die $! or last }
    while (1) { my $stream = $listener->accept() or next; $stream->syswrite("hello") }
"#;

#[chaos_test(world = real, cases = 1, plan = "50ms crash forks by kill restart after 1ms")]
async fn a_host_that_is_killed_is_dead_with_its_children(cx: Chaos) -> Result<()> {
    let forks = cx.host("forks").command("perl").args(|_| ["-e", FORKS]).ready(tcp(7)).start().await?;
    cx.storm(async || tokio::time::sleep(Duration::from_millis(300)).await).await;
    eventually!(within = "5s", tokio::net::TcpStream::connect(forks.addr(7)).await.is_ok());
    for _ in 0..5 {
        forks.kill();
        let refused = tokio::net::TcpStream::connect(forks.addr(7)).await.expect_err("it is dead").kind();
        assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
        forks.restart().await?;
    }
    Ok(())
}

/// How long the host takes to answer at worst, asked again and again until then and once at least.
async fn slowest_answer(echo: &Host, until: std::time::Instant) -> std::io::Result<Duration> {
    let mut stream = tokio::net::TcpStream::connect(echo.addr(7)).await?;
    let mut slowest = Duration::ZERO;
    loop {
        let asked = std::time::Instant::now();
        stream.write_all(b"hello").await?;
        stream.read_exact(&mut [0; 5]).await?;
        slowest = slowest.max(asked.elapsed());
        if std::time::Instant::now() >= until {
            return Ok(slowest);
        }
    }
}

/// Writes to its disk again and again, and never says what became of it.
#[chaos_test(world = real, cases = 1, plan = "100ms disk-full writes free 64KiB for 300ms")]
#[ignore = "a fixture"]
async fn a_command_has_no_room_for_what_it_appends(cx: Chaos) -> Result<()> {
    let script = "while :; do head -c 4096 /dev/zero >> /var/log; sleep 0.01; done 2>/dev/null";
    let _writes = cx.host("writes").command("sh").args(|_| ["-c", script]).start().await?;
    cx.storm(async || tokio::time::sleep(Duration::from_millis(600)).await).await;
    Ok(())
}

#[test]
fn what_is_not_counted_for_a_command_is_not_said_to_have_bitten_nothing() {
    let fixture = "commands::a_command_has_no_room_for_what_it_appends";
    let Some((passed, text)) = told_by(fixture, &[], NO_REAL_WORLD) else { return };
    assert!(passed && !text.contains("warning: no fault bit"), "{text}");
}

#[chaos_test(world = real, cases = 1, plan = "0s disk-errors idle reads 20% syncs 50% for 1s")]
#[ignore = "a fixture"]
async fn calls_of_a_command_do_not_fail(cx: Chaos) -> Result<()> {
    let _idle = cx.host("idle").command("sleep").arg("1000").start().await?;
    cx.storm(async || tokio::time::sleep(Duration::from_millis(100)).await).await;
    Ok(())
}

#[test]
fn what_a_command_cannot_have_is_refused_with_what_to_do_instead() {
    let Some((passed, text)) = told_by("commands::calls_of_a_command_do_not_fail", &[], NO_REAL_WORLD) else { return };
    let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let wanted = "failing disk of idle does nothing here: it is done at the boundary to libc";
    assert!(!passed && said.contains(wanted), "{text}");
    assert!(said.contains("or fill this host's disk instead (`disk::full()`)"), "{text}");
}
