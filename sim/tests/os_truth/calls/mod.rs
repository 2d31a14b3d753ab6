//! libc's calls as methods of a transcript: each makes the call and writes its line.

#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "SAFETY: every buffer passed is a local of the size that is passed"
)]
#![allow(dead_code, clippy::allow_attributes, reason = "a vocabulary: scripts use their part")]

pub mod address;
mod descriptors;
pub mod files;
pub mod netlink;
pub mod options;
pub mod readiness;
mod sockets;
mod watches;

pub use address::Addr;

/// Bytes as text where they are text.
pub fn bytes(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 40;
    let same = bytes.len() > SHOWN_MAX && bytes.iter().all(|b| *b == bytes[0]);
    if same {
        return format!(" [{}; {}]", bytes[0], bytes.len());
    }
    if bytes.len() > SHOWN_MAX {
        let sum = bytes.iter().fold(0x811c_9dc5u32, |sum, b| (sum ^ u32::from(*b)).wrapping_mul(0x0100_0193)); // FNV-1a
        return format!(" \"{}…\" ({} bytes, {sum:08x})", bytes[..12].escape_ascii(), bytes.len());
    }
    format!(" \"{}\"", bytes.escape_ascii())
}

/// A set of bits by their names, `|` between them, the unknown rest in hexadecimal.
fn bits(value: u32, names: &[(u32, &str)]) -> String {
    let mut rest = value;
    let mut known: Vec<String> = Vec::new();
    for (bit, name) in names {
        if rest & bit == *bit {
            known.push((*name).to_owned());
            rest &= !bit;
        }
    }
    if rest != 0 || known.is_empty() {
        known.push(format!("{rest:#x}"));
    }
    known.join("|")
}
