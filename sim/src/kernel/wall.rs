//! Wall clocks that are wrong: stepped, slewed at 500 ppm, or drifting, and put right again.
//!
//! What a host's `CLOCK_REALTIME` shows is virtual time plus the world's beginning plus its *shifts*, one for each
//! fault.

/// adjtime(3): half a millisecond per second.
const SLEW_PPM: i128 = 500;
const MILLION: i128 = 1_000_000;
/// 0.9 to this power is less than a nanosecond in the age of the universe.
const ROUNDS_MAX: usize = 512;
/// How early rounding may leave a moment.
const EARLY_NS_MAX: usize = 32;

/// How a clock comes to be off, or right again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Motion {
    /// At once: clock_settime(2).
    Step,
    /// Gradually: adjtime(3).
    Slew,
    /// Ever further, by so many parts in a million: what a crystal does that is wrong.
    Drift(i64),
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
        let passed = i128::from(now.saturating_sub(self.since));
        let gone = match self.motion {
            Motion::Step => way.abs(),
            Motion::Slew => passed * SLEW_PPM / MILLION,
            Motion::Drift(ppm) => {
                return self.from_ns.saturating_add((passed * i128::from(ppm)).div_euclid(MILLION) as i64);
            }
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
    pub(super) reads: u64,
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

    /// What it shows.
    pub(crate) fn shows(&self, now: u64) -> i64 {
        (now as i64).saturating_add(self.adds(now))
    }

    /// The first virtual moment at which it will show this, as it is moved now; or one that is over.
    pub(crate) fn when(&self, shows_ns: i64, now: u64) -> u64 {
        let at = |moment: u64| u64::try_from(shows_ns.saturating_sub(self.adds(moment))).unwrap_or(0);
        // Each round is closer by the factor that the clock is wrong by: at most 0.9 (`beat.rs`), mostly 0.0005.
        let (mut moment, mut last) = (at(now), now);
        for _ in 0..ROUNDS_MAX {
            if moment == last || moment <= now {
                break;
            }
            (last, moment) = (moment, at(moment));
        }
        // Rounding may have left it a little early, which no timer may be.
        let shown = |moment: u64| (moment as i64).saturating_add(self.adds(moment));
        (moment..).take(EARLY_NS_MAX).find(|moment| shown(*moment) >= shows_ns).unwrap_or(moment)
    }

    /// Moves it by so much, or makes it drift; names what can be taken back.
    pub(super) fn shift(&mut self, by_ns: i64, motion: Motion, now: u64) -> u64 {
        self.shifts_ever += 1;
        let number = self.shifts_ever;
        self.shifts.push(Shift { number, from_ns: 0, to_ns: by_ns, since: now, motion });
        number
    }

    /// Takes a shift back.
    pub(super) fn unshift(&mut self, number: u64, motion: Motion, now: u64) {
        let is_over =
            |shift: &Shift| shift.to_ns == 0 && shift.adds(now) == 0 && !matches!(shift.motion, Motion::Drift(_));
        self.shifts.retain(|shift| !is_over(shift));
        if let Some(shift) = self.shifts.iter_mut().find(|shift| shift.number == number) {
            *shift = Shift { from_ns: shift.adds(now), to_ns: 0, since: now, motion, ..*shift };
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
        wall.unshift(shift, Motion::Step, 9);
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
        wall.unshift(shift, Motion::Slew, 1000 * SECOND);
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
    fn a_drift_grows_and_is_taken_back_as_asked() {
        let mut wall = Wall::right(0);
        let drift = wall.shift(0, Motion::Drift(-200_000), 100);
        assert_eq!((wall.adds(100), wall.adds(1100)), (0, -200));
        let moment = wall.when(900, 100);
        assert_eq!(moment as i64 + wall.adds(moment), 900);
        wall.unshift(drift, Motion::Step, 1100);
        assert_eq!(wall.adds(1100), 0);
    }

    #[test]
    fn shifts_add_up_and_go_one_by_one() {
        let mut wall = Wall::right(0);
        let one = wall.shift(10, Motion::Step, 0);
        let other = wall.shift(-3, Motion::Step, 1);
        assert_eq!(wall.adds(2), 7);
        wall.unshift(one, Motion::Step, 3);
        assert_eq!(wall.adds(3), -3);
        wall.unshift(other, Motion::Step, 4);
        assert_eq!(wall.adds(4), 0);
    }
}
