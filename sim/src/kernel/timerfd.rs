//! timerfd_create(2).

use super::clock::Clock;
use super::dispatch::{Event, Kernel};
use super::file::{FileId, Kind};
use super::thread::ThreadId;
use super::timers::TimerKey;
use super::{Step, Stop};
use crate::world::HostId;
use libc::{EAGAIN, ECANCELED, EINVAL, EPERM, EPOLLIN, c_int};

/// A timer behind a descriptor.
pub(crate) struct Timer {
    clock: Clock,
    /// Whose.
    host: HostId,
    /// Virtual time of the next expiration.
    next: Option<u64>,
    /// What the host's wall clock shows then, if that is how it was set.
    wall_ns: Option<i64>,
    /// `TFD_TIMER_CANCEL_ON_SET`: who reads is told that the clock was set.
    cancel_on_set: bool,
    /// It was.
    canceled: bool,
    interval_ns: u64,
    expirations: u64,
    key: Option<TimerKey>,
}

/// `struct itimerspec` in nanoseconds.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) interval_ns: u64,
    pub(crate) value_ns: u64,
}

impl Timer {
    /// Readable once expired.
    pub(crate) fn readiness(&self) -> u32 {
        if self.expirations > 0 || self.canceled { EPOLLIN as u32 } else { 0 }
    }

    /// Whether it runs by this host's clocks.
    pub(crate) fn is_running_on(&self, host: HostId) -> bool {
        self.host == host && (self.next.is_some() || self.cancel_on_set)
    }

    /// When it expires next.
    pub(crate) fn expires(&self) -> Option<u64> {
        self.next
    }

    /// What the wall clock shows then, if that is how it was set.
    pub(crate) fn wall_ns(&self) -> Option<i64> {
        self.wall_ns
    }

    /// Takes the scheduled expiration out, to be cancelled.
    pub(crate) fn disarm(&mut self) -> Option<TimerKey> {
        (self.next, self.wall_ns) = (None, None);
        self.key.take()
    }
}

impl Kernel {
    /// timerfd_create(2).
    pub(crate) fn timerfd_create(&mut self, me: ThreadId, clock: i32, flags: i32) -> Step {
        if flags & !(libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        let clock = match clock {
            libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME => Clock::of(clock)?,
            // They wake a suspended machine, which takes CAP_WAKE_ALARM.
            libc::CLOCK_REALTIME_ALARM | libc::CLOCK_BOOTTIME_ALARM => return Err(Stop::Errno(EPERM)),
            _ => return Err(Stop::Errno(EINVAL)),
        };
        let host = self.host_id(me);
        let timer = Timer {
            clock,
            host,
            next: None,
            wall_ns: None,
            cancel_on_set: false,
            canceled: false,
            interval_ns: 0,
            expirations: 0,
            key: None,
        };
        Ok(i64::from(self.open_new(me, Kind::Timer(timer), flags | libc::O_RDWR)?))
    }

    fn timer(&mut self, me: ThreadId, fd: i32) -> Result<(FileId, &mut Timer), Stop> {
        let id = self.file(me, fd)?;
        match &mut self.files[id].kind {
            Kind::Timer(timer) => Ok((id, timer)),
            _ => Err(Stop::Errno(EINVAL)),
        }
    }

    /// timerfd_settime(2).
    pub(crate) fn timerfd_settime(
        &mut self,
        me: ThreadId,
        fd: i32,
        flags: c_int,
        new: Setting,
        old: &mut Setting,
    ) -> Step {
        self.timerfd_gettime(me, fd, old)?;
        let absolute = flags & libc::TFD_TIMER_ABSTIME != 0;
        let (id, timer) = self.timer(me, fd)?;
        let clock = timer.clock;
        let key = timer.disarm();
        timer.interval_ns = new.interval_ns;
        timer.expirations = 0;
        if let Some(key) = key {
            self.timers.cancel(key);
        }
        let on_wall = absolute && clock == Clock::Realtime;
        let (_, timer) = self.timer(me, fd)?;
        timer.cancel_on_set = on_wall && flags & libc::TFD_TIMER_CANCEL_ON_SET != 0;
        // What nobody has been told of yet is told of now, or never (timerfd_create(2), NOTES).
        let canceled = std::mem::take(&mut timer.canceled) && timer.cancel_on_set;
        if new.value_ns == 0 {
            return Ok(0);
        }
        let late_ns = if absolute { self.lateness_ns(me, clock, new.value_ns as i64) } else { None };
        let next = match late_ns {
            // An absolute time in the past: what an interval has missed since then is due at once.
            Some(late_ns) => {
                let (_, timer) = self.timer(me, fd)?;
                timer.expirations = 1 + late_ns.checked_div(new.interval_ns).unwrap_or(0);
                self.notify(id, EPOLLIN as u32);
                late_ns.checked_rem(new.interval_ns).map(|since_last_ns| {
                    let left_ns = new.interval_ns - since_last_ns;
                    match on_wall {
                        true => self.when(me, clock, self.wall_shows(me).saturating_add(left_ns as i64)),
                        false => self.after(me, left_ns),
                    }
                })
            }
            None if absolute => Some(self.when(me, clock, new.value_ns as i64)),
            None => Some(self.after(me, new.value_ns)),
        };
        let key = next.map(|at| self.timers.schedule(at, Event::TimerFd(id)));
        // `when` has noted what the clock will show.
        let wall_ns = self.threads[me].progress.wall_ns.filter(|_| on_wall && next.is_some());
        let (_, timer) = self.timer(me, fd)?;
        (timer.next, timer.key, timer.wall_ns) = (next, key, wall_ns);
        if canceled { Err(Stop::Errno(ECANCELED)) } else { Ok(0) }
    }

    /// timerfd_gettime(2).
    pub(crate) fn timerfd_gettime(&mut self, me: ThreadId, fd: i32, out: &mut Setting) -> Step {
        let (_, timer) = self.timer(me, fd)?;
        let (next, interval_ns, host) = (timer.next, timer.interval_ns, timer.host);
        let left = |at| self.hosts[host].beat.until(self.now, at).max(1);
        *out = Setting { interval_ns, value_ns: next.map_or(0, left) };
        Ok(0)
    }

    /// An expiration is due.
    pub(crate) fn timerfd_expired(&mut self, id: FileId) {
        let Some(Kind::Timer(timer)) = self.files.get_mut(id).map(|file| &mut file.kind) else { return };
        timer.expirations += 1;
        timer.key = None;
        let repeats = timer.next.filter(|_| timer.interval_ns > 0);
        let interval_ns = timer.interval_ns;
        let mut wall_ns = timer.wall_ns.filter(|_| repeats.is_some()).map(|at| at.saturating_add(interval_ns as i64));
        if let Some(wall_ns) = &mut wall_ns {
            // A clock that was set forwards may have left several behind (hrtimer_forward_now, kernel/time/hrtimer.c).
            let shows = self.hosts[timer.host].wall.shows(self.now);
            let missed = u64::try_from(shows.saturating_sub(*wall_ns)).map_or(0, |late| late / interval_ns + 1);
            timer.expirations += missed;
            *wall_ns = wall_ns.saturating_add(missed.saturating_mul(interval_ns) as i64);
        }
        let on_wall = wall_ns.map(|wall_ns| self.hosts[timer.host].wall.when(wall_ns, self.now));
        let next = repeats.map(|at| on_wall.unwrap_or_else(|| self.hosts[timer.host].beat.after(at, interval_ns)));
        (timer.next, timer.wall_ns) = (next, wall_ns);
        if let Some(at) = next {
            let key = self.timers.schedule(at, Event::TimerFd(id));
            if let Kind::Timer(timer) = &mut self.files[id].kind {
                timer.key = Some(key);
            }
        }
        self.notify(id, EPOLLIN as u32);
    }

    /// A clock of the host of this timer has been moved, or runs at another speed: it expires at `at` now
    /// (`timerfd_clock_was_set`, fs/timerfd.c).
    pub(crate) fn timerfd_clock_was_set(&mut self, id: FileId, jumped: bool, at: Option<u64>) {
        let Some(Kind::Timer(timer)) = self.files.get_mut(id).map(|file| &mut file.kind) else { return };
        if let Some(at) = at {
            let key = self.timers.schedule(at, Event::TimerFd(id));
            timer.next = Some(at);
            if let Some(old) = timer.key.replace(key) {
                self.timers.cancel(old);
            }
        }
        if jumped && timer.cancel_on_set {
            timer.canceled = true;
            self.notify(id, EPOLLIN as u32);
        }
    }

    /// Reading gives the number of expirations since the last read.
    pub(crate) fn timerfd_read(&mut self, me: ThreadId, id: FileId, room: usize, value: &mut u64) -> Step {
        if room < 8 {
            return Err(Stop::Errno(EINVAL));
        }
        let nonblocking = self.files[id].nonblocking();
        let Kind::Timer(timer) = &mut self.files[id].kind else { return Err(Stop::Errno(EINVAL)) };
        if std::mem::take(&mut timer.canceled) {
            timer.expirations = 0;
            return Err(Stop::Errno(ECANCELED));
        }
        if timer.expirations == 0 {
            return Err(if nonblocking { Stop::Errno(EAGAIN) } else { self.wait_for_file(me, id, EPOLLIN as u32) });
        }
        *value = std::mem::take(&mut timer.expirations);
        self.log.returned_word(*value);
        Ok(8)
    }
}
