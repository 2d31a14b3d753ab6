//! How fast a host's clocks run: at the world's speed, unless a fault makes them drift.
//!
//! `CLOCK_MONOTONIC`, and with it every timeout that is a length of time, goes as fast as the host's crystal. A
//! deadline is kept as a moment of the world; when a crystal changes its speed, those of its host are moved
//! (`clocks.rs`).

const MILLION: i128 = 1_000_000;
/// All drifts of a host together: a tenth of the speed, or nearly twice as fast.
const PPM_MAX: i64 = 900_000;

/// A host's crystal, and what it has counted.
#[derive(Debug)]
pub(crate) struct Beat {
    /// What `CLOCK_MONOTONIC` added to virtual time at `since`.
    base_ns: i64,
    since: u64,
    /// How much too fast it runs.
    ppm: i64,
}

impl Beat {
    /// One that is right, on a machine that has been up for so long.
    pub(crate) fn right(uptime_ns: i64) -> Beat {
        Beat { base_ns: uptime_ns, since: 0, ppm: 0 }
    }

    /// What `CLOCK_MONOTONIC` adds to virtual time.
    #[inline]
    pub(crate) fn adds(&self, now: u64) -> i64 {
        if self.ppm == 0 {
            return self.base_ns;
        }
        let gone = i128::from(now) - i128::from(self.since);
        self.base_ns.saturating_add((gone * i128::from(self.ppm)).div_euclid(MILLION) as i64)
    }

    /// The moment of the world at which so many nanoseconds of the host's have passed.
    #[inline]
    pub(crate) fn after(&self, now: u64, ns: u64) -> u64 {
        if self.ppm == 0 {
            return now.saturating_add(ns);
        }
        // Rounded up: no timer is early.
        let speed = MILLION + i128::from(self.ppm);
        let world = (i128::from(ns) * MILLION + speed - 1) / speed;
        now.saturating_add(u64::try_from(world).unwrap_or(u64::MAX))
    }

    /// How many nanoseconds of the host's pass until a moment of the world.
    #[inline]
    pub(crate) fn until(&self, now: u64, at: u64) -> u64 {
        let world = at.saturating_sub(now);
        if self.ppm == 0 {
            return world;
        }
        u64::try_from(i128::from(world) * (MILLION + i128::from(self.ppm)) / MILLION).unwrap_or(u64::MAX)
    }

    /// As much of a drift as leaves it running, and forwards.
    pub(crate) fn bearable(&self, ppm: i64) -> i64 {
        ppm.clamp(-PPM_MAX - self.ppm, PPM_MAX - self.ppm)
    }

    /// Makes it run faster by so much, or slower.
    pub(crate) fn hurry(&mut self, ppm: i64, now: u64) {
        (self.base_ns, self.since) = (self.adds(now), now);
        self.ppm += ppm;
    }
}

#[cfg(test)]
mod tests {
    use super::Beat;

    #[test]
    fn a_fast_clock_gets_ahead_and_stays_so() {
        let mut beat = Beat::right(100);
        beat.hurry(500_000, 1000);
        assert_eq!((beat.adds(1000), beat.adds(3000)), (100, 1100));
        assert_eq!((beat.after(1000, 300), beat.until(1000, 1200)), (1200, 300));
        beat.hurry(-500_000, 3000);
        assert_eq!((beat.adds(9000), beat.after(3000, 7), beat.until(3000, 3007)), (1100, 3007, 7));
    }

    #[test]
    fn what_a_slow_clock_is_asked_for_is_never_early() {
        let mut beat = Beat::right(0);
        beat.hurry(-333_333, 0);
        for ns in [1, 2, 3, 1000, 123_457] {
            let at = beat.after(0, ns);
            assert!(at as i64 + beat.adds(at) >= ns as i64, "{ns}");
            assert!(((at - 1) as i64 + beat.adds(at - 1)) < ns as i64, "{ns}");
        }
    }
}
