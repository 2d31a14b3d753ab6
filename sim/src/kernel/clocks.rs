//! Moving a host's clocks, and whoever waits by them.
//!
//! While a thread runs no time passes, so it is told what its clocks show whenever it is resumed. Deadlines on the wall
//! clock are kept as what it will show as well (`Progress::wall_ns`, `Timer::wall_ns`); when a clock is moved, all
//! deadlines of its host are worked out anew, as Linux does (`clock_was_set`, kernel/time/hrtimer.c). The timers of the
//! host's TCP are not: they are the network's.

use super::dispatch::{Event, Kernel};
use super::file::Kind;
use super::thread::{Thread, ThreadId};
use super::wall::Motion;
use crate::world::HostId;

impl Kernel {
    /// Moves a host's wall clock; names what can be taken back, and says whether anybody waits for a time of day.
    pub(crate) fn skew_clock(&mut self, host: HostId, by_ns: i64, motion: Motion) -> (u64, bool) {
        let shift = self.hosts[host].wall.shift(by_ns, motion, self.now);
        (shift, self.clocks_were_set(host, motion == Motion::Step, 0))
    }

    /// Puts a host's wall clock right again, as far as it was moved by this.
    pub(crate) fn right_clock(&mut self, host: HostId, shift: u64, motion: Motion) {
        self.hosts[host].wall.unshift(shift, motion, self.now);
        self.clocks_were_set(host, motion == Motion::Step, 0);
    }

    /// Makes all clocks of a host run faster by so many parts in a million, or slower; names what can be taken back,
    /// and says by how much. Faults that add up stop no clock.
    pub(crate) fn drift_clocks(&mut self, host: HostId, ppm: i64) -> (u64, i64) {
        let ppm = self.hosts[host].beat.bearable(ppm);
        let shift = self.hosts[host].wall.shift(0, Motion::Drift(ppm), self.now);
        self.clocks_were_set(host, false, ppm);
        (shift, ppm)
    }

    /// Ends a drift. What `CLOCK_MONOTONIC` has counted stays; the wall clock is put right by a motion.
    pub(crate) fn steady_clocks(&mut self, host: HostId, ppm: i64, shift: u64, motion: Motion) {
        self.hosts[host].wall.unshift(shift, motion, self.now);
        self.clocks_were_set(host, motion == Motion::Step, -ppm);
    }

    /// The threads of a host's programs.
    fn threads_of(&self, host: HostId) -> impl Iterator<Item = (ThreadId, &Thread)> {
        let is_of =
            move |thread: &Thread| self.processes.get(thread.process).is_some_and(|process| process.host == host);
        self.threads.iter().filter(move |(_, thread)| is_of(thread))
    }

    /// How often a host's wall clock has been read.
    pub(crate) fn wall_reads(&self, host: HostId) -> u64 {
        let alive = self.threads_of(host).map(|(_, thread)| thread);
        let reads = alive.filter(|thread| !thread.lent.pointer().is_null()).map(|thread| thread.lent.wall_reads());
        self.hosts[host].wall.reads + reads.map(u64::from).sum::<u64>()
    }

    /// Notes what a thread has read that ends.
    pub(crate) fn note_wall_reads(&mut self, thread: &Thread) {
        if let Some(process) = self.processes.get(thread.process) {
            self.hosts[process.host].wall.reads += u64::from(thread.lent.wall_reads());
        }
    }

    /// The wall clock has been moved, and all clocks run faster by this than before: deadlines come at other moments.
    /// Answers whether any at a time of day did.
    fn clocks_were_set(&mut self, host: HostId, jumped: bool, ppm: i64) -> bool {
        self.clocks_move = true;
        let now = self.now;
        let left = |k: &Kernel, at: u64| k.hosts[host].beat.until(now, at);
        // Whether it is blocked or waits for its turn to find out why it was woken.
        let waiting: Vec<(ThreadId, u64)> = self
            .threads_of(host)
            .filter_map(|(id, thread)| Some((id, left(self, thread.progress.deadline?))))
            .collect();
        let timers = self.files.iter().filter_map(|(id, file)| match &file.kind {
            Kind::Timer(timer) if timer.is_running_on(host) => {
                Some((id, timer.expires().map(|at| left(self, at)), timer.wall_ns()))
            }
            _ => None,
        });
        let timers: Vec<_> = timers.collect();
        self.hosts[host].beat.hurry(ppm, now);
        let mut moved_any = false;
        for (id, left) in waiting {
            let wall_ns = self.threads[id].progress.wall_ns;
            let at = self.moved(host, left, wall_ns);
            let before = self.threads[id].progress.deadline.replace(at);
            moved_any |= wall_ns.is_some() && before != Some(at);
            if self.threads[id].timer.is_some() {
                let late = self.buggify.lateness_ns(&self.threads[id], at);
                let key = self.timers.schedule(at.saturating_add(late).max(now), Event::Deadline(id));
                if let Some(old) = self.threads[id].timer.replace(key) {
                    self.timers.cancel(old);
                }
            }
        }
        for (id, left, wall_ns) in timers {
            moved_any |= wall_ns.is_some();
            let at = left.map(|left| self.moved(host, left, wall_ns).max(now));
            self.timerfd_clock_was_set(id, jumped, at);
        }
        moved_any
    }

    /// What the caller's wall clock shows.
    pub(crate) fn wall_shows(&self, me: ThreadId) -> i64 {
        self.host_of(self.threads[me].process).wall.shows(self.now)
    }

    /// When something comes that is so far away by the host's clock, or at a time of day.
    fn moved(&self, host: HostId, left: u64, wall_ns: Option<i64>) -> u64 {
        match wall_ns {
            Some(wall_ns) => self.hosts[host].wall.when(wall_ns, self.now),
            None => self.hosts[host].beat.after(self.now, left),
        }
    }
}
