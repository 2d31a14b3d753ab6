//! Which build this is: a seed stands for the same case only in the same executable.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The running executable, even when its file has been replaced since.
const EXECUTABLE: &str = "/proc/self/exe";

/// What names the running executable: equal for equal files, wherever they lie.
///
/// The linker's build id, which is a hash of what it wrote: 0.2 ms. Where there is none (`--build-id=none`, and linkers
/// that make none unless told to), a hash of the whole file: measured, 370 ms for a test binary of 69 MB when xxh3 is
/// built without optimisation, of which reading takes 35 ms. That is too much for every replay of a case of 5 ms.
pub(crate) fn build_identity() -> io::Result<u64> {
    let file = File::open(EXECUTABLE)?;
    match build_id(&file)? {
        Some(id) => Ok(xxh3_64(&id)),
        None => content_hash(&file),
    }
}

fn content_hash(mut file: &File) -> io::Result<u64> {
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.digest()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

const PROGRAM_HEADER_BYTES: usize = 56;
/// Notes are a few hundred bytes; a longer segment is not one of the linker's.
const NOTES_BYTES_MAX: u64 = 1 << 16;
/// `NT_GNU_BUILD_ID` of elf.h.
const BUILD_ID: u32 = 3;

/// The GNU build id of a 64-bit little-endian ELF file (elf(5)).
fn build_id(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 64];
    if file.read_exact_at(&mut header, 0).is_err() || header[..6] != *b"\x7fELF\x02\x01" {
        return Ok(None);
    }
    let (table, count) = (number(&header, 32, 8), number(&header, 56, 2));
    let mut headers = vec![0; count as usize * PROGRAM_HEADER_BYTES];
    file.read_exact_at(&mut headers, table)?;
    for segment in headers.chunks_exact(PROGRAM_HEADER_BYTES) {
        let (offset, length) = (number(segment, 8, 8), number(segment, 32, 8));
        if number(segment, 0, 4) == u64::from(libc::PT_NOTE) && length <= NOTES_BYTES_MAX {
            let mut notes = vec![0; length as usize];
            file.read_exact_at(&mut notes, offset)?;
            if let Some(id) = find_build_id(&notes) {
                return Ok(Some(id.to_vec()));
            }
        }
    }
    Ok(None)
}

/// Notes: length of the name, length of the description, type, and the two texts, each padded to four bytes.
fn find_build_id(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let (head, rest) = notes.split_at_checked(12)?;
        let (name, description) = (number(head, 0, 4) as usize, number(head, 4, 4) as usize);
        let (name, rest) = rest.split_at_checked(name.next_multiple_of(4))?;
        if name == b"GNU\0" && number(head, 8, 4) == u64::from(BUILD_ID) {
            return rest.get(..description);
        }
        notes = rest.get(description.next_multiple_of(4)..)?;
    }
}

fn number(bytes: &[u8], offset: usize, length: usize) -> u64 {
    bytes[offset..offset + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_has_one_identity() {
        let identity = build_identity().expect("the test's executable can be read");
        assert_eq!(build_identity().expect("as before"), identity);
        let file = File::open(EXECUTABLE).expect("as before");
        assert_ne!(content_hash(&file).expect("as before"), 0);
    }

    #[test]
    fn a_build_id_is_found_among_other_notes() {
        let note = |kind: u8, description: &[u8]| {
            let head = [4, 0, 0, 0, description.len() as u8, 0, 0, 0, kind, 0, 0, 0, b'G', b'N', b'U', 0];
            [&head[..], description, &vec![0; description.len().next_multiple_of(4) - description.len()]].concat()
        };
        let notes = [note(1, &[9; 16]), note(3, &[7; 18])].concat();
        assert_eq!(find_build_id(&notes), Some(&[7; 18][..]));
        assert_eq!(find_build_id(&notes[..40]), None);
        assert_eq!(find_build_id(&[]), None);
    }

    #[test]
    fn a_file_that_is_no_executable_is_known_by_its_content() {
        let directory = tempfile::tempdir().expect("the system's directory for temporary files is writable");
        let path = directory.path().join("program");
        std::fs::write(&path, b"#!/bin/sh\n").expect("it is a directory of ours");
        let file = File::open(&path).expect("it was written");
        assert_eq!(build_id(&file).expect("it can be read"), None);
        assert_eq!(content_hash(&file).expect("it can be read"), xxh3_64(b"#!/bin/sh\n"));
    }
}
