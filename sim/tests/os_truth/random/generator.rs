//! Drawing sequences of calls.

/// What kind of sequences.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Pipes, eventfds, epolls, copies of descriptors.
    Descriptors,
    /// TCP.
    Streams,
    /// UDP.
    Datagrams,
    /// Unix sockets of every type.
    Unix,
    /// All of it.
    Mixed,
}

impl Family {
    /// What its sequences open.
    fn objects(self) -> &'static [New] {
        match self {
            Family::Descriptors => &[New::Pipe, New::Eventfd, New::Semaphore, New::Epoll, New::Pipe],
            Family::Streams => &[New::Tcp, New::Tcp, New::Tcp, New::Tcp6, New::Connection, New::Listener, New::Epoll],
            Family::Datagrams => &[New::Udp, New::Udp, New::Udp6, New::UdpPair, New::Epoll],
            Family::Unix => &[
                New::UnixStream,
                New::UnixDgram,
                New::UnixSeqpacket,
                New::StreamPair,
                New::DgramPair,
                New::SeqpacketPair,
                New::Epoll,
                New::Pipe,
            ],
            Family::Mixed => &[
                New::Pipe,
                New::Eventfd,
                New::Epoll,
                New::Epoll,
                New::Tcp,
                New::Connection,
                New::Listener,
                New::Udp,
                New::UdpPair,
                New::StreamPair,
                New::DgramPair,
                New::UnixStream,
            ],
        }
    }
}

/// What a call opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum New {
    Pipe,
    Eventfd,
    Semaphore,
    Epoll,
    Tcp,
    Tcp6,
    Listener,
    Connection,
    Udp,
    Udp6,
    UdpPair,
    UnixStream,
    UnixDgram,
    UnixSeqpacket,
    StreamPair,
    DgramPair,
    SeqpacketPair,
}

/// An address, as far as the sequence knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    /// The wildcard, any port.
    Any,
    /// Loopback, any port.
    Local,
    /// Loopback, at the port of a descriptor's own name.
    NameOf(usize),
    /// The wildcard at that port.
    AnyAt(usize),
    /// The v6 form of a v4 loopback address at that port.
    MappedAt(usize),
    /// The loopback network's broadcast address at that port.
    AllAt(usize),
    /// No family.
    Unspecified,
    /// One of a few abstract names.
    Name(usize),
}

/// A call. Descriptors are named by their place among those that are open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Open(New),
    Close(usize),
    Dup(usize),
    Dup2(usize, usize),
    Read(usize, usize),
    Write(usize, usize),
    WriteWord(usize, u64),
    Bind(usize, To),
    Listen(usize, i32),
    Connect(usize, To),
    Accept(usize),
    Send(usize, usize, i32),
    SendTo(usize, usize, To),
    SendRights(usize, usize),
    Recv(usize, usize, i32),
    RecvFrom(usize, usize),
    RecvMsg(usize, usize),
    Shutdown(usize, i32),
    Names(usize),
    Error(usize),
    Switch(usize, usize, i32),
    Linger(usize, i32),
    Available(usize),
    Poll(usize),
    PollAll,
    EpollAdd(usize, usize, u32),
    EpollMod(usize, usize, u32),
    EpollDel(usize, usize),
    EpollWait(usize, usize),
}

/// A stream of random numbers: SplitMix64.
pub struct Source(u64);

impl Source {
    pub fn new(seed: u64) -> Source {
        Source(seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

/// Places of descriptors are drawn below this and taken modulo how many there are.
const PLACES: u64 = 12;
/// Calls of a sequence.
const CALLS: std::ops::Range<u64> = 8..40;

/// Draws a sequence.
pub fn sequence(family: Family, source: &mut Source) -> Vec<Op> {
    let objects = family.objects();
    let mut ops = vec![Op::Open(source.one_of(objects)), Op::Open(source.one_of(objects))];
    let count = CALLS.start + source.below(CALLS.end - CALLS.start);
    while (ops.len() as u64) < count {
        ops.push(draw(family, source));
    }
    ops
}

fn to(source: &mut Source) -> To {
    let place = source.below(PLACES) as usize;
    source.one_of(&[
        To::Any,
        To::Local,
        To::Local,
        To::NameOf(place),
        To::NameOf(place),
        To::NameOf(place),
        To::NameOf(place),
        To::AnyAt(place),
        To::MappedAt(place),
        To::Unspecified,
    ])
}

fn draw(family: Family, source: &mut Source) -> Op {
    let slot = source.below(PLACES) as usize;
    let other = source.below(PLACES) as usize;
    let unix = family == Family::Unix || family == Family::Mixed && source.below(4) == 0;
    let to = if unix && source.below(8) != 0 { To::Name(source.below(3) as usize) } else { to(source) };
    let sockets = family != Family::Descriptors;
    let bytes = source.one_of(&[0, 1, 3, 10, 100, 1000]);
    let interest = source.one_of(&[0x1, 0x4, 0x5, 0x2005, 0x2001])
        | source.one_of(&[0, 0, 1 << 31, 1 << 31, 1 << 30, 1 << 30 | 1 << 31]);
    let flags = source.one_of(&[0, 0, 0, libc::MSG_PEEK, libc::MSG_TRUNC, libc::MSG_DONTWAIT]);
    match source.below(if sockets { 40 } else { 22 }) {
        0 | 1 => Op::Open(source.one_of(family.objects())),
        2 | 3 => Op::Close(slot),
        4 => Op::Dup(slot),
        5 => Op::Dup2(slot, other),
        6 | 7 => Op::Read(slot, if sockets { bytes } else { source.one_of(&[1, 8, 100, 5_000, 70_000]) }),
        8 | 9 => {
            Op::Write(slot, if sockets { bytes } else { source.one_of(&[0, 1, 100, 3_000, 4_096, 5_000, 70_000]) })
        }
        10 => Op::WriteWord(slot, source.one_of(&[0, 1, 2, 1000, u64::MAX - 2, u64::MAX - 1, u64::MAX])),
        11 => Op::Available(slot),
        12 => Op::Poll(slot),
        13 => Op::PollAll,
        14..=16 => Op::EpollAdd(slot, other, interest),
        17 => Op::EpollMod(slot, other, interest),
        18 => Op::EpollDel(slot, other),
        19..=21 => Op::EpollWait(slot, source.one_of(&[1, 2, 8])),
        22 | 23 => Op::Bind(slot, to),
        24 => Op::Listen(slot, 8),
        25 | 26 => Op::Connect(slot, to),
        27 | 28 => Op::Accept(slot),
        29 | 30 if family == Family::Datagrams => Op::Send(slot, bytes, source.one_of(&[0, 0, 0, libc::MSG_MORE])),
        29 | 30 => Op::Send(slot, bytes, 0),
        31 if family == Family::Datagrams && source.below(4) == 0 => Op::SendTo(slot, bytes, To::AllAt(other)),
        31 => Op::SendTo(slot, bytes, to),
        32 | 33 => Op::Recv(slot, bytes, flags),
        34 => Op::RecvFrom(slot, bytes),
        35 => Op::Shutdown(slot, source.below(3) as i32),
        36 => Op::Names(slot),
        37 => Op::Error(slot),
        38 => Op::Switch(slot, source.below(5) as usize, source.below(2) as i32),
        _ => match source.below(4) {
            0 => Op::Linger(slot, 0),
            1 => Op::SendRights(slot, other),
            _ => Op::RecvMsg(slot, bytes),
        },
    }
}
