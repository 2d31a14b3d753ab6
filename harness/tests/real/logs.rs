//! What is noted and written on a real host, as people read it.

use super::{failure_of, sentence};
use std::time::Duration;
use windtunnel::prelude::*;

async fn does_not_stop() -> std::io::Result<()> {
    let mut asked = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    println!("up");
    loop {
        asked.recv().await;
    }
}

#[chaos_test(world = [sim, real], cases = 1)]
#[ignore = "a fixture"]
async fn acts(cx: Chaos) -> Result<()> {
    let host = cx.host("x").main(does_not_stop).stop_within("200ms").start().await?;
    let a_while = async || tokio::time::sleep(Duration::from_millis(200)).await;
    a_while().await;
    host.pause();
    host.resume();
    host.stop_and_wait().await;
    host.restart().await?;
    a_while().await;
    host.kill();
    host.restart().await?;
    a_while().await;
    host.crash();
    Err(windtunnel::Error::msg("as foreseen"))
}

/// What stands in a block of a host, without times.
fn lines_of(block: &str, host: &str) -> Vec<String> {
    let lines = block.lines().skip_while(|line| line.strip_prefix("  ") != Some(host)).skip(1);
    let lines = lines.take_while(|line| !line.is_empty()).map(|line| line.trim_start());
    lines.filter_map(|line| Some(line.split_once(" s ")?.1.to_owned())).collect()
}

#[test]
fn both_worlds_call_acts_by_the_same_names() {
    let Some(real) = failure_of("logs::acts::real") else { return };
    let sim = failure_of("logs::acts::sim").expect("it is always there");
    assert_eq!(lines_of(&real, "x"), lines_of(&sim, "x"), "{real}\n{sim}");
    insta::assert_snapshot!(lines_of(&real, "x").join("\n"), @"
    * started
    | up
    * paused
    * resumed
    * asked to stop
    * killed
    * started
    | up
    * killed
    * started
    | up
    * crashed
    ");
}

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn writes_and_ends(cx: Chaos) -> Result<()> {
    let script = "echo one; echo two >&2; sleep 0.05; echo three; echo four >&2; exit 0";
    let host = cx.host("x").command("sh").args(move |_| ["-c", script]);
    host.ready(tcp(7)).start().await?;
    Ok(())
}

#[test]
fn what_a_host_writes_stands_between_its_start_and_its_end() {
    for _ in 0..5 {
        let Some(block) = failure_of("logs::writes_and_ends") else { return };
        let mut lines = lines_of(&block, "x");
        // Written at the same time, through two pipes.
        lines[1..3].sort();
        lines[3..5].sort();
        insta::allow_duplicates! {
            insta::assert_snapshot!(lines.join("\n"), @"
            * started
            | one
            | two
            | four
            | three
            * exited with code 0 (if it goes to the background: on a host it has to stay in the foreground)
            ");
        }
    }
}

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn is_not_found(cx: Chaos) -> Result<()> {
    cx.host("x").command("no-such-thing").start().await?;
    Ok(())
}

#[chaos_test(world = real, cases = 1)]
#[ignore = "a fixture"]
async fn is_no_program(cx: Chaos) -> Result<()> {
    cx.host("x").command("/etc/passwd").start().await?;
    Ok(())
}

#[test]
fn a_command_that_cannot_be_executed_is_told_once_with_the_reason() {
    let Some(missing) = failure_of("logs::is_not_found") else { return };
    let Some(unfit) = failure_of("logs::is_no_program") else { return };
    assert_eq!(
        sentence(&missing),
        "returned an error: failed to start x: failed to execute `no-such-thing`: it is in no directory of the host's \
         PATH (/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin); give its whole path, or set another PATH"
    );
    assert_eq!(
        sentence(&unfit),
        "returned an error: failed to start x: failed to execute `/etc/passwd`: Permission denied (os error 13)"
    );
}

#[chaos_test(world = real, cases = 1, wall_timeout = "2s")]
#[ignore = "a fixture"]
async fn waits_too_long(cx: Chaos) -> Result<()> {
    let _other = cx.host("other").main(does_not_stop).start().await?;
    let host = cx.host("x").main(does_not_stop).start().await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    host.stop_and_wait().await;
    Ok(())
}

#[test]
fn a_wall_timeout_tells_how_long_the_case_ran_and_what_the_test_waited_for() {
    let Some(block) = failure_of("logs::waits_too_long") else { return };
    assert_eq!(
        sentence(&block),
        "wall timeout: the case took longer than 2.0 s of real time; the test waited for x to end; up: other, x"
    );
    assert!(block.contains(", after 2.000 s in the real world"), "{block}");
}
