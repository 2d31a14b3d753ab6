//! poll(2), select(2), epoll(7).

use super::bits;
use crate::transcript::{Transcript, outcome, record};
use libc::{c_int, epoll_event, pollfd};

/// Poll bits by name; `EPOLL*` has the same values.
const BITS: [(u32, &str); 13] = [
    (0x001, "IN"),
    (0x004, "OUT"),
    (0x002, "PRI"),
    (0x008, "ERR"),
    (0x010, "HUP"),
    (0x020, "NVAL"),
    (0x2000, "RDHUP"),
    (0x040, "RDNORM"),
    (0x080, "RDBAND"),
    (0x100, "WRNORM"),
    (0x200, "WRBAND"),
    (1 << 30, "ONESHOT"),
    (1 << 31, "ET"),
];

/// Everything that can be asked for but priority bands.
pub const ALL: u32 = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLPRI | libc::EPOLLRDHUP) as u32;
pub const IN: u32 = libc::EPOLLIN as u32;
pub const OUT: u32 = libc::EPOLLOUT as u32;
pub const RDHUP: u32 = libc::EPOLLRDHUP as u32;
pub const ET: u32 = libc::EPOLLET as u32;
pub const ONESHOT: u32 = libc::EPOLLONESHOT as u32;
pub const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;

/// Bits in words.
pub fn show(value: u32) -> String {
    if value == 0 { "0".to_owned() } else { bits(value, &BITS) }
}

impl Transcript {
    pub fn epoll(&self) -> c_int {
        record!(self, unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }, "epoll_create1(CLOEXEC)") as c_int
    }

    fn epoll_ctl(&self, epoll: c_int, (name, op): (&str, c_int), fd: c_int, events: u32) -> c_int {
        let mut event = epoll_event { events, u64: fd as u64 };
        let call = || unsafe { libc::epoll_ctl(epoll, op, fd, &raw mut event) };
        record!(
            self,
            {
                let mut call = call;
                call()
            },
            "epoll_ctl({epoll}, {name}, {fd}, {})",
            show(events)
        ) as c_int
    }

    pub fn epoll_add(&self, epoll: c_int, fd: c_int, events: u32) -> c_int {
        self.epoll_ctl(epoll, ("ADD", libc::EPOLL_CTL_ADD), fd, events)
    }

    pub fn epoll_mod(&self, epoll: c_int, fd: c_int, events: u32) -> c_int {
        self.epoll_ctl(epoll, ("MOD", libc::EPOLL_CTL_MOD), fd, events)
    }

    pub fn epoll_del(&self, epoll: c_int, fd: c_int) -> c_int {
        self.epoll_ctl(epoll, ("DEL", libc::EPOLL_CTL_DEL), fd, 0)
    }

    pub fn epoll_op(&self, epoll: c_int, op: c_int, fd: c_int, events: u32) -> c_int {
        self.epoll_ctl(epoll, ("?", op), fd, events)
    }

    /// epoll_wait(2): what is ready, in the order reported.
    pub fn epoll_wait(&self, epoll: c_int, room: usize, timeout_ms: c_int) -> c_int {
        let mut events = vec![epoll_event { events: 0, u64: 0 }; room.max(1)];
        let (result, errno) =
            outcome!(unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), room as c_int, timeout_ms) });
        let list = events.iter().take(usize::try_from(result).unwrap_or(0));
        let list: String = list.map(|e| format!(" {}:{}", { e.u64 }, show(e.events))).collect();
        self.returned(format_args!("epoll_wait({epoll}, {room}, {timeout_ms})"), result, errno, &list);
        result as c_int
    }

    /// poll(2) of one descriptor.
    pub fn poll(&self, fd: c_int, events: u32, timeout_ms: c_int) -> c_int {
        self.poll_list(&[(fd, events)], timeout_ms)
    }

    pub fn poll_list(&self, list: &[(c_int, u32)], timeout_ms: c_int) -> c_int {
        let mut entries: Vec<pollfd> =
            list.iter().map(|(fd, events)| pollfd { fd: *fd, events: *events as i16, revents: 0 }).collect();
        let (result, errno) =
            outcome!(unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout_ms) });
        let asked: Vec<String> = list.iter().map(|(fd, events)| format!("{fd}:{}", show(*events))).collect();
        let came: String = entries.iter().map(|e| format!(" {}", show(u32::from(e.revents as u16)))).collect();
        self.returned(format_args!("poll({}, {timeout_ms})", asked.join(" ")), result, errno, &came);
        result as c_int
    }

    /// select(2) of one descriptor in all three sets.
    pub fn select(&self, fd: c_int, timeout_ms: i64) -> c_int {
        let mut sets = [const { unsafe { std::mem::zeroed::<libc::fd_set>() } }; 3];
        if (0..libc::FD_SETSIZE as c_int).contains(&fd) {
            sets.iter_mut().for_each(|set| unsafe { libc::FD_SET(fd, set) });
        }
        let mut timeout = libc::timeval { tv_sec: timeout_ms / 1000, tv_usec: timeout_ms % 1000 * 1000 };
        let [r, w, e] = &mut sets;
        let (result, errno) = outcome!(unsafe { libc::select(fd.max(0) + 1, r, w, e, &mut timeout) });
        let shown = if (0..libc::FD_SETSIZE as c_int).contains(&fd) {
            let is = |set: &libc::fd_set| u8::from(unsafe { libc::FD_ISSET(fd, set) });
            format!(" read {} write {} except {}", is(&sets[0]), is(&sets[1]), is(&sets[2]))
        } else {
            String::new()
        };
        self.returned(format_args!("select({fd})"), result, errno, &shown);
        result as c_int
    }
}
