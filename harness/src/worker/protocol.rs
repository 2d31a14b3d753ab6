//! What supervisor and worker say to each other: a byte for "go on", eight bytes for each answer.

use crate::system::{self, End};
use std::os::fd::RawFd;

/// The flight recorder.
pub(crate) const BLACKBOX_FD: RawFd = 3;
/// A byte for each case; its end is the end.
pub(crate) const ORDERS_FD: RawFd = 4;
/// Answers.
pub(crate) const ANSWERS_FD: RawFd = 5;
/// The executable, while it is being executed.
pub(crate) const EXECUTABLE_FD: RawFd = 6;

/// An answer of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// Ready to serve.
    Ready,
    /// It cannot serve; the reason is a finding.
    Unfit,
    /// A case runs in this process.
    Started(libc::pid_t),
    /// The case's process has ended.
    Ended(End),
    /// There is no process for the case, because of this errno.
    NotForked(i32),
}

/// Length of a message: the kind, then the value.
pub(crate) const MESSAGE_BYTES: usize = 8;

impl Message {
    pub(crate) fn to_bytes(self) -> [u8; MESSAGE_BYTES] {
        let (kind, value): (u32, i32) = match self {
            Self::Ready => (1, 0),
            Self::Unfit => (2, 0),
            Self::Started(pid) => (3, pid),
            Self::Ended(End::Exited(code)) => (4, code),
            Self::Ended(End::Killed(signal)) => (5, signal),
            Self::NotForked(errno) => (6, errno),
        };
        let (kind, value) = (kind.to_le_bytes(), value.to_le_bytes());
        std::array::from_fn(|i| if i < 4 { kind[i] } else { value[i - 4] })
    }

    pub(crate) fn from_bytes(bytes: [u8; MESSAGE_BYTES]) -> Option<Self> {
        let value = i32::from_le_bytes(std::array::from_fn(|i| bytes[4 + i]));
        match u32::from_le_bytes(std::array::from_fn(|i| bytes[i])) {
            1 => Some(Self::Ready),
            2 => Some(Self::Unfit),
            3 => Some(Self::Started(value)),
            4 => Some(Self::Ended(End::Exited(value))),
            5 => Some(Self::Ended(End::Killed(value))),
            6 => Some(Self::NotForked(value)),
            _ => None,
        }
    }
}

/// Answers the supervisor. When it is gone, so shall we be.
pub(super) fn send(message: Message) {
    // A message is shorter than PIPE_BUF, hence written whole (pipe(7)).
    if !system::write_whole(ANSWERS_FD, &message.to_bytes()) {
        windtunnel_sim::worker::exit(1);
    }
}

/// Waits for the supervisor's word; false when there is no more to do.
pub(super) fn next_order() -> bool {
    system::read_byte(ORDERS_FD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent() {
        for message in [
            Message::Ready,
            Message::Unfit,
            Message::Started(4711),
            Message::Ended(End::Exited(101)),
            Message::Ended(End::Killed(11)),
            Message::NotForked(12),
        ] {
            assert_eq!(Message::from_bytes(message.to_bytes()), Some(message));
        }
        assert_eq!(Message::from_bytes([9; MESSAGE_BYTES]), None);
    }
}
