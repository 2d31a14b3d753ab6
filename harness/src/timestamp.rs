//! Moments as RFC 3339 writes them, in UTC, for `start = "2027-03-28T00:59:00Z"`.

/// Nanoseconds since the Unix epoch.
pub type UnixNanoseconds = u64;

/// When worlds begin unless a test says otherwise: after every certificate and dependency of today was issued, so that
/// nothing looks as if it came from the future.
pub(crate) const DEFAULT_START: UnixNanoseconds = timestamp("2027-01-01T00:00:00Z");

/// For the attribute's option `start`: evaluated by the compiler, which reports the panic at the literal.
#[track_caller]
pub const fn timestamp(text: &str) -> UnixNanoseconds {
    match parse(text) {
        Some(nanoseconds) => nanoseconds,
        None => {
            panic!("not a moment: write it in UTC as RFC 3339 does, between 1970 and 2500: \"2027-03-28T00:59:00Z\"")
        }
    }
}

/// Parses `YYYY-MM-DDTHH:MM:SSZ`, without fractions, offsets or leap seconds.
const fn parse(text: &str) -> Option<UnixNanoseconds> {
    let bytes = text.as_bytes();
    if bytes.len() != 20 {
        return None;
    }
    let pattern = b"0000-00-00T00:00:00Z";
    let mut at = 0;
    while at < 20 {
        let fits = if pattern[at] == b'0' { bytes[at].is_ascii_digit() } else { bytes[at] == pattern[at] };
        if !fits {
            return None;
        }
        at += 1;
    }
    let (year, month, day) = (number(bytes, 0, 4), number(bytes, 5, 7), number(bytes, 8, 10));
    let (hour, minute, second) = (number(bytes, 11, 13), number(bytes, 14, 16), number(bytes, 17, 19));
    let valid_day = year >= 1970 && year < 2500 && month >= 1 && month <= 12 && day >= 1 && day <= days_in(year, month);
    if !valid_day || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1_000_000_000)
}

const fn number(bytes: &[u8], mut at: usize, end: usize) -> u64 {
    let mut number = 0;
    while at < end {
        number = number * 10 + (bytes[at] - b'0') as u64;
        at += 1;
    }
    number
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let mut days = day - 1;
    let mut y = 1970;
    while y < year {
        days += if is_leap(y) { 366 } else { 365 };
        y += 1;
    }
    let mut m = 1;
    while m < month {
        days += days_in(year, m);
        m += 1;
    }
    days
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_from_the_epoch() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        // `date -u -d 2027-03-28T00:59:00Z +%s`
        assert_eq!(parse("2027-03-28T00:59:00Z"), Some(1_806_195_540 * 1_000_000_000));
        assert_eq!(parse("2028-02-29T12:00:00Z"), Some(1_835_438_400 * 1_000_000_000));
    }

    #[test]
    fn moments_that_do_not_exist_are_refused() {
        for text in ["2027-02-29T00:00:00Z", "2027-13-01T00:00:00Z", "2027-01-01T24:00:00Z", "2027-01-01 00:00:00Z", ""]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
