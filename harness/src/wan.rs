//! Distances between parts of the world, for tests of what is spread over it.

/// A part of the world, as cloud providers have them.
///
/// What a segment takes between two of them is half of the round trip that providers publish for their own backbones,
/// rounded; it differs by some milliseconds from one provider, and one year, to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Region {
    /// Virginia.
    UsEast,
    /// Oregon.
    UsWest,
    /// Frankfurt.
    Europe,
    /// Tokyo.
    Asia,
    /// Sydney.
    Australia,
    /// São Paulo.
    SouthAmerica,
}

/// Round trips in milliseconds, in the order of [`Region`]: within a region between its zones, then to the others.
const ROUND_TRIPS_MS: [[u64; 6]; 6] = [
    [1, 68, 92, 160, 200, 114],
    [68, 1, 142, 98, 140, 176],
    [92, 142, 1, 226, 252, 204],
    [160, 98, 226, 1, 106, 258],
    [200, 140, 252, 106, 1, 310],
    [114, 176, 204, 258, 310, 1],
];

impl Region {
    /// What a segment takes from here to there.
    ///
    /// ```
    /// use std::time::Duration;
    /// use windtunnel::wan::Region;
    ///
    /// assert_eq!(Region::UsEast.distance(Region::Europe), Duration::from_millis(46));
    /// ```
    #[must_use]
    pub fn distance(self, other: Self) -> std::time::Duration {
        std::time::Duration::from_micros(500 * ROUND_TRIPS_MS[self as usize][other as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_as_long() {
        for (from, row) in ROUND_TRIPS_MS.iter().enumerate() {
            for (to, ms) in row.iter().enumerate() {
                assert_eq!(*ms, ROUND_TRIPS_MS[to][from]);
            }
        }
    }
}
