//! Clocks that are wrong: stepped, slewed at 500 ppm, or drifting, and put right again.
//!
//! The same rules as the simulated kernel's (`sim/src/kernel/wall.rs`, `beat.rs`), with the genuine `CLOCK_MONOTONIC`
//! in the place of virtual time. Whoever reads a clock is not given the rules but what follows from them: a [`Curve`],
//! which says for every moment what is added.

/// adjtime(3): half a millisecond per second.
const SLEW_PPM: i64 = 500;
const MILLION: i64 = 1_000_000;
/// All drifts together: a tenth of the speed, or nearly twice as fast.
const DRIFT_PPM_MAX: i64 = 900_000;
/// Lines of a curve. Each shift that is slewed makes one more; a plan has a handful of faults.
pub(super) const LINES_MAX: usize = 16;

/// How a clock comes to be off, or right again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Motion {
    /// At once: clock_settime(2).
    Step,
    /// Gradually: adjtime(3).
    Slew,
    /// Ever further, by so many parts in a million.
    Drift(i64),
}

/// What is added from a moment on, until the next line begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Line {
    /// Genuine `CLOCK_MONOTONIC`.
    pub(super) since_ns: i64,
    /// Added at that moment.
    pub(super) adds_ns: i64,
    /// How much more is added as time passes.
    pub(super) ppm: i64,
}

impl Line {
    fn adds(&self, now_ns: i64) -> i64 {
        let passed = i128::from(now_ns.saturating_sub(self.since_ns).max(0));
        self.adds_ns.saturating_add((passed * i128::from(self.ppm)).div_euclid(i128::from(MILLION)) as i64)
    }
}

/// What is added to a clock, in the order of time. Without lines it is right.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Curve {
    pub(super) lines: Vec<Line>,
}

impl Curve {
    /// The line that holds at this moment.
    fn at(&self, now_ns: i64) -> Option<&Line> {
        self.lines.iter().rfind(|line| line.since_ns <= now_ns).or(self.lines.first())
    }

    /// What is added at this moment.
    pub(super) fn adds(&self, now_ns: i64) -> i64 {
        self.at(now_ns).map_or(0, |line| line.adds(now_ns))
    }

    /// Whether nothing is added from this moment on.
    pub(super) fn is_right_from(&self, now_ns: i64) -> bool {
        let is_right = |line: &Line| line.adds_ns == 0 && line.ppm == 0;
        self.at(now_ns).is_none_or(is_right) && self.lines.iter().all(|line| line.since_ns <= now_ns || is_right(line))
    }

    /// Goes on differently from a moment on. Of what has been, only what held last is kept, for those who have read
    /// their clock before that moment and look here afterwards.
    fn go_on(&mut self, from_ns: i64, next: Vec<Line>) {
        let holds = self.lines.iter().rposition(|line| line.since_ns < from_ns).unwrap_or(0);
        let mut lines: Vec<Line> =
            self.lines.drain(..).skip(holds).take_while(|line| line.since_ns < from_ns).collect();
        if lines.is_empty() {
            lines.push(Line::default());
        }
        lines.extend(next);
        // A line that says what the one before it says is none.
        lines.dedup_by(|line, before| line.ppm == before.ppm && line.adds_ns == before.adds(line.since_ns));
        self.lines = lines;
    }
}

/// What one fault adds to the wall clock.
#[derive(Clone, Copy, Debug)]
struct Shift {
    number: u64,
    /// What it added when it was moved last.
    from_ns: i64,
    to_ns: i64,
    since_ns: i64,
    motion: Motion,
}

impl Shift {
    /// What it adds.
    fn adds(&self, now_ns: i64) -> i64 {
        let way = i128::from(self.to_ns) - i128::from(self.from_ns);
        let passed = i128::from(now_ns.saturating_sub(self.since_ns).max(0));
        let gone = match self.motion {
            Motion::Step => way.abs(),
            Motion::Slew => passed * i128::from(SLEW_PPM) / i128::from(MILLION),
            Motion::Drift(ppm) => {
                let drifted = (passed * i128::from(ppm)).div_euclid(i128::from(MILLION));
                return self.from_ns.saturating_add(drifted as i64);
            }
        };
        self.from_ns + (gone.min(way.abs()) * way.signum()) as i64
    }

    /// When it has arrived, if it is on its way.
    fn arrives_ns(&self, now_ns: i64) -> Option<i64> {
        if self.motion != Motion::Slew {
            return None;
        }
        let way = i128::from(self.to_ns) - i128::from(self.from_ns);
        let lasts = way.abs() * i128::from(MILLION) / i128::from(SLEW_PPM);
        let arrives = i64::try_from(i128::from(self.since_ns) + lasts).unwrap_or(i64::MAX);
        (arrives > now_ns).then_some(arrives)
    }

    /// How much faster the clock runs for it.
    fn ppm(&self, now_ns: i64) -> i64 {
        match self.motion {
            Motion::Drift(ppm) => ppm,
            Motion::Slew if self.arrives_ns(now_ns).is_some() => SLEW_PPM * (self.to_ns - self.from_ns).signum(),
            Motion::Step | Motion::Slew => 0,
        }
    }
}

/// Pieces of a change. It is told for microseconds, until it is known since when it holds; only whoever is preempted
/// meanwhile makes it matter how it goes on.
pub(super) const PIECES_MAX: usize = 4;

/// What a change does from the moment on at which it takes effect, whichever that is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Change {
    /// Added to the wall clock at once.
    pub(super) jump_ns: i64,
    /// How fast `CLOCK_MONOTONIC` runs afterwards, which never jumps.
    pub(super) monotonic_ppm: i64,
    /// How fast the wall clock runs afterwards.
    pub(super) wall: Vec<Piece>,
}

/// From so long after a change on, a clock runs so much faster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) after_ns: i64,
    pub(super) ppm: i64,
}

/// The clocks of a host or a process. Nothing here reads a clock: every moment is given.
#[derive(Debug, Default, Clone)]
pub(super) struct Clocks {
    shifts: Vec<Shift>,
    shifts_ever: u64,
    drift_ppm: i64,
    /// What is added to `CLOCK_REALTIME`.
    pub(super) wall: Curve,
    /// What is added to `CLOCK_MONOTONIC`.
    pub(super) monotonic: Curve,
}

impl Clocks {
    /// Moves the wall clock from a moment on; names what can be taken back.
    pub(super) fn skew(&mut self, by_ns: i64, motion: Motion, from_ns: i64) -> u64 {
        self.shifts_ever += 1;
        let number = self.shifts_ever;
        self.shifts.push(Shift { number, from_ns: 0, to_ns: by_ns, since_ns: from_ns, motion });
        self.redraw_wall(from_ns);
        number
    }

    /// Puts the wall clock right again, as far as it was moved by this.
    pub(super) fn right(&mut self, number: u64, motion: Motion, from_ns: i64) {
        if let Some(shift) = self.shifts.iter_mut().find(|shift| shift.number == number) {
            *shift = Shift { from_ns: shift.adds(from_ns), to_ns: 0, since_ns: from_ns, motion, ..*shift };
        }
        self.redraw_wall(from_ns);
        let is_over =
            |shift: &Shift| shift.to_ns == 0 && shift.adds(from_ns) == 0 && !matches!(shift.motion, Motion::Drift(_));
        self.shifts.retain(|shift| !is_over(shift));
    }

    /// Makes all clocks run faster by so much, or slower; answers the wall clock's shift and by how much it is. Drifts
    /// that add up stop no clock.
    pub(super) fn drift(&mut self, ppm: i64, from_ns: i64) -> (u64, i64) {
        let ppm = ppm.clamp(-DRIFT_PPM_MAX - self.drift_ppm, DRIFT_PPM_MAX - self.drift_ppm);
        self.hurry(ppm, from_ns);
        (self.skew(0, Motion::Drift(ppm), from_ns), ppm)
    }

    /// Ends a drift. What `CLOCK_MONOTONIC` has counted stays; the wall clock is put right.
    pub(super) fn steady(&mut self, number: u64, ppm: i64, motion: Motion, from_ns: i64) {
        self.hurry(-ppm, from_ns);
        self.right(number, motion, from_ns);
    }

    /// What it takes to come from here to `next` at this moment.
    pub(super) fn change_to(&self, next: &Clocks, from_ns: i64) -> Change {
        let ppm = |curve: &Curve| curve.at(from_ns).map_or(0, |line| line.ppm);
        let now = Piece { after_ns: 0, ppm: ppm(&next.wall) };
        let later = next.wall.lines.iter().filter(|line| line.since_ns > from_ns);
        let later = later.map(|line| Piece { after_ns: line.since_ns - from_ns, ppm: line.ppm });
        Change {
            jump_ns: next.wall.adds(from_ns).saturating_sub(self.wall.adds(from_ns)),
            monotonic_ppm: ppm(&next.monotonic),
            wall: std::iter::once(now).chain(later).take(PIECES_MAX).collect(),
        }
    }

    /// Whether both curves have room for one more change.
    pub(super) fn has_room(&self) -> bool {
        // A change adds a line, and a slew one more; besides, a line of what has been is kept.
        let slewed = self.shifts.iter().filter(|shift| shift.motion == Motion::Slew).count();
        slewed + 4 <= LINES_MAX && self.monotonic.lines.len() + 2 <= LINES_MAX
    }

    fn hurry(&mut self, ppm: i64, from_ns: i64) {
        self.drift_ppm += ppm;
        let adds_ns = self.monotonic.adds(from_ns);
        self.monotonic.go_on(from_ns, vec![Line { since_ns: from_ns, adds_ns, ppm: self.drift_ppm }]);
    }

    fn redraw_wall(&mut self, from_ns: i64) {
        let mut turns: Vec<i64> = self.shifts.iter().filter_map(|shift| shift.arrives_ns(from_ns)).collect();
        turns.push(from_ns);
        turns.sort_unstable();
        turns.dedup();
        let adds = |at| self.shifts.iter().fold(0_i64, |sum, shift| sum.saturating_add(shift.adds(at)));
        let ppm = |at| self.shifts.iter().map(|shift| shift.ppm(at)).sum();
        let lines = turns.into_iter().map(|at| Line { since_ns: at, adds_ns: adds(at), ppm: ppm(at) }).collect();
        self.wall.go_on(from_ns, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::{Clocks, Line, Motion};

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_step_is_there_at_once_and_gone_at_once() {
        let mut clocks = Clocks::default();
        let shift = clocks.skew(-30, Motion::Step, 5);
        assert_eq!((clocks.wall.adds(4), clocks.wall.adds(5), clocks.wall.adds(900)), (0, -30, -30));
        clocks.right(shift, Motion::Step, 9);
        assert_eq!((clocks.wall.adds(8), clocks.wall.adds(9)), (-30, 0));
        assert!(clocks.wall.is_right_from(9) && !clocks.wall.is_right_from(8));
    }

    #[test]
    fn a_slew_takes_two_thousand_times_its_size_and_is_put_right_from_where_it_has_come_to() {
        let mut clocks = Clocks::default();
        let shift = clocks.skew(SECOND, Motion::Slew, 0);
        let adds = |clocks: &Clocks, seconds: i64| clocks.wall.adds(seconds * SECOND);
        assert_eq!((adds(&clocks, 1000), adds(&clocks, 2000), adds(&clocks, 9000)), (SECOND / 2, SECOND, SECOND));
        clocks.right(shift, Motion::Slew, 1000 * SECOND);
        assert_eq!((adds(&clocks, 1000), adds(&clocks, 1500), adds(&clocks, 2000)), (SECOND / 2, SECOND / 4, 0));
        assert!(!clocks.wall.is_right_from(1999 * SECOND) && clocks.wall.is_right_from(2000 * SECOND));
    }

    #[test]
    fn shifts_add_up_and_go_one_by_one() {
        let mut clocks = Clocks::default();
        let one = clocks.skew(10, Motion::Step, 1);
        let other = clocks.skew(-3, Motion::Step, 2);
        assert_eq!(clocks.wall.adds(2), 7);
        clocks.right(one, Motion::Step, 3);
        assert_eq!(clocks.wall.adds(3), -3);
        clocks.right(other, Motion::Step, 4);
        assert_eq!(clocks.wall.adds(4), 0);
    }

    #[test]
    fn a_drift_stays_in_the_monotonic_clock_and_is_taken_out_of_the_other() {
        let mut clocks = Clocks::default();
        let (shift, ppm) = clocks.drift(200_000, 100);
        assert_eq!((clocks.monotonic.adds(99), clocks.monotonic.adds(1100), clocks.wall.adds(1100)), (0, 200, 200));
        clocks.steady(shift, ppm, Motion::Step, 1100);
        assert_eq!((clocks.monotonic.adds(5000), clocks.wall.adds(1099), clocks.wall.adds(1100)), (200, 199, 0));
    }

    #[test]
    fn drifts_that_add_up_stop_no_clock() {
        let mut clocks = Clocks::default();
        assert_eq!(clocks.drift(-500_000, 1).1, -500_000);
        assert_eq!(clocks.drift(-500_000, 2).1, -400_000);
    }

    #[test]
    fn of_what_has_been_only_what_still_holds_is_kept() {
        let mut clocks = Clocks::default();
        for at in 1..100 {
            let shift = clocks.skew(at, Motion::Step, 10 * at + 1);
            clocks.right(shift, Motion::Step, 10 * at + 6);
        }
        assert_eq!(clocks.wall.lines.last(), Some(&Line { since_ns: 996, adds_ns: 0, ppm: 0 }));
        assert!(clocks.wall.lines.len() <= 3, "{:?}", clocks.wall.lines);
    }
}
