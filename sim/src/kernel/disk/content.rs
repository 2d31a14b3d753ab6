//! A file's bytes, in pages. What was never written is a hole: it reads as zeros and takes no space.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A page, the unit in which files are cached and space is taken.
pub(crate) const PAGE_BYTES: usize = 4096;
/// A sector, the unit that a disk writes whole or not at all (ATA-8 ACS, logical sector).
pub(crate) const SECTOR_BYTES: usize = 512;
/// Sectors in a page.
pub(crate) const SECTORS: usize = PAGE_BYTES / SECTOR_BYTES;

/// The bytes of a page.
pub(crate) type Page = [u8; PAGE_BYTES];

/// The bytes of a file. Copies share pages until one of them is written.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Content {
    pages: BTreeMap<u64, Rc<Page>>,
    /// Pages that take space and were never written (fallocate(2)): lseek(2) takes them for holes.
    unwritten: BTreeSet<u64>,
    bytes: u64,
}

/// Numbers of the pages that a stretch of a file touches.
pub(crate) fn pages_of(offset: u64, bytes: u64) -> std::ops::Range<u64> {
    const PAGE: u64 = PAGE_BYTES as u64;
    if bytes == 0 { 0..0 } else { offset / PAGE..(offset + bytes).div_ceil(PAGE) }
}

/// The part of a page that a stretch covers: `from..to` within the page.
pub(crate) fn within(page: u64, offset: u64, bytes: u64) -> std::ops::Range<usize> {
    let start = page * PAGE_BYTES as u64;
    let from = offset.max(start) - start;
    let to = (offset + bytes).min(start + PAGE_BYTES as u64).saturating_sub(start);
    from as usize..(to as usize).max(from as usize)
}

impl Content {
    /// A file's size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Pages that take space.
    pub(crate) fn pages_taken(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Pages that a write would take newly.
    pub(crate) fn pages_missing(&self, offset: u64, bytes: u64) -> u64 {
        let range = pages_of(offset, bytes);
        range.end - range.start - self.pages.range(range.clone()).count() as u64
    }

    /// A page, unless it is a hole.
    pub(crate) fn page(&self, number: u64) -> Option<&Rc<Page>> {
        self.pages.get(&number)
    }

    /// Puts a page in its place, or a hole.
    pub(crate) fn set_page(&mut self, number: u64, page: Option<Rc<Page>>) {
        self.unwritten.remove(&number);
        match page {
            Some(page) => drop(self.pages.insert(number, page)),
            None => drop(self.pages.remove(&number)),
        }
    }

    /// Sets the size without a look at the pages.
    pub(crate) fn set_bytes(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    /// Reads from an offset; answers how much there was.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let count = self.bytes.saturating_sub(offset).min(out.len() as u64);
        for number in pages_of(offset, count) {
            let part = within(number, offset, count);
            let at = (number * PAGE_BYTES as u64 + part.start as u64 - offset) as usize;
            let out = &mut out[at..at + part.len()];
            match self.pages.get(&number) {
                Some(page) => out.copy_from_slice(&page[part]),
                None => out.fill(0),
            }
        }
        count as usize
    }

    /// Writes at an offset; the file grows if need be.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let count = bytes.len() as u64;
        for number in pages_of(offset, count) {
            let part = within(number, offset, count);
            let at = (number * PAGE_BYTES as u64 + part.start as u64 - offset) as usize;
            let length = part.len();
            self.page_mut(number)[part].copy_from_slice(&bytes[at..at + length]);
        }
        if count > 0 {
            self.bytes = self.bytes.max(offset + count);
        }
    }

    fn page_mut(&mut self, number: u64) -> &mut Page {
        if !self.unwritten.is_empty() {
            self.unwritten.remove(&number);
        }
        Rc::make_mut(self.pages.entry(number).or_insert_with(|| Rc::new([0; PAGE_BYTES])))
    }

    /// Takes the pages of a stretch, as fallocate(2) does: they read as before.
    pub(crate) fn take_pages(&mut self, offset: u64, bytes: u64) {
        for number in pages_of(offset, bytes) {
            if !self.pages.contains_key(&number) {
                self.page_mut(number);
                self.unwritten.insert(number);
            }
        }
    }

    /// Makes a stretch read as zeros; whole pages become holes. The size stays.
    pub(crate) fn clear(&mut self, offset: u64, bytes: u64) {
        let touched = pages_of(offset, bytes);
        let numbers: Vec<u64> = self.pages.range(touched).map(|(number, _)| *number).collect();
        for number in numbers {
            let part = within(number, offset, bytes);
            if part.len() == PAGE_BYTES {
                self.pages.remove(&number);
                self.unwritten.remove(&number);
            } else if !self.unwritten.contains(&number) {
                self.page_mut(number)[part].fill(0);
            }
        }
    }

    /// Sets the size: what is cut off is gone for good, what is added reads as zeros (ftruncate(2)).
    pub(crate) fn resize(&mut self, bytes: u64) {
        // Even to the same size: what fallocate(2) took behind the end is given back (fs/ext4/inode.c, ext4_setattr).
        if bytes <= self.bytes {
            const PAGE: u64 = PAGE_BYTES as u64;
            drop(self.pages.split_off(&bytes.div_ceil(PAGE)));
            drop(self.unwritten.split_off(&bytes.div_ceil(PAGE)));
            let rest = (bytes % PAGE) as usize;
            let last = bytes / PAGE;
            if rest > 0 && self.pages.contains_key(&last) && !self.unwritten.contains(&last) {
                self.page_mut(bytes / PAGE)[rest..].fill(0);
            }
        }
        self.bytes = bytes;
    }

    /// Where the next byte that is no hole lies, at or behind an offset (lseek(2), `SEEK_DATA`).
    pub(crate) fn next_data(&self, offset: u64) -> Option<u64> {
        let from = offset / PAGE_BYTES as u64;
        let number = *self.pages.range(from..).map(|(number, _)| number).find(|page| !self.unwritten.contains(page))?;
        let at = (number * PAGE_BYTES as u64).max(offset);
        (at < self.bytes).then_some(at)
    }

    /// Where the next hole lies; the end is one (lseek(2), `SEEK_HOLE`).
    pub(crate) fn next_hole(&self, offset: u64) -> u64 {
        let mut number = offset / PAGE_BYTES as u64;
        for (there, _) in self.pages.range(number..) {
            if *there != number || self.unwritten.contains(there) {
                break;
            }
            number += 1;
        }
        (number * PAGE_BYTES as u64).max(offset).min(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, PAGE_BYTES};

    fn text(content: &Content) -> Vec<u8> {
        let mut out = vec![0xff; content.bytes() as usize + 10];
        let count = content.read(0, &mut out);
        out.truncate(count);
        out
    }

    #[test]
    fn it_behaves_as_a_vector_does() {
        let (mut content, mut model) = (Content::default(), Vec::new());
        let mut random = 7u64;
        let mut draw = |bound: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % bound
        };
        for step in 0..2_000 {
            let (offset, bytes) = (draw(5 * PAGE_BYTES), draw(3 * PAGE_BYTES));
            match step % 5 {
                0..3 => {
                    let block = vec![step as u8; bytes];
                    content.write(offset as u64, &block);
                    if bytes > 0 && model.len() < offset + bytes {
                        model.resize(offset + bytes, 0);
                    }
                    let end = model.len().min(offset + bytes);
                    if bytes > 0 {
                        model[offset..end].copy_from_slice(&block);
                    }
                }
                3 => {
                    content.resize(offset as u64);
                    model.resize(offset, 0);
                }
                _ => {
                    let end = (offset + bytes).min(model.len());
                    content.clear(offset as u64, bytes as u64);
                    if offset < end {
                        model[offset..end].fill(0);
                    }
                }
            }
            assert_eq!(text(&content), model, "step {step}");
        }
    }

    #[test]
    fn pages_that_were_only_taken_are_holes_that_take_space() {
        const PAGE: u64 = PAGE_BYTES as u64;
        let mut content = Content::default();
        content.take_pages(0, 4 * PAGE);
        content.resize(2 * PAGE);
        assert_eq!((content.pages_taken(), content.next_data(0), content.next_hole(0)), (4, None, 0));
        content.write(PAGE, b"x");
        assert_eq!((content.next_data(0), content.next_hole(PAGE)), (Some(PAGE), 2 * PAGE));
        content.clear(0, 10);
        assert_eq!(content.next_data(0), Some(PAGE), "zeros in what was never written change nothing");
        content.resize(2 * PAGE);
        assert_eq!(content.pages_taken(), 2, "what is behind the end is given back");
    }

    #[test]
    fn holes_are_found_and_take_no_space() {
        let mut content = Content::default();
        content.write(2 * PAGE_BYTES as u64, b"x");
        content.resize(10 * PAGE_BYTES as u64);
        assert_eq!((content.pages_taken(), content.bytes()), (1, 10 * PAGE_BYTES as u64));
        assert_eq!(content.next_data(0), Some(2 * PAGE_BYTES as u64));
        assert_eq!(content.next_hole(2 * PAGE_BYTES as u64 + 5), 3 * PAGE_BYTES as u64);
        assert_eq!(content.next_data(3 * PAGE_BYTES as u64), None);
        assert_eq!(content.pages_missing(PAGE_BYTES as u64, 2 * PAGE_BYTES as u64), 1);
    }
}
