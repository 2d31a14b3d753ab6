//! Clients share what the test has, in both worlds: what one of them has started or opened does not end with it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{OnceLock, mpsc};
use windtunnel::prelude::*;

/// Twice a number, by a thread that whoever asks first starts, as crates have one for their timers or their reactor.
fn twice(number: u32) -> u32 {
    type Question = (u32, mpsc::Sender<u32>);
    static WORKER: OnceLock<mpsc::Sender<Question>> = OnceLock::new();
    let worker = WORKER.get_or_init(|| {
        let (sender, questions) = mpsc::channel::<Question>();
        std::thread::spawn(move || questions.into_iter().try_for_each(|(number, back)| back.send(2 * number)));
        sender
    });
    let (back, answer) = mpsc::channel();
    worker.send((number, back)).expect("the worker lives");
    answer.recv().expect("the worker answers")
}

#[chaos_test(world = [sim, real], cases = 2, virtual_timeout = "1m")]
async fn a_thread_that_a_client_has_started_outlives_it(cx: Chaos) -> Result<()> {
    for (name, number) in [("one", 1), ("two", 2), ("three", 3)] {
        assert_eq!(cx.client(name).run_blocking(move || twice(number)).await, 2 * number);
    }
    Ok(())
}

/// Answers each byte.
fn echo() -> std::io::Result<()> {
    for stream in TcpListener::bind("0.0.0.0:7")?.incoming() {
        let mut stream = stream?;
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    }
    Ok(())
}

#[chaos_test(world = [sim, real], cases = 2, virtual_timeout = "1m")]
async fn a_stream_that_a_client_has_opened_can_be_given_away(cx: Chaos) -> Result<()> {
    let server = cx.host("server").main(echo).ready(tcp(7)).start().await?.addr(7);
    let mut stream = cx.client("opener").run_blocking(move || TcpStream::connect(server)).await?;
    let heard = cx.client("user").run_blocking(move || {
        stream.write_all(b"x")?;
        let mut byte = [0];
        stream.read_exact(&mut byte).map(|()| byte)
    });
    assert_eq!(&heard.await?, b"x");
    Ok(())
}
