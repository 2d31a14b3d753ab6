//! `CHAOS_SEED`: one seed, a range of seeds, or the calm rehearsal of a seed.

/// `CHAOS_SEED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeedSetting {
    /// One seed; `calm:` before it names the rehearsal instead of the case.
    One {
        /// The seed.
        seed: u64,
        /// Good weather.
        calm: bool,
    },
    /// These seeds, both included.
    Range {
        /// The first.
        first: u64,
        /// The last, at least the first.
        last: u64,
    },
}

impl SeedSetting {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(seed) = text.strip_prefix("calm:") {
            return Ok(Self::One { seed: number(seed)?, calm: true });
        }
        let Some((first, last)) = text.split_once('-') else {
            return Ok(Self::One { seed: number(text)?, calm: false });
        };
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err("the range ends before it begins".to_owned());
        }
        if last - first >= u64::from(u32::MAX) {
            return Err("the range is longer than 4,294,967,295 cases".to_owned());
        }
        Ok(Self::Range { first, last })
    }
}

fn number(text: &str) -> Result<u64, String> {
    let digits = text.trim().replace('_', "");
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => digits.parse(),
    };
    number.map_err(|_| "it takes a number below 2^64 such as 0x5f1d or 24349, or a range such as 1-1000".to_owned())
}

/// A seed as `CHAOS_SEED` takes it.
pub(crate) fn seed_text(seed: u64, calm: bool) -> String {
    if calm { format!("calm:{seed:#x}") } else { format!("{seed:#x}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_in_either_base() {
        assert_eq!(SeedSetting::parse("24349"), Ok(SeedSetting::One { seed: 24349, calm: false }));
        assert_eq!(SeedSetting::parse("0x5f1d_0a2c"), Ok(SeedSetting::One { seed: 0x5f1d_0a2c, calm: false }));
        assert_eq!(SeedSetting::parse("1-1000"), Ok(SeedSetting::Range { first: 1, last: 1000 }));
        assert_eq!(SeedSetting::parse("0xffffffffffffffff"), Ok(SeedSetting::One { seed: u64::MAX, calm: false }));
    }

    #[test]
    fn what_is_printed_can_be_read() {
        for (seed, calm) in [(0, false), (u64::MAX, true), (0x5f1d, false)] {
            assert_eq!(SeedSetting::parse(&seed_text(seed, calm)), Ok(SeedSetting::One { seed, calm }));
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for text in
            ["", "-1", "1-", "9-1", "0x", "five", "0x1ffffffffffffffff", "0-0xffffffffffffffff", "calm:", "calm:1-2"]
        {
            assert!(SeedSetting::parse(text).is_err(), "{text}");
        }
    }
}
