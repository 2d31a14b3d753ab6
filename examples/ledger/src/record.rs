//! Records: how an entry lies in a file.
//!
//! ```text
//! length of the body: u32 | checksum: u32 | length of the key: u16 | key | value
//! ```
//!
//! Numbers are little-endian. The checksum is of the length and the body. That of the length matters: what a crash
//! leaves of a file that grew may be zeros, and the CRC of an empty body is zero, so that zeros would pass for records
//! without end.

use thiserror::Error;

/// Before the body.
const HEADER_BYTES: usize = 8;

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Whether what is read back is compared with its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksums {
    Compared,
    /// Lengths are believed.
    Ignored,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Damage {
    /// The file ends before the record does.
    #[error("it is cut off")]
    CutOff,
    /// Something else was written than what is there.
    #[error("its checksum is another one")]
    Checksum,
    /// It is none of ours.
    #[error("it is no record")]
    Malformed,
}

/// A key or value that is too long for a record.
#[derive(Debug, Error)]
#[error("a key has at most {} bytes, a value at most {VALUE_BYTES_MAX}", u16::MAX)]
pub(crate) struct TooLong;

/// Far more than a line of the protocol should have.
const VALUE_BYTES_MAX: usize = 16 << 20;

impl Record {
    /// As it lies in a file.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, TooLong> {
        let key_length = u16::try_from(self.key.len()).map_err(|_| TooLong)?;
        if self.value.len() > VALUE_BYTES_MAX {
            return Err(TooLong);
        }
        let mut body = key_length.to_le_bytes().to_vec();
        body.extend_from_slice(self.key.as_bytes());
        body.extend_from_slice(self.value.as_bytes());
        let length = u32::try_from(body.len()).map_err(|_| TooLong)?.to_le_bytes();
        let mut record = length.to_vec();
        record.extend_from_slice(&checksum(length, &body).to_le_bytes());
        record.extend_from_slice(&body);
        Ok(record)
    }

    /// The record at the beginning of `bytes`, and how long it is.
    pub(crate) fn decode(bytes: &[u8], checksums: Checksums) -> Result<(Self, usize), Damage> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(Damage::CutOff)?;
        let (expected, rest) = rest.split_first_chunk::<4>().ok_or(Damage::CutOff)?;
        let body = rest.get(..u32::from_le_bytes(*length) as usize).ok_or(Damage::CutOff)?;
        if checksums == Checksums::Compared && checksum(*length, body) != u32::from_le_bytes(*expected) {
            return Err(Damage::Checksum);
        }
        let (key_length, rest) = body.split_first_chunk::<2>().ok_or(Damage::Malformed)?;
        let (key, value) = rest.split_at_checked(u16::from_le_bytes(*key_length).into()).ok_or(Damage::Malformed)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| Damage::Malformed);
        Ok((Self { key: text(key)?, value: text(value)? }, HEADER_BYTES + body.len()))
    }
}

fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record { key: "k".into(), value: "value".into() }
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let bytes = [record().encode().expect("short"), b"rest".to_vec()].concat();
        assert_eq!(Record::decode(&bytes, Checksums::Compared), Ok((record(), bytes.len() - 4)));
    }

    #[test]
    fn no_part_of_a_record_is_a_record() {
        let whole = record().encode().expect("short");
        for length in 0..whole.len() {
            assert_eq!(Record::decode(&whole[..length], Checksums::Compared), Err(Damage::CutOff));
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let whole = record().encode().expect("short");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(Record::decode(&changed, Checksums::Compared).is_err(), "byte {at}");
        }
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(Record::decode(&[0; 64], Checksums::Compared), Err(Damage::Checksum));
        assert_eq!(Record::decode(&[0; 64], Checksums::Ignored), Err(Damage::Malformed));
    }

    #[test]
    fn a_value_that_never_reached_the_disk_is_believed_without_checksums() {
        let mut whole = record().encode().expect("short");
        let length = whole.len();
        whole[length - 5..].fill(0);
        let believed = Record { value: "\0\0\0\0\0".into(), ..record() };
        assert_eq!(Record::decode(&whole, Checksums::Ignored), Ok((believed, length)));
        assert_eq!(Record::decode(&whole, Checksums::Compared), Err(Damage::Checksum));
    }
}
