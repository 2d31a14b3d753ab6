//! Files outside a world, read-only, and the files that describe a machine.

use super::dispatch::Kernel;
use super::file::{FileId, Kind};
use super::thread::ThreadId;
use super::{Step, Stop};
use crate::abi::user::Out;
use libc::EINVAL;

/// An open file that is not a host's own.
pub(crate) struct Outside {
    pub(crate) path: String,
    /// Its content.
    pub(crate) bytes: Vec<u8>,
    pub(crate) position: usize,
}

impl Outside {
    /// Frees what the real kernel holds for it.
    pub(crate) fn close(&mut self) {}

    /// Bytes from the position to the end.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.position)
    }

    /// The type bits of `st_mode`.
    pub(crate) fn file_type(&self) -> u32 {
        libc::S_IFREG
    }
}

impl Kernel {
    /// read(2) and pread(2) of an outside file.
    pub(crate) fn outside_read(&mut self, _me: ThreadId, id: FileId, out: &mut Out<'_>, offset: Option<u64>) -> Step {
        let Kind::Outside(outside) = &mut self.files[id].kind else { return Err(Stop::Errno(EINVAL)) };
        let from = offset.map_or(outside.position, |o| o as usize).min(outside.bytes.len());
        let count = out.len().min(outside.bytes.len() - from);
        let bytes = &outside.bytes[from..from + count];
        out.write_at(0, bytes);
        self.log.returned(bytes);
        if offset.is_none() {
            outside.position = from + count;
        }
        Ok(count as i64)
    }
}
