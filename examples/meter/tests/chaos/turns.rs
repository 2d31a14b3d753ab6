//! Asking the meter for something, and again when it has answered.

use crate::plan::until;
use meter::{PORT, Reading, Request, Task};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

/// A conversation with one host.
pub(crate) struct Client {
    socket: UdpSocket,
    number: u64,
}

impl Client {
    pub(crate) async fn of(host: &str) -> io::Result<Self> {
        let socket = UdpSocket::bind("0.0.0.0:0").await?;
        socket.connect((host, PORT)).await?;
        Ok(Self { socket, number: 0 })
    }

    /// Asks, and waits for the answer; nothing if there is none for so long.
    pub(crate) async fn ask(&mut self, task: Task, amount: u64, patience: Duration) -> Option<Reading> {
        self.send(task, amount).await;
        self.next(patience).await
    }

    pub(crate) async fn send(&mut self, task: Task, amount: u64) {
        self.number += 1;
        let request = Request { number: self.number, task, amount };
        // Who is down does not hear it.
        let _ = self.socket.send(&request.to_bytes(0)).await;
    }

    /// The next answer to what was asked last.
    pub(crate) async fn next(&mut self, patience: Duration) -> Option<Reading> {
        let answered = async {
            let mut bytes = [0; Reading::BYTES];
            loop {
                // An error says that nobody listens; whoever asks too early is not answered either.
                if let Ok(count) = self.socket.recv(&mut bytes).await
                    && let Some(reading) = Reading::from_bytes(&bytes[..count])
                    && reading.number == self.number
                {
                    return reading;
                }
            }
        };
        timeout(patience, answered).await.ok()
    }
}

/// One turn. All times are since the storm began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) sent: Duration,
    pub(crate) ended: Duration,
    /// Nothing, when there was no answer for as long as it was waited for.
    pub(crate) reading: Option<Reading>,
}

impl Turn {
    pub(crate) fn took_s(&self) -> f64 {
        (self.ended - self.sent).as_secs_f64()
    }

    pub(crate) fn amount(&self) -> Option<f64> {
        Some(self.reading?.amount as f64)
    }

    /// Whether the answer is that something was refused for this reason.
    pub(crate) fn is_refused(&self, errno: i32) -> bool {
        self.reading.is_some_and(|reading| i32::try_from(reading.errno) == Ok(errno))
    }
}

/// What is asked of a host, again and again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) host: &'static str,
    pub(crate) task: Task,
    pub(crate) amount: u64,
    /// How long an answer is waited for.
    pub(crate) patience: Duration,
    /// How long it is left in peace between two turns.
    pub(crate) pause: Duration,
}

impl Question {
    /// For nothing in particular; however busy the machine is, somebody who is up answers in this time.
    pub(crate) const fn of(host: &'static str) -> Self {
        Self { host, task: Task::Answer, amount: 0, patience: Duration::from_secs(10), pause: Duration::from_millis(1) }
    }
}

/// Asks during `phase`, counted from `began`.
pub(crate) async fn take_turns(question: Question, began: Instant, phase: Range<Duration>) -> io::Result<Vec<Turn>> {
    let Question { host, task, amount, patience, pause } = question;
    let mut client = Client::of(host).await?;
    let mut turns = Vec::new();
    until(began, phase.start).await;
    while began.elapsed() < phase.end {
        let sent = began.elapsed();
        let reading = client.ask(task, amount, patience).await;
        turns.push(Turn { sent, ended: began.elapsed(), reading });
        sleep(pause).await;
    }
    Ok(turns)
}
