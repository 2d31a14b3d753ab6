//! A service that answers each datagram with a [`Reading`]: how much it got, what its clocks show, and what came of the
//! [`Task`] that it was asked to do.

mod disk;
mod done;
mod message;
mod names;
mod processors;
mod resources;

pub use message::{NAME, REQUEST_BYTES_MAX, Reading, Request, Task};
pub use resources::ALLOCATED_BYTES;

use done::Done;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Instant, SystemTime};

/// Where it listens.
pub const PORT: u16 = 7007;

/// Every how many datagrams it says so.
const SAYS_EVERY: u64 = 1000;

/// Nanoseconds since 1970, by the realtime clock.
#[must_use]
pub fn realtime_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Answers for ever.
///
/// # Errors
/// It cannot listen.
pub fn main() -> io::Result<()> {
    let began = Instant::now();
    let socket = UdpSocket::bind(("0.0.0.0", PORT))?;
    println!("listening on port {PORT}");
    let mut bytes = [0; REQUEST_BYTES_MAX];
    for arrival in 0.. {
        let (length, from) = socket.recv_from(&mut bytes)?;
        let monotonic_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let realtime_ns = realtime_ns();
        let Some((request, flipped)) = Request::from_bytes(&bytes[..length]) else { continue };
        let Request { number, .. } = request;
        let (bytes, amount, errno) = (length as u64, 0, 0);
        let reading = Reading { number, bytes, flipped, arrival, realtime_ns, monotonic_ns, amount, errno };
        answer(&socket, from, request, reading);
        if arrival % SAYS_EVERY == SAYS_EVERY - 1 {
            println!("{} datagrams", arrival + 1);
        }
    }
    Ok(())
}

/// Does what it is asked to, and says what came of it.
fn answer(socket: &UdpSocket, to: SocketAddr, request: Request, reading: Reading) {
    let say = |Done { amount, errno }| {
        // Who does not get it asks again.
        let _ = socket.send_to(&Reading { amount, errno, ..reading }.to_bytes(), to);
    };
    let most = request.amount;
    say(match request.task {
        Task::Answer => Done::all(0),
        Task::Fill => disk::fill(most),
        Task::Make => disk::make(most),
        Task::Write => disk::write(most),
        Task::Read => disk::read(most),
        Task::Sync => disk::sync(most),
        Task::Compare => disk::compare(most),
        Task::Append => disk::append(),
        Task::Unsynced => disk::length(disk::UNSYNCED),
        Task::Synced => disk::length(disk::SYNCED),
        Task::Open => resources::open(most),
        Task::Start => resources::start(most),
        Task::Allocate => resources::allocate(most, say),
        Task::Work => processors::work(most),
        Task::Resolve => names::resolve(),
    });
}
