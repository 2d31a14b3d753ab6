//! A regular file: what programs see, what is on the disk, and the changes between the two.
//!
//! A write changes the page cache; it is on the disk after fsync(2), after some 35 s by itself, or by chance. The file
//! keeps the changes since, in order, so that a crash can be asked what it left:
//!
//! - a **sector** shows one of the versions it had since it was last known to be on the disk, each for itself; most
//!   often pages were written back whole, and one was torn;
//! - the **size** is one it had since then. Where it grew over a sector that was not written, there are zeros;
//! - what was written after a truncation where that had cut off lies in other blocks, so it is gone if the truncation
//!   is. What the truncation left lies where it lay.
//!
//! Sources: POSIX fsync(); Linux Documentation/filesystems/ext4/journal.rst (`data=ordered` and `data=writeback`);
//! Documentation/admin-guide/sysctl/vm.rst (`dirty_expire_centisecs`); Pillai et al., "All File Systems Are Not Created
//! Equal", OSDI 2014, for what real file systems reorder.

#[cfg(test)]
mod tests;

use super::choices::Choices;
use super::content::{Content, PAGE_BYTES, Page, SECTOR_BYTES, SECTORS, pages_of, within};
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

/// What is older than this has been written back: `dirty_expire_centisecs` (30 s) and `dirty_writeback_centisecs`
/// (5 s).
pub(crate) const WRITEBACK_NS: u64 = 35_000_000_000;
/// Changes are looked through for what has been written back by itself whenever they have grown to twice the rest.
const LOOK_THROUGH_BYTES: usize = 4 << 20;

/// A change that is not known to be on the disk.
#[derive(Clone, Debug)]
enum Change {
    /// Bytes of the arena, at an offset.
    Write {
        offset: u64,
        bytes: Range<usize>,
        grows: bool,
    },
    /// Zeros.
    Clear {
        offset: u64,
        bytes: u64,
    },
    Resize(u64),
}

impl Change {
    /// Whether it changes the size.
    fn sizes(&self) -> bool {
        matches!(self, Change::Resize(_) | Change::Write { grows: true, .. })
    }

    /// The stretch whose bytes it changes.
    fn stretch(&self) -> Option<(u64, u64)> {
        match self {
            Change::Write { offset, bytes, .. } => Some((*offset, bytes.len() as u64)),
            Change::Clear { offset, bytes } => Some((*offset, *bytes)),
            Change::Resize(_) => None,
        }
    }

    /// What it does to the bytes below an offset, if anything.
    fn below(&self, end: u64) -> Option<Change> {
        let (offset, length) = self.stretch()?;
        if offset + length <= end {
            return Some(self.clone());
        }
        let left = end.saturating_sub(offset);
        match self {
            _ if left == 0 => None,
            Change::Write { bytes, .. } => {
                Some(Change::Write { offset, bytes: bytes.start..bytes.start + left as usize, grows: false })
            }
            Change::Clear { .. } => Some(Change::Clear { offset, bytes: left }),
            Change::Resize(_) => None,
        }
    }
}

/// A change, when it was made, and which of all the file's changes it is.
#[derive(Clone, Debug)]
struct Noted {
    at: u64,
    number: u64,
    change: Change,
}

/// A regular file.
#[derive(Clone, Default)]
pub(crate) struct Regular {
    current: Content,
    durable: Content,
    changes: Vec<Noted>,
    /// How many changes there have ever been.
    noted: u64,
    arena: Vec<u8>,
    look_through_at: usize,
    /// Pages that the disk failed to take: clean as far as the system knows, until they are written again.
    lost: BTreeSet<u64>,
}

impl Regular {
    /// A file that is on the disk as it is.
    pub(crate) fn durable(content: Content) -> Regular {
        Regular { durable: content.clone(), current: content, ..Regular::default() }
    }

    /// What programs see.
    pub(crate) fn content(&self) -> &Content {
        &self.current
    }

    /// Bytes that wait to be written back, each time they were written: what fsync(2) has to do.
    pub(crate) fn dirty_bytes(&self) -> u64 {
        let cleared = self.changes.iter().filter(|noted| matches!(noted.change, Change::Clear { .. }));
        self.arena.len() as u64 + cleared.count() as u64 * PAGE_BYTES as u64
    }

    /// write(2).
    pub(crate) fn write(&mut self, now: u64, offset: u64, bytes: &[u8]) {
        self.touch_lost(now, offset, bytes.len() as u64);
        let grows = offset + bytes.len() as u64 > self.current.bytes();
        self.current.write(offset, bytes);
        self.note_write(now, offset, bytes, grows);
        if self.arena.len() > self.look_through_at.max(LOOK_THROUGH_BYTES) {
            self.retire(now);
            self.look_through_at = 2 * self.arena.len();
        }
    }

    fn note(&mut self, at: u64, change: Change) {
        self.changes.push(Noted { at, number: self.noted, change });
        self.noted += 1;
    }

    fn note_write(&mut self, now: u64, offset: u64, bytes: &[u8], grows: bool) {
        let from = self.arena.len();
        self.arena.extend_from_slice(bytes);
        self.note(now, Change::Write { offset, bytes: from..self.arena.len(), grows });
    }

    /// A page that the disk has failed to take is written anew, whole, when any of it is written again.
    fn touch_lost(&mut self, now: u64, offset: u64, bytes: u64) {
        if self.lost.is_empty() {
            return;
        }
        for number in pages_of(offset, bytes) {
            if self.lost.remove(&number)
                && let Some(page) = self.current.page(number).cloned()
            {
                self.note_write(now, number * PAGE_BYTES as u64, &page[..], false);
            }
        }
    }

    /// ftruncate(2), and the growth of fallocate(2).
    pub(crate) fn resize(&mut self, now: u64, bytes: u64) {
        let changes = bytes != self.current.bytes();
        self.current.resize(bytes);
        if changes {
            self.note(now, Change::Resize(bytes));
        }
    }

    /// Makes a stretch read as zeros (fallocate(2), `FALLOC_FL_PUNCH_HOLE`).
    pub(crate) fn clear(&mut self, now: u64, offset: u64, bytes: u64) {
        self.touch_lost(now, offset, bytes);
        self.current.clear(offset, bytes);
        self.note(now, Change::Clear { offset, bytes });
    }

    /// Takes space for a stretch.
    pub(crate) fn take_pages(&mut self, offset: u64, bytes: u64) {
        self.current.take_pages(offset, bytes);
    }

    /// What an fsync(2) that begins now will write: the changes before this mark.
    pub(crate) fn mark(&self) -> u64 {
        self.noted
    }

    /// How many of the changes that wait are before a mark.
    fn before(&self, mark: u64) -> usize {
        self.changes.partition_point(|noted| noted.number < mark)
    }

    /// fsync(2) that succeeds: the changes before the mark are on the disk. What an earlier one has failed to write is
    /// not among them; nor is what was written while this one waited (mm/filemap.c, `file_write_and_wait_range`, writes
    /// the pages that are dirty when it looks).
    pub(crate) fn sync(&mut self, mark: u64) {
        let count = self.before(mark);
        if count < self.changes.len() {
            self.settle(count);
            return;
        }
        // Nothing is newer, so that what programs see is what was to be written.
        for Noted { change, .. } in std::mem::take(&mut self.changes) {
            match change {
                // What was cut off does not come back when the file grows again.
                Change::Resize(bytes) => self.durable.resize(bytes),
                // The rest of its pages may be what the disk has failed to take.
                Change::Clear { offset, bytes } => self.durable.clear(offset, bytes),
                Change::Write { offset, bytes, .. } => {
                    for number in pages_of(offset, bytes.len() as u64) {
                        self.durable.set_page(number, self.current.page(number).cloned());
                    }
                }
            }
        }
        self.durable.set_bytes(self.current.bytes());
        self.arena.clear();
    }

    /// fsync(2) that fails: Linux forgets that the pages were to be written (LWN, "PostgreSQL's fsync() surprise",
    /// 2018; mm/page-writeback.c clears the dirty bit before the write), so the next one succeeds, and they are still
    /// not on the disk. A page that was written again since the mark is dirty again, whole. Sizes and holes are in the
    /// journal, and stay to be written: blocks that were never written read as zeros, not as what was there before.
    pub(crate) fn fail_sync(&mut self, mark: u64) {
        let newer = self.changes.split_off(self.before(mark));
        let stretches = newer.iter().filter_map(|noted| noted.change.stretch());
        let dirty: BTreeSet<u64> = stretches.flat_map(|(offset, bytes)| pages_of(offset, bytes)).collect();
        for Noted { at, number, change } in std::mem::take(&mut self.changes) {
            let mut keep = |change| self.changes.push(Noted { at, number, change });
            match change {
                Change::Resize(_) | Change::Clear { .. } => keep(change),
                Change::Write { offset, bytes, grows } => {
                    let length = bytes.len() as u64;
                    if grows {
                        keep(Change::Resize(offset + length));
                    }
                    for page in pages_of(offset, length) {
                        if !dirty.contains(&page) {
                            self.lost.insert(page);
                            continue;
                        }
                        let part = within(page, offset, length);
                        let (from, count) = (page * PAGE_BYTES as u64 + part.start as u64, part.len());
                        let start = bytes.start + (from - offset) as usize;
                        keep(Change::Write { offset: from, bytes: start..start + count, grows: false });
                    }
                }
            }
        }
        self.changes.extend(newer);
        self.forget_bytes();
    }

    /// Whether its last sync has failed, and nobody has written to it since: the next has nothing to write that could.
    pub(crate) fn has_failed_to_sync(&self) -> bool {
        !self.lost.is_empty() && !self.changes.iter().any(|noted| matches!(noted.change, Change::Write { .. }))
    }

    /// Moves what has been written back by itself to the disk.
    fn retire(&mut self, now: u64) {
        self.settle(self.changes.partition_point(|noted| noted.at + WRITEBACK_NS <= now));
    }

    /// Moves the oldest changes to the disk, each as it was made.
    fn settle(&mut self, count: usize) {
        for Noted { change, .. } in self.changes.drain(..count) {
            match change {
                Change::Write { offset, bytes, grows } => {
                    let size = self.durable.bytes();
                    self.durable.write(offset, &self.arena[bytes]);
                    if !grows {
                        self.durable.set_bytes(size); // a page that is written whole reaches beyond the end
                    }
                }
                Change::Clear { offset, bytes } => self.durable.clear(offset, bytes),
                Change::Resize(bytes) => self.durable.resize(bytes),
            }
        }
        self.forget_bytes();
    }

    /// Lets go of the bytes before the first that a change needs.
    fn forget_bytes(&mut self) {
        let first = self.changes.iter().find_map(|noted| match &noted.change {
            Change::Write { bytes, .. } => Some(bytes.start),
            Change::Clear { .. } | Change::Resize(_) => None,
        });
        let used = first.unwrap_or(self.arena.len());
        self.arena.drain(..used);
        for noted in &mut self.changes {
            if let Change::Write { bytes, .. } = &mut noted.change {
                *bytes = bytes.start - used..bytes.end - used;
            }
        }
    }

    /// The disk loses power: programs will see what is on it, and of the changes what `choices` keep.
    pub(crate) fn crash(&mut self, now: u64, choices: &mut dyn Choices) {
        self.retire(now);
        let size_changes = self.changes.iter().filter(|noted| noted.change.sizes()).count();
        let sizes_kept = choices.prefix(0, size_changes);
        let kept = self.within_sizes(sizes_kept);
        let (mut content, sizes) = (self.durable.clone(), self.sizes(&kept, sizes_kept));
        for number in self.touched_pages(&kept, sizes) {
            let page = self.page_after(number, &kept, choices);
            content.set_page(number, page);
        }
        // Behind the end the last page is zeros, whatever was kept of it: writeback clears it (fs/buffer.c,
        // `block_write_full_folio`), and mmap(2) says so.
        content.set_bytes(content.bytes().max(sizes.next_multiple_of(PAGE_BYTES as u64)));
        content.resize(sizes);
        *self = Regular::durable(content);
    }

    /// The changes that may be kept when so many changes of size are: all but those where a truncation that is not had
    /// cut off.
    fn within_sizes(&self, sizes_kept: usize) -> Vec<Change> {
        let (mut size, mut seen, mut cut) = (self.durable.bytes(), 0, u64::MAX);
        let mut kept = Vec::new();
        for Noted { change, .. } in &self.changes {
            seen += usize::from(change.sizes());
            match change {
                Change::Resize(bytes) => {
                    if seen <= sizes_kept {
                        kept.push(change.clone());
                    } else if *bytes < size {
                        cut = cut.min(bytes - bytes % PAGE_BYTES as u64);
                    }
                    size = *bytes;
                }
                Change::Write { offset, bytes, grows } => {
                    // Bytes beyond a size that is not kept are cut off in the end.
                    kept.extend(change.below(cut));
                    if *grows {
                        size = size.max(offset + bytes.len() as u64);
                    }
                }
                Change::Clear { .. } => kept.extend(change.below(cut)),
            }
        }
        kept
    }

    /// The size after so many changes of it.
    fn sizes(&self, kept: &[Change], sizes_kept: usize) -> u64 {
        let changes = kept.iter().filter(|change| change.sizes()).take(sizes_kept);
        changes.fold(self.durable.bytes(), |size, change| match change {
            Change::Resize(bytes) => *bytes,
            Change::Write { offset, bytes, .. } => size.max(offset + bytes.len() as u64),
            Change::Clear { .. } => size,
        })
    }

    /// Pages below the size that any of the changes touches.
    fn touched_pages(&self, kept: &[Change], size: u64) -> BTreeSet<u64> {
        let end = size.div_ceil(PAGE_BYTES as u64);
        let mut touched = BTreeSet::new();
        let mut shrunk_to = u64::MAX;
        for change in kept {
            let (offset, bytes) = change.stretch().unwrap_or((0, 0));
            touched.extend(pages_of(offset, bytes).filter(|number| *number < end));
            if let Change::Resize(bytes) = change {
                shrunk_to = shrunk_to.min(*bytes);
            }
        }
        // What a truncation has cut off reads as zeros when the file has grown again.
        touched.extend(shrunk_to / PAGE_BYTES as u64..end.min(self.durable.bytes().div_ceil(PAGE_BYTES as u64)));
        touched
    }

    /// What is on the disk of a page.
    fn page_after(&self, number: u64, kept: &[Change], choices: &mut dyn Choices) -> Option<Rc<Page>> {
        let on_page = |change: &&Change| {
            change.stretch().is_some_and(|(offset, bytes)| !within(number, offset, bytes).is_empty())
        };
        let touching: Vec<u8> = kept
            .iter()
            .filter(on_page)
            .map(|change| {
                let (offset, bytes) = change.stretch().unwrap_or((0, 0));
                let part = within(number, offset, bytes);
                (part.start / SECTOR_BYTES..part.end.div_ceil(SECTOR_BYTES)).fold(0, |mask, sector| mask | 1 << sector)
            })
            .collect();
        let cuts = choices.sectors(&touching);
        let mut page: Page = self.durable.page(number).map_or([0; PAGE_BYTES], |page| **page);
        let mut seen = 0;
        for change in kept {
            let Some((offset, bytes)) = change.stretch() else {
                let Change::Resize(size) = change else { continue };
                let from = size.saturating_sub(number * PAGE_BYTES as u64).min(PAGE_BYTES as u64) as usize;
                page[from..].fill(0); // beyond the size there is nothing yet, or nothing any more
                continue;
            };
            let part = within(number, offset, bytes);
            if part.is_empty() {
                continue;
            }
            seen += 1;
            for sector in (0..SECTORS).filter(|sector| seen <= cuts[*sector]) {
                let (from, to) = (part.start.max(sector * SECTOR_BYTES), part.end.min((sector + 1) * SECTOR_BYTES));
                if from >= to {
                    continue;
                }
                match change {
                    Change::Write { bytes, .. } => {
                        let skip = (number * PAGE_BYTES as u64 + from as u64 - offset) as usize;
                        let source = &self.arena[bytes.start + skip..bytes.start + skip + (to - from)];
                        page[from..to].copy_from_slice(source);
                    }
                    Change::Clear { .. } | Change::Resize(_) => page[from..to].fill(0),
                }
            }
        }
        (page != [0; PAGE_BYTES] || self.durable.page(number).is_some()).then(|| Rc::new(page))
    }

    /// Flips a bit of what is on the disk and of what programs will read of it; answers whether there was one to flip.
    pub(crate) fn rot(&mut self, byte: u64, bit: u8) -> bool {
        let number = byte / PAGE_BYTES as u64;
        let Some(page) = self.durable.page(number) else { return false };
        let mut rotten: Page = **page;
        rotten[(byte % PAGE_BYTES as u64) as usize] ^= 1 << bit;
        let rotten = Rc::new(rotten);
        // A page that was changed since is in the cache, and will be written over what has rotted.
        if self.current.page(number) == Some(page) {
            self.current.set_page(number, Some(Rc::clone(&rotten)));
        }
        self.durable.set_page(number, Some(rotten));
        true
    }

    /// Its size on the disk.
    pub(crate) fn durable_bytes(&self) -> u64 {
        self.durable.bytes()
    }
}
