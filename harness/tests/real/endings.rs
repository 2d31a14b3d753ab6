//! What ends a case, and what is said about it.

use super::{failure_of, notes, sentence};
use std::time::Duration;
use windtunnel::prelude::*;

const FAILED_SO_AGAIN: &str = "the real kernel repeats nothing exactly; this case failed so a second time";

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn a_host_ends_at_once(cx: Chaos) -> Result<()> {
    cx.host("brief").command("sh").args(|_| ["-c", "exit 3"]).ready(tcp(7)).start().await?;
    Ok(())
}

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn a_host_goes_to_the_background(cx: Chaos) -> Result<()> {
    cx.host("daemon").command("sh").args(|_| ["-c", "sleep 1000 & exit 0"]).ready(tcp(7)).start().await?;
    Ok(())
}

/// Ends while it is asked something, sooner than anybody can say that it has ended.
const RESETS: &str = r#"
    use IO::Socket::INET;
    my $listener = IO::Socket::INET->new(LocalPort => 7, Listen => 8, ReuseAddr => 1) or die $!;
    $listener->accept();
    my $stream = $listener->accept();
    $stream->sysread($_, 4096);
    exit 4;
"#;

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn a_host_ends_while_it_is_asked(cx: Chaos) -> Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let host = cx.host("shy").command("perl").args(|_| ["-e", RESETS]).ready(tcp(7)).start().await?;
    let mut stream = tokio::net::TcpStream::connect(host.addr(7)).await?;
    stream.write_all(b"hello").await?;
    stream.read_exact(&mut [0; 5]).await?;
    Ok(())
}

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn a_host_has_too_few_descriptors(cx: Chaos) -> Result<()> {
    const OPENS: &str = r#"for (1..9) { open($kept[$_], "<", "/dev/null") or die "$!" } sleep 1000"#;
    cx.host("poor").command("perl").args(|_| ["-e", OPENS]).descriptors(8).ready(tcp(7)).start().await?;
    Ok(())
}

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn a_host_has_too_little_memory(cx: Chaos) -> Result<()> {
    const GROWS: &str = "push @kept, 'x' x (1 << 20) while 1";
    cx.host("big").command("perl").args(|_| ["-e", GROWS]).memory("32MiB").ready(tcp(7)).start().await?;
    Ok(())
}

/// A host that ends though it must not is the reason, whoever finds out first, and so two runs fail alike.
#[test]
fn the_end_of_a_host_is_told_in_one_way() {
    let ends = [
        ("endings::a_host_ends_at_once", "host ended: brief ended by itself with exit code 3"),
        ("endings::a_host_goes_to_the_background", "host ended: daemon ended by itself with exit code 0"),
        ("endings::a_host_ends_while_it_is_asked", "host ended: shy ended by itself with exit code 4"),
        ("endings::a_host_has_too_few_descriptors", "host ended: poor ended by itself with exit code 24"),
        ("endings::a_host_has_too_little_memory", "host ended: big ended by itself with signal 9 (SIGKILL"),
    ];
    for (fixture, expected) in ends {
        for _ in 0..3 {
            let Some(block) = failure_of(fixture) else { return };
            assert!(sentence(&block).starts_with(expected), "{block}");
            assert_eq!(notes(&block), [FAILED_SO_AGAIN], "{block}");
        }
    }
}

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn aborts(_cx: Chaos) -> Result<()> {
    std::process::abort()
}

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn exits(_cx: Chaos) -> Result<()> {
    std::process::exit(3)
}

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn leaves_with_success(_cx: Chaos) -> Result<()> {
    std::process::exit(0)
}

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn overflows_its_stack(_cx: Chaos) -> Result<()> {
    #[expect(unconditional_recursion, reason = "it is to end so")]
    fn deeper(depth: &[u64; 512]) -> u64 {
        let own = std::hint::black_box([depth[0] + 1; 512]);
        deeper(&own) + own[7]
    }
    println!("{}", deeper(&[0; 512]));
    Ok(())
}

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn is_killed(_cx: Chaos) -> Result<()> {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::thread::sleep(Duration::from_secs(3600));
    Ok(())
}

#[test]
fn the_end_of_the_tests_own_process_is_told_as_in_the_simulated_world() {
    let fixtures = ["aborts", "exits", "leaves_with_success", "overflows_its_stack", "is_killed"];
    let mut told = Vec::new();
    for fixture in fixtures {
        let Some(block) = failure_of(&format!("endings::{fixture}")) else { return };
        assert_eq!(notes(&block), [FAILED_SO_AGAIN], "{block}");
        told.push(sentence(&block).to_owned());
    }
    insta::assert_snapshot!(told.join("\n"), @"
    host ended: test ended by itself with signal 6 (SIGABRT, abort)
    host ended: test ended by itself with exit code 3
    ended early: the test's process ended before its body had returned (did it call `std::process::exit`?)
    host ended: test overflowed its stack, and ended with signal 6 (SIGABRT, abort)
    host ended: test ended by itself with signal 9 (SIGKILL: something killed it, for example for want of memory)
    ");
}
