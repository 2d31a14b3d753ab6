//! Clocks of hosts whose program knows nothing of windtunnel.

use super::carried_out;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use windtunnel::prelude::*;

/// Answers each connection with a number that it has drawn at its start, its time of day in seconds, and when by that
/// it was started (perlvar(1), `$^T`): at one port by itself, at the other by a process that it has forked.
const TELLS_THE_TIME: &str = r#"
    use IO::Socket::INET;
    my $start = int(rand(1e9));
    my $port = fork() ? 13 : 14;
    my $listener = IO::Socket::INET->new(LocalPort => $port, Listen => 8, ReuseAddr => 1) or die $!;
    while (1) {
        my $stream = $listener->accept() or next;
        $stream->syswrite("$start " . time . " $^T");
    }
"#;
const PORTS: [u16; 2] = [13, 14];
/// A clock that is off by so much less than asked for is not another one: seconds are whole, and machines busy.
const APART_S: i64 = 20;

/// What the host answers.
struct Told {
    /// Which of its starts.
    start: u64,
    /// By how much its clock is ahead, in seconds.
    ahead: i64,
    /// By how much it was when the program began, or a few seconds less.
    ahead_at_first: i64,
}

async fn ask(clock: &Host, port: u16) -> Result<Told> {
    let mut text = String::new();
    TcpStream::connect(clock.addr(port)).await?.read_to_string(&mut text).await?;
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs().cast_signed();
    let told: Vec<i64> = text.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    // It has ended meanwhile.
    let [start, time, first] = told[..] else { return Err(Error::from(ErrorKind::UnexpectedEof).into()) };
    Ok(Told { start: start.cast_unsigned(), ahead: time - now, ahead_at_first: first - now })
}

#[chaos_test(
    world = real,
    cases = 1,
    plan = "0s clock-skew clock +2h for 6s
            1s crash clock by kill restart after 100ms
            3s clock-skew clock -1h for 2s
            3s clock-drift clock +200ppm for 2s
            3500ms pause clock for 200ms"
)]
#[ignore = "a fixture"]
async fn a_command_s_clocks(cx: Chaos) -> Result<()> {
    let clock = cx.host("clock").command("perl").args(|_| ["-e", TELLS_THE_TIME]).ready(tcp(13)).start().await?;
    // By start and port, what clocks were ahead by.
    let mut seen: BTreeMap<(u64, u16), Vec<i64>> = BTreeMap::new();
    let mut at_first = Vec::new();
    cx.storm(async || {
        let lasts = if cx.is_calm() { Duration::from_millis(200) } else { Duration::from_secs(8) };
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            for port in PORTS {
                // It is down for a while.
                let asked = tokio::time::timeout(Duration::from_secs(1), ask(&clock, port)).await;
                if let Ok(Ok(Told { start, ahead, ahead_at_first })) = asked {
                    seen.entry((start, port)).or_default().push(ahead);
                    at_first.push(ahead_at_first);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let has = |seen: &[i64], wanted: i64| seen.iter().any(|ahead| (ahead - wanted).abs() < APART_S);
    if !cx.is_calm() {
        assert_eq!(seen.len(), 2 * PORTS.len(), "two starts: {seen:?}");
        assert!(seen.values().all(|seen| has(seen, 7200)), "{seen:?}");
        // The later start's, while two faults were in force.
        let both = seen.iter().filter(|(_, seen)| has(seen, 3600)).map(|((_, port), _)| *port);
        assert_eq!(both.collect::<Vec<_>>(), PORTS, "{seen:?}");
        // From its first instruction on.
        assert!(at_first.iter().all(|ahead| ahead.abs() < APART_S || (ahead - 7200).abs() < APART_S), "{at_first:?}");
        assert!(has(&at_first, 7200), "{at_first:?}");
    }
    for port in PORTS {
        let Told { ahead, .. } = ask(&clock, port).await?;
        assert!(ahead.abs() < APART_S, "{ahead} after the storm");
    }
    Ok(())
}

#[test]
fn a_command_s_clocks_are_wrong_for_a_while_also_after_it_was_started_again() {
    let Some(text) = carried_out("clocks::a_command_s_clocks") else { return };
    assert!(text.contains("; 5 of 5 bit"), "{text}");
}
