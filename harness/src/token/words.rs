//! The text of a plan in about half as many bytes: frequent words are one byte each.
//!
//! A general compressor has nothing to find in a text of 70 characters; words that are known beforehand have.

/// What the bytes from 0x80 stand for. Their order is part of version 1 of the token: words may be added at the end,
/// and none may be moved, changed or removed.
#[rustfmt::skip]
const WORDS: [&str; 124] = [
    // Between faults, and from a fault's words to its length.
    "s; ", "ms; ", "us; ", "; ", "s for ", "ms for ", "% for ", "} for ", " for ", " restart after ", " by kill",
    " by kill restart after ", "0ms", "00ms", ".5s", "0s ",
    // From a start to hosts, by kind.
    "s partition ", "ms partition ", " partition ", "s partition {", "ms partition {", " partition {",
    "s latency ", "ms latency ", " latency ", "s loss ", "ms loss ", " loss ",
    "s duplication ", "ms duplication ", " duplication ", "s reordering ", "ms reordering ", " reordering ",
    "s corruption ", "ms corruption ", " corruption ", "s bandwidth ", "ms bandwidth ", " bandwidth ",
    "s dns-hijack ", "ms dns-hijack ", " dns-hijack ", "s clock-skew ", "ms clock-skew ", " clock-skew ",
    "s clock-drift ", "ms clock-drift ", " clock-drift ", "s disk-full ", "ms disk-full ", " disk-full ",
    "s io-throttle ", "ms io-throttle ", " io-throttle ", "s inode-exhaustion ", "ms inode-exhaustion ",
    " inode-exhaustion ", "s cpu-burn ", "ms cpu-burn ", " cpu-burn ", "s memory-pressure ", "ms memory-pressure ",
    " memory-pressure ", "s task-leak ", "ms task-leak ", " task-leak ", "s crash ", "ms crash ", " crash ",
    "s pause ", "ms pause ", " pause ",
    // Hosts.
    "kv", "node", "server", "client", "db", "test", "replica", "host", "->kv", "<->kv", ",kv", "} | {", "} | {kv",
    " | ", "->", "<->", " bridged by ", "role:", "a minority of ", "a majority of ", "ring ",
    // Parameters.
    "ms jitter ", "s jitter ", "ms normal", "ms pareto", "% correlation ", "% by ", "KiB/s", "MiB/s", " queue ", "KiB",
    "MiB", "\" answers ", "servfail", "nxdomain", "nothing", " free ", " delay ", " tasks", " threads",
    " descriptors", " slewed", " severity ",
    // What came later.
    "s disk-errors ", "ms disk-errors ", " disk-errors ", "s bit-rot ", "ms bit-rot ", " bit-rot ", " reads ",
    " syncs ",
];

/// The next byte stands for itself.
const ITSELF: u8 = 0xff;
const FIRST_WORD: u8 = 0x80;

pub(super) fn shorten(text: &str) -> Vec<u8> {
    let mut short = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let fits = |(_, word): &(u8, &str)| rest.starts_with(word.as_bytes());
        let longest = (FIRST_WORD..).zip(WORDS).filter(fits).max_by_key(|(_, word)| word.len());
        match longest {
            Some((byte, word)) => {
                short.push(byte);
                rest = &rest[word.len()..];
                continue;
            }
            None if first < FIRST_WORD => short.push(first),
            None => short.extend([ITSELF, first]),
        }
        rest = behind;
    }
    short
}

/// The text again, unless the bytes are not of this list of words.
pub(super) fn lengthen(short: &[u8]) -> Option<String> {
    let mut text = Vec::new();
    let mut bytes = short.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            ITSELF => text.push(*bytes.next()?),
            FIRST_WORD.. => text.extend_from_slice(WORDS.get(usize::from(byte - FIRST_WORD))?.as_bytes()),
            _ => text.push(byte),
        }
    }
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    #[test]
    fn any_text_comes_back() {
        for text in ["", "1s crash kv1", "at mark \"größe \u{1f300}; \\\" # \u{1}\" + 5ms pause kv2 for 1s"] {
            assert_eq!(lengthen(&shorten(text)).as_deref(), Some(text));
        }
        let all = WORDS.concat();
        assert_eq!(lengthen(&shorten(&all)), Some(all));
    }

    #[test]
    fn unknown_words_are_no_text() {
        assert_eq!(lengthen(&[b'1', 0xfe]), None);
        assert_eq!(lengthen(&[ITSELF]), None);
        assert_eq!(lengthen(&[ITSELF, 0xc3]), None);
    }

    #[test]
    fn the_words_of_version_1_stay_as_they_are() {
        assert_eq!(
            xxh3_64(WORDS[..116].join("\n").as_bytes()),
            12_971_047_485_429_055_759,
            "tokens that were printed would change their meaning"
        );
        let mut sorted = WORDS;
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[0] != pair[1]), "a word is there twice");
    }
}
