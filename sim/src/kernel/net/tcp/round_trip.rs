//! How long an answer takes, as a sender has measured it (RFC 6298; `tcp_rtt_estimator`, net/ipv4/tcp_input.c).

/// `TCP_RTO_MIN` (include/net/tcp.h): what is allowed for variation at least.
pub(super) const VARIATION_NS_MIN: u64 = 200_000_000;
/// `TCP_TIMEOUT_INIT`: the timeout before anything has been measured.
const UNMEASURED_NS: u64 = 1_000_000_000;
/// `TCP_TIMEOUT_MIN_US`: what a tail loss probe waits for beyond two round trips.
const TAIL_PROBE_NS_MIN: u64 = 2_000_000;

/// The estimate of one end.
///
/// Every acknowledgement of something new is a sample, that of a retransmitted segment too: Linux's timestamps (RFC
/// 7323) say which transmission is answered, so Karn's rule is not needed. What earlier connections to the peer have
/// measured (`ip tcp_metrics`) is not taken over.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct RoundTrip {
    /// `srtt_us`; zero before the first sample.
    smoothed_ns: u64,
    /// `mdev_us`: four times the mean deviation.
    deviation_ns: u64,
    /// `mdev_max_us`: the largest one within a round trip.
    deviation_ns_max: u64,
    /// `rttvar_us`: the one that timeouts go by.
    variation_ns: u64,
    /// `tcp_min_rtt`, over the connection's whole life where Linux forgets after five minutes.
    shortest_ns: u64,
    /// `rtt_seq`: once this position is acknowledged a round trip is over.
    round_until: u64,
}

impl RoundTrip {
    /// Takes a sample, when `acknowledged` of the `sent` positions are.
    pub(super) fn sample(&mut self, ns: u64, acknowledged: u64, sent: u64) {
        let ns = ns.max(1);
        if self.smoothed_ns == 0 {
            self.smoothed_ns = ns;
            self.shortest_ns = ns;
            self.deviation_ns = 2 * ns;
            self.variation_ns = self.deviation_ns.max(VARIATION_NS_MIN);
            self.deviation_ns_max = self.variation_ns;
            self.round_until = sent;
            return;
        }
        self.shortest_ns = self.shortest_ns.min(ns);
        let off = ns.abs_diff(self.smoothed_ns);
        if ns >= self.smoothed_ns {
            self.smoothed_ns += off / 8;
            self.deviation_ns = self.deviation_ns - self.deviation_ns / 4 + off;
        } else {
            self.smoothed_ns = (self.smoothed_ns - off.div_ceil(8)).max(1);
            let more = off.saturating_sub(self.deviation_ns / 4);
            // A round trip that gets shorter must not make the timeout longer: it counts for an eighth.
            self.deviation_ns = if more > 0 { self.deviation_ns + more / 8 } else { self.deviation_ns * 3 / 4 + off };
        }
        if self.deviation_ns > self.deviation_ns_max {
            self.deviation_ns_max = self.deviation_ns;
            self.variation_ns = self.variation_ns.max(self.deviation_ns);
        }
        if acknowledged > self.round_until {
            self.variation_ns -= self.variation_ns.saturating_sub(self.deviation_ns_max) / 4;
            self.deviation_ns_max = VARIATION_NS_MIN;
            self.round_until = sent;
        }
    }

    /// The retransmission timeout, without backoff: `__tcp_set_rto`, include/net/tcp.h.
    pub(crate) fn timeout_ns(&self) -> u64 {
        if self.smoothed_ns == 0 { UNMEASURED_NS } else { self.smoothed_ns + self.variation_ns }
    }

    /// How long after the last segment a tail loss probe is sent: `tcp_schedule_loss_probe`, net/ipv4/tcp_output.c. A
    /// single segment may wait for its acknowledgement to be delayed.
    pub(super) fn tail_probe_ns(&self, single: bool) -> u64 {
        match self.smoothed_ns {
            0 => UNMEASURED_NS,
            smoothed => 2 * smoothed + if single { VARIATION_NS_MIN } else { TAIL_PROBE_NS_MIN },
        }
    }

    /// The mean; zero before the first sample.
    pub(crate) fn smoothed_ns(&self) -> u64 {
        self.smoothed_ns
    }

    /// The mean deviation.
    pub(crate) fn deviation_ns(&self) -> u64 {
        self.deviation_ns / 4
    }

    /// The shortest; zero before the first sample.
    pub(super) fn shortest_ns(&self) -> u64 {
        self.shortest_ns
    }
}

#[cfg(test)]
mod tests {
    use super::RoundTrip;

    const MS: u64 = 1_000_000;

    fn after(samples_ms: &[u64]) -> RoundTrip {
        let mut round_trip = RoundTrip::default();
        for (at, sample) in samples_ms.iter().enumerate() {
            round_trip.sample(sample * MS, at as u64 + 1, at as u64 + 1);
        }
        round_trip
    }

    #[test]
    fn nothing_measured_is_a_second() {
        assert_eq!(after(&[]).timeout_ns(), 1000 * MS);
        assert_eq!(after(&[]).tail_probe_ns(true), 1000 * MS);
    }

    #[test]
    fn the_first_sample_is_taken_three_times() {
        assert_eq!(after(&[1]).timeout_ns(), 201 * MS);
        assert_eq!(after(&[200]).timeout_ns(), 600 * MS);
    }

    #[test]
    fn an_even_round_trip_makes_the_timeout_approach_its_least() {
        let long = after(&[200; 100]).timeout_ns();
        assert!((400 * MS..405 * MS).contains(&long), "{long}");
    }

    /// What a kernel 6.18 said in `TCP_INFO` when answers that took 1 ms took 10,002 ms, once: 11,252 ms.
    #[test]
    fn a_sudden_delay_is_an_eighth_of_the_mean_and_all_of_the_variation() {
        let late = after(&[1, 1, 1, 1, 1, 10_002]);
        assert!(late.smoothed_ns().abs_diff(1251 * MS) < MS, "{late:?}");
        assert!(late.timeout_ns().abs_diff(11_252 * MS) < 2 * MS, "{late:?}");
    }

    #[test]
    fn a_round_trip_that_gets_shorter_does_not_lengthen_the_timeout() {
        let mut round_trip = after(&[500; 50]);
        let before = round_trip.timeout_ns();
        round_trip.sample(MS, 51, 51);
        assert!(round_trip.timeout_ns() <= before, "{round_trip:?}");
    }
}
