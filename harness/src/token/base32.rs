//! Crockford's base32 in lower case: no letter looks like a digit, and a double click selects the whole text.
//!
//! <https://www.crockford.com/base32.html>, without padding, check symbol and hyphens. Nothing here knows of tokens.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A text that no bytes are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// This character, at this place counted from 0, is not in the alphabet.
    Character(usize, char),
    /// No whole number of bytes has this many characters, or ends like this.
    Length,
}

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut bits, mut held) = (0_u32, 0);
    for byte in bytes {
        // Five bits at a time go, so that at most twelve are held.
        bits = (bits << 8 | u32::from(*byte)) & 0xfff;
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(letter(bits >> held));
        }
    }
    if held > 0 {
        text.push(letter(bits << (5 - held)));
    }
    text
}

fn letter(bits: u32) -> char {
    char::from(ALPHABET[(bits & 31) as usize])
}

/// Reads what [`encode`] wrote, and what people make of it: capitals, `o` for zero, `i` and `l` for one.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, Malformed> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for (place, character) in text.chars().enumerate() {
        let value = value(character).ok_or(Malformed::Character(place, character))?;
        bits = (bits << 5 | value) & 0xfff;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    let left_over = bits & ((1 << held) - 1);
    if held < 5 && left_over == 0 { Ok(bytes) } else { Err(Malformed::Length) }
}

fn value(character: char) -> Option<u32> {
    let character = match character.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        character => character,
    };
    ALPHABET.iter().position(|letter| char::from(*letter) == character).map(|place| place as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_their_text() {
        for length in 0..40_u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(167).wrapping_add(length)).collect();
            assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }
        assert_eq!(encode(b"\x00\xff"), "03zg");
    }

    #[test]
    fn what_looks_alike_is_read_alike() {
        assert_eq!(decode("OIL0"), decode("0110"));
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!(decode("01u0"), Err(Malformed::Character(2, 'u')));
        assert_eq!(decode("01é0"), Err(Malformed::Character(2, 'é')));
        assert_eq!(decode("0"), Err(Malformed::Length));
        assert_eq!(decode("01zh"), Err(Malformed::Length), "bits beyond the last byte");
    }
}
