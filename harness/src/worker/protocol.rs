//! What supervisor and worker say to each other: a byte for "go on", eight bytes for each answer.

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
    /// The case's process exited with this code.
    Exited(i32),
    /// The case's process was killed by this signal.
    Killed(i32),
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
            Self::Exited(code) => (4, code),
            Self::Killed(signal) => (5, signal),
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
            4 => Some(Self::Exited(value)),
            5 => Some(Self::Killed(value)),
            6 => Some(Self::NotForked(value)),
            _ => None,
        }
    }
}

/// Answers the supervisor. When it is gone, so shall we be.
pub(super) fn send(message: Message) {
    let bytes = message.to_bytes();
    // SAFETY: a buffer of this length. A message is shorter than PIPE_BUF, hence written whole (pipe(7)).
    let written = unsafe { libc::write(ANSWERS_FD, bytes.as_ptr().cast(), bytes.len()) };
    if written != bytes.len() as isize {
        windtunnel_sim::worker::exit(1);
    }
}

/// Waits for the supervisor's word; false when there is no more to do.
pub(super) fn next_order() -> bool {
    let mut byte = 0_u8;
    loop {
        // SAFETY: a buffer of one byte.
        let read = unsafe { libc::read(ORDERS_FD, (&raw mut byte).cast(), 1) };
        let interrupted =
            read < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted;
        if !interrupted {
            return read == 1;
        }
    }
}

/// Waits until a case's process has ended, and leaves its pid taken.
pub(super) fn wait_for_end(pid: libc::pid_t) -> Message {
    // SAFETY: `siginfo_t` is plain memory for which zeros are valid.
    let mut end: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `end` is a `siginfo_t`; a pid that was just forked is not negative.
        let waited = unsafe {
            libc::waitid(
                libc::P_PID,
                pid.cast_unsigned(),
                &raw mut end,
                libc::WEXITED | libc::WNOWAIT,
            )
        };
        if waited == 0 {
            break;
        }
    }
    // SAFETY: filled by `waitid` for SIGCHLD, hence with a status.
    let status = unsafe { end.si_status() };
    if end.si_code == libc::CLD_EXITED {
        Message::Exited(status)
    } else {
        Message::Killed(status)
    }
}

/// Gives an ended process's pid back.
pub(super) fn reap(pid: libc::pid_t) {
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
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
            Message::Exited(101),
            Message::Killed(11),
            Message::NotForked(12),
        ] {
            assert_eq!(Message::from_bytes(message.to_bytes()), Some(message));
        }
        assert_eq!(Message::from_bytes([9; MESSAGE_BYTES]), None);
    }
}
