//! Wall clocks that are wrong: stepped, or slewed at 500 ppm, and put right again.
//!
//! What a host's `CLOCK_REALTIME` shows is virtual time plus the world's beginning plus its *shifts*, one for each
//! fault. While a thread runs no time passes, so it is told what its clock shows whenever it is resumed. Deadlines on
//! this clock are kept as what it will show (`Progress::wall_ns`, `Timer::wall_ns`); when a clock is moved they are
//! worked out anew, as Linux does (`clock_was_set`, kernel/time/hrtimer.c).

use super::dispatch::{Event, Kernel};
use super::file::Kind;
use super::thread::{State, Thread, ThreadId};
use crate::world::HostId;

/// adjtime(3): half a millisecond per second.
const SLEW_PPM: i128 = 500;
const MILLION: i128 = 1_000_000;

/// How a clock comes to be off, or right again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Motion {
    /// At once: clock_settime(2).
    Step,
    /// Gradually: adjtime(3).
    Slew,
}

/// What one fault adds to a clock.
#[derive(Clone, Copy, Debug)]
struct Shift {
    number: u64,
    /// What it added when it was moved last.
    from_ns: i64,
    to_ns: i64,
    since: u64,
    motion: Motion,
}

impl Shift {
    /// What it adds.
    fn adds(&self, now: u64) -> i64 {
        let way = i128::from(self.to_ns) - i128::from(self.from_ns);
        let gone = match self.motion {
            Motion::Step => way.abs(),
            Motion::Slew => i128::from(now.saturating_sub(self.since)) * SLEW_PPM / MILLION,
        };
        self.from_ns + (gone.min(way.abs()) * way.signum()) as i64
    }
}

/// A host's wall clock.
#[derive(Debug)]
pub(crate) struct Wall {
    began_unix_ns: i64,
    shifts: Vec<Shift>,
    shifts_ever: u64,
    /// How often threads have read it that have ended since.
    reads: u64,
}

impl Wall {
    /// A clock that is right, in a world that began then.
    pub(crate) fn right(began_unix_ns: i64) -> Wall {
        Wall { began_unix_ns, shifts: Vec::new(), shifts_ever: 0, reads: 0 }
    }

    /// What it adds to virtual time.
    pub(crate) fn adds(&self, now: u64) -> i64 {
        self.shifts.iter().fold(self.began_unix_ns, |sum, shift| sum.saturating_add(shift.adds(now)))
    }

    /// The virtual moment at which it will show this, as it is moved now.
    pub(crate) fn when(&self, shows_ns: i64, now: u64) -> u64 {
        let at = |moment: u64| u64::try_from(shows_ns.saturating_sub(self.adds(moment))).unwrap_or(0);
        // A clock that is slewed is off by 1 in 2,000 of the time that passes: each round is as many times closer.
        let (mut moment, mut last) = (at(now), now);
        for _ in 0..8 {
            if moment == last || moment <= now {
                break;
            }
            (last, moment) = (moment, at(moment));
        }
        moment
    }

    /// Moves it by so much; names what can be taken back.
    fn shift(&mut self, by_ns: i64, motion: Motion, now: u64) -> u64 {
        self.shifts_ever += 1;
        let number = self.shifts_ever;
        self.shifts.push(Shift { number, from_ns: 0, to_ns: by_ns, since: now, motion });
        number
    }

    /// Takes a shift back, the way it was made.
    fn unshift(&mut self, number: u64, now: u64) {
        self.shifts.retain(|shift| shift.to_ns != 0 || shift.adds(now) != 0);
        if let Some(shift) = self.shifts.iter_mut().find(|shift| shift.number == number) {
            *shift = Shift { from_ns: shift.adds(now), to_ns: 0, since: now, ..*shift };
        }
    }
}

impl Kernel {
    /// Moves a host's wall clock.
    pub(crate) fn skew_clock(&mut self, host: HostId, by_ns: i64, motion: Motion) -> u64 {
        let shift = self.hosts[host].wall.shift(by_ns, motion, self.now);
        self.walls_move = true;
        self.clock_was_set(host, motion);
        shift
    }

    /// Puts a host's wall clock right again, as far as it was moved by this.
    pub(crate) fn right_clock(&mut self, host: HostId, shift: u64, motion: Motion) {
        self.hosts[host].wall.unshift(shift, self.now);
        self.clock_was_set(host, motion);
    }

    /// How often a host's wall clock has been read.
    pub(crate) fn wall_reads(&self, host: HostId) -> u64 {
        let of_host = |thread: &Thread| self.processes.get(thread.process).is_some_and(|process| process.host == host);
        let alive = self.threads.iter().map(|(_, thread)| thread).filter(|thread| of_host(thread));
        let reads = alive.filter(|thread| !thread.lent.pointer().is_null()).map(|thread| thread.lent.wall_reads());
        self.hosts[host].wall.reads + reads.map(u64::from).sum::<u64>()
    }

    /// Notes what a thread has read that ends.
    pub(crate) fn note_wall_reads(&mut self, thread: &Thread) {
        if let Some(process) = self.processes.get(thread.process) {
            self.hosts[process.host].wall.reads += u64::from(thread.lent.wall_reads());
        }
    }

    /// Deadlines on a clock that has been moved come at other moments now.
    fn clock_was_set(&mut self, host: HostId, motion: Motion) {
        let waiting: Vec<(ThreadId, i64)> = self
            .threads
            .iter()
            .filter(|(_, thread)| thread.state == State::Blocked && self.processes[thread.process].host == host)
            .filter_map(|(id, thread)| Some((id, thread.progress.wall_ns.filter(|_| thread.timer.is_some())?)))
            .collect();
        for (id, wall_ns) in waiting {
            let at = self.hosts[host].wall.when(wall_ns, self.now);
            let late = self.buggify.lateness_ns(&self.threads[id]);
            self.threads[id].progress.deadline = Some(at);
            let key = self.timers.schedule(at.saturating_add(late).max(self.now), Event::Deadline(id));
            if let Some(old) = self.threads[id].timer.replace(key) {
                self.timers.cancel(old);
            }
        }
        let files: Vec<_> = self.files.iter().map(|(id, _)| id).collect();
        for id in files {
            let Kind::Timer(timer) = &self.files[id].kind else { continue };
            if timer.is_on_wall_of(host) {
                self.timerfd_clock_was_set(id, motion);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Motion, Wall};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_step_is_there_at_once_and_gone_at_once() {
        let mut wall = Wall::right(100);
        let shift = wall.shift(-30, Motion::Step, 5);
        assert_eq!((wall.adds(5), wall.when(80, 5)), (70, 10));
        wall.unshift(shift, 9);
        assert_eq!(wall.adds(9), 100);
    }

    #[test]
    fn a_slew_takes_two_thousand_times_its_size() {
        let mut wall = Wall::right(0);
        let second = SECOND as i64;
        let shift = wall.shift(second, Motion::Slew, 0);
        assert_eq!(wall.adds(1000 * SECOND), second / 2);
        assert_eq!(wall.adds(2000 * SECOND), second);
        assert_eq!(wall.adds(9000 * SECOND), second);
        // It is put right from where it has come to.
        wall.unshift(shift, 1000 * SECOND);
        assert_eq!(wall.adds(1000 * SECOND), second / 2);
        assert_eq!(wall.adds(1500 * SECOND), second / 4);
        assert_eq!(wall.adds(2000 * SECOND), 0);
    }

    #[test]
    fn the_moment_is_when_a_slewed_clock_shows_it() {
        let mut wall = Wall::right(0);
        wall.shift(-(SECOND as i64), Motion::Slew, 0);
        wall.shift(5 * SECOND as i64, Motion::Step, 0);
        for shows in [6, 500, 1990, 5000].map(|seconds| seconds * SECOND as i64) {
            let moment = wall.when(shows, 0);
            let shown = moment as i64 + wall.adds(moment);
            assert!(shown.abs_diff(shows) <= 1, "at {moment} it shows {shown} and not {shows}");
        }
        assert!(wall.when(3, 7 * SECOND) <= 7 * SECOND);
    }

    #[test]
    fn shifts_add_up_and_go_one_by_one() {
        let mut wall = Wall::right(0);
        let one = wall.shift(10, Motion::Step, 0);
        let other = wall.shift(-3, Motion::Step, 1);
        assert_eq!(wall.adds(2), 7);
        wall.unshift(one, 3);
        assert_eq!(wall.adds(3), -3);
        wall.unshift(other, 4);
        assert_eq!(wall.adds(4), 0);
    }
}
