//! Asking the meter once a millisecond, whatever it answers.

use crate::plan::until;
use meter::{PORT, REQUEST_BYTES_MAX, Reading, Request, Task, realtime_ns};
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::time::interval;

/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(1);
/// A request that is to be short.
const SHORT_BYTES: usize = 64;
/// One that fills links, and how many are sent at a time.
const LONG_BYTES: usize = 1400;
const LONG_TOGETHER: usize = 2;
/// How long answers are waited for at the end.
const PATIENCE: Duration = Duration::from_millis(500);

/// One question. All times are since the storm began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) sent: Duration,
    sent_realtime_ns: u64,
    pub(crate) answer: Option<Answer>,
    /// How often it was answered.
    pub(crate) answers: usize,
}

/// The first answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) at: Duration,
    at_realtime_ns: u64,
    pub(crate) reading: Reading,
}

impl Answer {
    /// Of the request.
    pub(crate) fn payload_bytes(&self) -> f64 {
        self.reading.bytes as f64
    }
}

impl Probe {
    /// The way there and back.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        Some(self.answer?.at.saturating_sub(self.sent))
    }

    /// How far the meter's realtime clock is ahead, in seconds, when both ways take as long (RFC 5905, section 8).
    pub(crate) fn offset_s(&self) -> Option<f64> {
        let answer = self.answer?;
        let middle = i128::midpoint(self.sent_realtime_ns.into(), answer.at_realtime_ns.into());
        Some((i128::from(answer.reading.realtime_ns) - middle) as f64 / 1e9)
    }

    /// How far the meter's monotonic clock is ahead of the time since the storm began, in seconds: that it has another
    /// beginning does not matter to how it changes.
    pub(crate) fn monotonic_ahead_s(&self) -> Option<f64> {
        let answer = self.answer?;
        let middle = (self.sent + answer.at).as_secs_f64() / 2.0;
        Some(answer.reading.monotonic_ns as f64 / 1e9 - middle)
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.answer.is_none()
    }
}

/// Asks a host during `phase`, counted from `began`, with requests that fill links in the time `filled`.
pub(crate) async fn ask(
    host: &str,
    began: Instant,
    phase: Range<Duration>,
    filled: Range<Duration>,
) -> std::io::Result<Vec<Probe>> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect((host, PORT)).await?;
    until(began, phase.start).await;
    let mut probes: Vec<Probe> = Vec::new();
    let mut ticks = interval(INTERVAL);
    let mut bytes = [0; REQUEST_BYTES_MAX];
    let end = tokio::time::sleep(Duration::MAX);
    tokio::pin!(end);
    let mut is_over = false;
    loop {
        tokio::select! {
            biased;
            () = &mut end, if is_over => return Ok(probes),
            received = socket.recv(&mut bytes) => {
                let (at, at_realtime_ns) = (began.elapsed(), realtime_ns());
                // While the meter is down, the kernel says that nobody listens.
                let reading = received.ok().and_then(|count| Reading::from_bytes(&bytes[..count]));
                if let Some(reading) = reading
                    && let Some(probe) = probes.get_mut(reading.number as usize)
                {
                    probe.answer.get_or_insert(Answer { at, at_realtime_ns, reading });
                    probe.answers += 1;
                }
            }
            _ = ticks.tick(), if !is_over => {
                let (count, length) =
                    if filled.contains(&began.elapsed()) { (LONG_TOGETHER, LONG_BYTES) } else { (1, SHORT_BYTES) };
                for _ in 0..count {
                    let request = Request { number: probes.len() as u64, task: Task::Answer, amount: 0 };
                    let (sent, sent_realtime_ns) = (began.elapsed(), realtime_ns());
                    probes.push(Probe { sent, sent_realtime_ns, answer: None, answers: 0 });
                    // Lost, then.
                    let _ = socket.send(&request.to_bytes(length)).await;
                }
                if began.elapsed() >= phase.end {
                    is_over = true;
                    end.set(tokio::time::sleep(PATIENCE));
                }
            }
        }
    }
}

/// For requests that are all short.
pub(crate) const NEVER: Range<Duration> = Duration::ZERO..Duration::ZERO;

/// Those that were sent during a phase.
pub(crate) fn sent_in<'p>(probes: &'p [Probe], phase: &Range<Duration>) -> impl Iterator<Item = &'p Probe> + Clone {
    let phase = phase.clone();
    probes.iter().filter(move |probe| phase.contains(&probe.sent))
}

/// How long they took, in milliseconds.
pub(crate) fn round_trips_ms(probes: &[Probe], phase: &Range<Duration>) -> Vec<f64> {
    sent_in(probes, phase).filter_map(|probe| Some(probe.round_trip()?.as_secs_f64() * 1e3)).collect()
}
