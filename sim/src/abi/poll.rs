//! Readiness: poll(2), select(2), epoll(7).

use super::user::EpollEvents;
use super::{answer_int, call, hooks};
use crate::kernel::Stop;
use libc::{c_int, epoll_event, fd_set, nfds_t, pollfd, sigset_t, timespec, timeval};

/// A timeout in milliseconds: negative means none.
fn milliseconds(timeout: c_int) -> Option<u64> {
    u64::try_from(timeout).ok().map(|ms| ms * 1_000_000)
}

unsafe fn poll_list(fds: *mut pollfd, count: nfds_t, timeout: Option<u64>, mask: *const sigset_t) -> c_int {
    // SAFETY: null or the caller's.
    let mask = unsafe { super::signal::word(mask) };
    let list: &mut [pollfd] = match count {
        0 => &mut [],
        // SAFETY: the caller's array of `count` entries.
        _ => unsafe { std::slice::from_raw_parts_mut(fds, count as usize) },
    };
    answer_int(call("poll", |k, me| {
        k.wait_with_mask(me, mask);
        k.poll(me, list, timeout)
    }))
}

unsafe fn wait(
    epfd: c_int,
    events: *mut epoll_event,
    capacity: c_int,
    timeout: Option<u64>,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: null or the caller's.
    let mask = unsafe { super::signal::word(mask) };
    answer_int(call("epoll_wait", |k, me| {
        k.wait_with_mask(me, mask);
        // SAFETY: the caller's array.
        let mut out = unsafe { EpollEvents::new(events, usize::try_from(capacity).unwrap_or(0)) };
        k.epoll_wait(me, epfd, &mut out, timeout)
    }))
}

/// A relative timeout.
unsafe fn relative(time: *const timespec) -> Result<Option<u64>, c_int> {
    // SAFETY: null or valid.
    match unsafe { time.as_ref() } {
        None => Ok(None),
        Some(time) => match crate::abi::clock::nanoseconds(time) {
            Some(ns) => Ok(Some(ns as u64)),
            None => Err(answer_int(-i64::from(libc::EINVAL))),
        },
    }
}

/// select(2) in terms of poll(2) (fs/select.c: which poll bits each set stands for).
unsafe fn select_sets(count: c_int, sets: [*mut fd_set; 3], timeout: Option<u64>, mask: *const sigset_t) -> c_int {
    const BITS: [i16; 3] = [libc::POLLIN | libc::POLLHUP | libc::POLLERR, libc::POLLOUT | libc::POLLERR, libc::POLLPRI];
    const ASK: [i16; 3] = [libc::POLLIN, libc::POLLOUT, libc::POLLPRI];
    if !(0..=libc::FD_SETSIZE as c_int).contains(&count) {
        return answer_int(-i64::from(libc::EINVAL));
    }
    // SAFETY: each set is null or the caller's.
    let has = |set: *mut fd_set, fd: c_int| unsafe { !set.is_null() && libc::FD_ISSET(fd, set) };
    // On the stack: see `Handed`.
    let mut room = [pollfd { fd: -1, events: 0, revents: 0 }; libc::FD_SETSIZE];
    let mut asked = 0;
    for fd in 0..count {
        let events = (0..3).filter(|i| has(sets[*i], fd)).fold(0, |bits, i| bits | ASK[i]);
        if events != 0 {
            room[asked] = pollfd { fd, events, revents: 0 };
            asked += 1;
        }
    }
    let list = &mut room[..asked];
    // SAFETY: null or the caller's.
    let mask = unsafe { super::signal::word(mask) };
    let result = call("select", |k, me| {
        k.wait_with_mask(me, mask);
        let step = k.poll(me, list, timeout)?;
        for entry in list.iter().filter(|entry| entry.revents & libc::POLLNVAL != 0) {
            k.raw_file(me, entry.fd)?;
        }
        Ok(step)
    });
    if result < 0 {
        return answer_int(result);
    }
    let mut ready = 0;
    for (i, set) in sets.into_iter().enumerate().filter(|(_, set)| !set.is_null()) {
        // SAFETY: the caller's set.
        let wanted = unsafe { *set };
        // SAFETY: as above.
        unsafe { libc::FD_ZERO(set) };
        for entry in &*list {
            // What is open by its path only is ready for everything (fs/select.c, `POLLIN_SET`).
            // SAFETY: a number below FD_SETSIZE.
            if unsafe { libc::FD_ISSET(entry.fd, &wanted) } && entry.revents & (BITS[i] | libc::POLLNVAL) != 0 {
                // SAFETY: as above.
                unsafe { libc::FD_SET(entry.fd, set) };
                ready += 1;
            }
        }
    }
    ready
}

hooks! {
    poll;

    @outside(crate::abi::real_clock::poll)
    fn poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
        poll_list(fds, count, milliseconds(timeout), std::ptr::null())
    }
    @outside(crate::abi::real_clock::poll_chk)
    fn __poll_chk(fds: *mut pollfd, count: nfds_t, timeout: c_int, _room: usize) -> c_int {
        poll_list(fds, count, milliseconds(timeout), std::ptr::null())
    }
    @outside(crate::abi::real_clock::ppoll)
    fn ppoll(fds: *mut pollfd, count: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int {
        relative(timeout).map_or_else(|e| e, |timeout| poll_list(fds, count, timeout, mask))
    }
    @outside(crate::abi::real_clock::select)
    fn select(count: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *mut timeval) -> c_int {
        let Some(limit) = timeout.as_mut() else { return select_sets(count, [r, w, e], None, std::ptr::null()) };
        if limit.tv_sec < 0 || limit.tv_usec < 0 {
            return answer_int(-i64::from(libc::EINVAL));
        }
        // select(2), "The timeout": Linux leaves there what has not passed.
        let ns = limit.tv_sec.saturating_mul(1_000_000_000).saturating_add(limit.tv_usec.saturating_mul(1000));
        let began = crate::abi::clock::monotonic_ns();
        let ready = select_sets(count, [r, w, e], Some(ns as u64), std::ptr::null());
        let left = (began.saturating_add(ns) - crate::abi::clock::monotonic_ns()).max(0);
        *limit = timeval { tv_sec: left / 1_000_000_000, tv_usec: left % 1_000_000_000 / 1000 };
        ready
    }
    @outside(crate::abi::real_clock::pselect)
    fn pselect(
        count: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *const timespec, mask: *const sigset_t
    ) -> c_int {
        relative(timeout).map_or_else(|e| e, |timeout| select_sets(count, [r, w, e], timeout, mask))
    }

    @real(asks())
    fn epoll_create(size: c_int) -> c_int {
        if size <= 0 {
            return answer_int(-i64::from(libc::EINVAL));
        }
        libc::epoll_create1(0)
    }
    @real(asks())
    fn epoll_create1(flags: c_int) -> c_int {
        answer_int(call("epoll_create1", |k, me| k.epoll_create(me, flags)))
    }
    fn epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int {
        let event = if event.is_null() { None } else { Some(event.read_unaligned()) };
        answer_int(call("epoll_ctl", |k, me| {
            let event = match (op, event) {
                (libc::EPOLL_CTL_DEL, _) => (0, 0),
                (_, Some(event)) => (event.events, event.u64),
                (_, None) => return Err(Stop::Errno(libc::EFAULT)),
            };
            k.epoll_ctl(me, epfd, op, fd, event)
        }))
    }
    @outside(crate::abi::real_clock::epoll_wait)
    fn epoll_wait(epfd: c_int, events: *mut epoll_event, capacity: c_int, timeout: c_int) -> c_int {
        wait(epfd, events, capacity, milliseconds(timeout), std::ptr::null())
    }
    @outside(crate::abi::real_clock::epoll_pwait)
    fn epoll_pwait(
        epfd: c_int, events: *mut epoll_event, capacity: c_int, timeout: c_int, mask: *const sigset_t
    ) -> c_int {
        wait(epfd, events, capacity, milliseconds(timeout), mask)
    }
    @outside(crate::abi::real_clock::epoll_pwait2)
    fn epoll_pwait2(
        epfd: c_int, events: *mut epoll_event, capacity: c_int, timeout: *const timespec, mask: *const sigset_t
    ) -> c_int {
        relative(timeout).map_or_else(|e| e, |timeout| wait(epfd, events, capacity, timeout, mask))
    }
}
