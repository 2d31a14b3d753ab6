//! One image per start of a host: the running executable mapped again, relocated, with fresh statics.
//!
//! The loader (`ld.so`) knows nothing of images. Code and constants are file-backed and shared; only the writable
//! segments and relocated constants cost memory. Symbols of other libraries resolve to what they resolve to in the
//! original. References: System V ABI AMD64 supplement, "Relocation"; gABI, "Program Header", "SHT_RELR".
//!
//! What an image may not have: copy relocations of variables that change (`environ` is swapped by the kernel instead).

use super::lent::Code;
use super::real::{self, raw_syscall};
use super::text::{self, Text};
use libc::{Elf64_Phdr, Elf64_Rela, Elf64_Sym, c_int, c_void, dl_phdr_info};
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

const PAGE_BYTES: usize = 4096;

// Dynamic section tags and relocation types, `elf.h`.
const DT_PLTRELSZ: i64 = 2;
const DT_SYMTAB: i64 = 6;
const DT_RELA: i64 = 7;
const DT_RELASZ: i64 = 8;
const DT_JMPREL: i64 = 23;
const DT_INIT_ARRAY: i64 = 25;
const DT_INIT_ARRAYSZ: i64 = 27;
const DT_RELRSZ: i64 = 35;
const DT_RELR: i64 = 36;
const R_X86_64_64: u64 = 1;
const R_X86_64_COPY: u64 = 5;
const R_X86_64_GLOB_DAT: u64 = 6;
const R_X86_64_JUMP_SLOT: u64 = 7;
const R_X86_64_RELATIVE: u64 = 8;
const R_X86_64_DTPMOD64: u64 = 16;
const R_X86_64_DTPOFF64: u64 = 17;
const R_X86_64_TPOFF64: u64 = 18;
const R_X86_64_TLSDESC: u64 = 36;
const R_X86_64_IRELATIVE: u64 = 37;

/// What a relocated word holds in an image at `base`.
enum Word {
    /// An address inside the image: `base` + this.
    Inside(usize),
    /// Whatever it holds in the original: another library's address, a TLS offset.
    Same(usize),
    /// The original's bytes (copy relocation).
    Bytes(Box<[u8]>),
}

/// The running executable, read once before any test code has run, so that relocated words are pristine.
pub(crate) struct Original {
    base: usize,
    span: usize,
    file: c_int,
    segments: Vec<Elf64_Phdr>,
    headers_offset: usize,
    header_count: usize,
    words: Vec<(usize, Word)>,
    constructors: Vec<usize>,
    eh_frame_header: usize,
    tls: Option<Tls>,
    /// Bytes before the first page that programs write to: code and constants, the same in all images.
    text_bytes: usize,
    text: Text,
}

#[derive(Clone, Copy)]
struct Tls {
    image_offset: usize,
    file_bytes: usize,
    /// Distance from the TLS block's start up to the thread pointer.
    below_fs: usize,
}

/// The initialised part of an image's TLS template.
pub(crate) struct ThreadLocals {
    from: usize,
    bytes: usize,
    below_fs: usize,
}

impl ThreadLocals {
    /// Overwrites a fresh thread's copy of the original's template with this image's.
    ///
    /// # Safety
    /// `fs` is the thread pointer of a thread whose TLS nobody has used yet; call on that thread.
    pub(super) unsafe fn copy_to(&self, fs: usize) {
        // SAFETY: the executable's TLS block lies directly below the thread pointer (TLS variant II).
        unsafe { ptr::copy_nonoverlapping(self.from as *const u8, (fs - self.below_fs) as *mut u8, self.bytes) }
    }
}

/// A mapped image; unmapped by `unmap`, never by drop, as code of it may be on some stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) base: usize,
    span: usize,
    delta: usize,
}

impl Image {
    /// This image's counterpart of an address in the original; other addresses stay as they are.
    pub(crate) fn translate(&self, original: &Original, address: usize) -> usize {
        if original.contains(address) { address.wrapping_add(self.delta) } else { address }
    }

    /// Gives the image's memory back. Called by the kernel once the process is gone: none of its threads exists any
    /// more, and the kernel keeps no pointer into an image.
    pub(crate) fn unmap(self, original: &Original) {
        debug_assert_eq!(self.span, original.span);
        let padding = text::padding(original.text_bytes);
        // SAFETY: padding and span were reserved by `map`, and nobody uses them, as said above.
        unsafe { raw_syscall(libc::SYS_munmap, [self.base - padding, padding + self.span, 0, 0, 0, 0]) };
    }

    /// Where it lies.
    pub(crate) fn code(&self) -> Code {
        Code { base: self.base, bytes: self.span }
    }

    /// Whether the address lies in this image.
    pub(crate) fn contains(&self, address: usize) -> bool {
        (self.base..self.base + self.span).contains(&address)
    }
}

fn page_floor(address: usize) -> usize {
    address & !(PAGE_BYTES - 1)
}

fn page_ceil(address: usize) -> usize {
    page_floor(address + PAGE_BYTES - 1)
}

/// Base and program headers of the executable: the first object that `dl_iterate_phdr(3)` reports.
unsafe extern "C" fn first_object(info: *mut dl_phdr_info, _: usize, out: *mut c_void) -> c_int {
    // SAFETY: glibc passes a valid entry; `out` is the caller's slot.
    unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize).to_vec();
        *out.cast() = Some((info.dlpi_addr as usize, headers, info.dlpi_phdr as usize));
    }
    1
}

impl Original {
    /// Where it lies.
    pub(crate) fn code(&self) -> Code {
        Code { base: self.base, bytes: self.span }
    }

    /// Reads the running executable.
    ///
    /// # Errors
    /// A sentence for the user when the executable cannot be imaged: not position-independent, or static.
    pub(crate) fn read() -> Result<Original, String> {
        let mut found: Option<(usize, Vec<Elf64_Phdr>, usize)> = None;
        // SAFETY: the callback fits; /proc/self/exe is opened read-only.
        let file = unsafe {
            real::dl_iterate_phdr(Some(first_object), (&raw mut found).cast());
            let path = c"/proc/self/exe".as_ptr() as usize;
            let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
            raw_syscall(libc::SYS_openat, [libc::AT_FDCWD as usize, path, flags, 0, 0, 0]) as c_int
        };
        let (base, headers, headers_at) = found.ok_or("the loader reports no executable")?;
        if base == 0 || file < 0 {
            return Err("the test executable must be position-independent and readable at /proc/self/exe".into());
        }
        let segments: Vec<_> = headers.iter().filter(|h| h.p_type == libc::PT_LOAD).copied().collect();
        let end = segments.iter().map(|s| (s.p_vaddr + s.p_memsz) as usize).max().unwrap_or(0);
        let written = segments.iter().filter(|s| s.p_flags & libc::PF_W != 0);
        let text_bytes = written.map(|s| page_floor(s.p_vaddr as usize)).min().unwrap_or(page_ceil(end));
        let find = |kind| headers.iter().find(|h| h.p_type == kind);
        let dynamic = find(libc::PT_DYNAMIC).ok_or("the test executable must be linked dynamically")?;
        let tls = find(libc::PT_TLS).map(|t| Tls {
            image_offset: t.p_vaddr as usize,
            file_bytes: t.p_filesz as usize,
            below_fs: tls_distance(t),
        });
        let mut original = Original {
            base,
            span: page_ceil(end),
            file,
            segments,
            headers_offset: headers_at - base,
            header_count: headers.len(),
            words: Vec::new(),
            constructors: Vec::new(),
            eh_frame_header: find(libc::PT_GNU_EH_FRAME).map_or(0, |h| h.p_vaddr as usize),
            tls,
            text_bytes,
            text: Text::new(),
        };
        // SAFETY: the loader has mapped and relocated what the dynamic section describes.
        unsafe { original.read_dynamic((base + dynamic.p_vaddr as usize) as *const [i64; 2])? };
        Ok(original)
    }

    fn contains(&self, address: usize) -> bool {
        (self.base..self.base + self.span).contains(&address)
    }

    fn word(&self, value: usize) -> Word {
        if self.contains(value) { Word::Inside(value - self.base) } else { Word::Same(value) }
    }

    unsafe fn read_dynamic(&mut self, mut entry: *const [i64; 2]) -> Result<(), String> {
        // SAFETY: in the whole body tables lie in the mapped, relocated executable, as its dynamic section says.
        unsafe {
            let mut tags = std::collections::BTreeMap::new();
            while (*entry)[0] != 0 {
                tags.insert((*entry)[0], (*entry)[1] as usize);
                entry = entry.add(1);
            }
            // glibc relocates these pointers in place; other loaders do not.
            let value = |tag| tags.get(&tag).copied().unwrap_or(0);
            let address = |tag| match value(tag) {
                0 => 0,
                a if a >= self.base => a,
                a => self.base + a,
            };
            let mut words = Vec::new();
            for (table, bytes) in [(DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)] {
                let count = value(bytes) / size_of::<Elf64_Rela>();
                for i in 0..count {
                    let rela = &*(address(table) as *const Elf64_Rela).add(i);
                    self.read_rela(rela, address(DT_SYMTAB), &mut words)?;
                }
            }
            self.read_relr(address(DT_RELR), value(DT_RELRSZ), &mut words);
            self.words = words;
            for i in 0..value(DT_INIT_ARRAYSZ) / 8 {
                let f = *(address(DT_INIT_ARRAY) as *const usize).add(i);
                if self.contains(f) {
                    self.constructors.push(f - self.base);
                }
            }
        }
        Ok(())
    }

    unsafe fn read_rela(
        &self,
        rela: &Elf64_Rela,
        symbols: usize,
        words: &mut Vec<(usize, Word)>,
    ) -> Result<(), String> {
        let offset = rela.r_offset as usize;
        // SAFETY: the loader wrote this word when it relocated the executable.
        let now = unsafe { *((self.base + offset) as *const usize) };
        let word = match rela.r_info & 0xffff_ffff {
            R_X86_64_RELATIVE => Word::Inside(rela.r_addend as usize),
            R_X86_64_64 | R_X86_64_GLOB_DAT | R_X86_64_JUMP_SLOT | R_X86_64_IRELATIVE => self.word(now),
            R_X86_64_DTPMOD64 | R_X86_64_DTPOFF64 | R_X86_64_TPOFF64 => Word::Same(now),
            R_X86_64_TLSDESC => {
                // SAFETY: a TLS descriptor is two words.
                words.push((offset + 8, Word::Same(unsafe { *((self.base + offset + 8) as *const usize) })));
                Word::Same(now)
            }
            R_X86_64_COPY => {
                // SAFETY: the symbol's size says how many bytes the loader copied.
                let bytes = unsafe {
                    let symbol = &*(symbols as *const Elf64_Sym).add((rela.r_info >> 32) as usize);
                    std::slice::from_raw_parts((self.base + offset) as *const u8, symbol.st_size as usize)
                };
                Word::Bytes(bytes.into())
            }
            other => return Err(format!("the test executable has relocations of type {other}, which images lack")),
        };
        words.push((offset, word));
        Ok(())
    }

    /// SHT_RELR: an even word is an address, an odd one a bitmap of the 63 words that follow.
    unsafe fn read_relr(&self, table: usize, bytes: usize, words: &mut Vec<(usize, Word)>) {
        let mut next = 0;
        let mut push = |offset: usize| {
            // SAFETY: the loader relocated this word; it points into the executable.
            let now = unsafe { *((self.base + offset) as *const usize) };
            words.push((offset, Word::Inside(now.wrapping_sub(self.base))));
        };
        for i in 0..bytes / 8 {
            // SAFETY: the table has that many entries.
            let entry = unsafe { *(table as *const usize).add(i) };
            if entry & 1 == 0 {
                push(entry);
                next = entry + 8;
            } else {
                (0..63).filter(|bit| entry >> (bit + 1) & 1 == 1).for_each(|bit| push(next + bit * 8));
                next += 63 * 8;
            }
        }
    }

    /// Maps and relocates a fresh image. Its constructors have not run.
    ///
    /// # Errors
    /// The errno of `mmap(2)`.
    pub(crate) fn map(&self) -> Result<Image, c_int> {
        let padding = text::padding(self.text_bytes);
        let room = text::reserve(padding + self.span)?;
        let base = room + padding;
        let image = Image { base, span: self.span, delta: base.wrapping_sub(self.base) };
        // SAFETY: fills fresh address space in place; code and constants lie in the original's first `text_bytes`.
        unsafe {
            let copied = self.text.for_image(self.base, self.text_bytes, &self.text_parts());
            if let Some(file) = copied {
                let prot = (libc::PROT_READ | libc::PROT_EXEC) as usize;
                let flags = (libc::MAP_PRIVATE | libc::MAP_FIXED) as usize;
                let mapped =
                    raw_syscall(libc::SYS_mmap, [room, padding + self.text_bytes, prot, flags, file as usize, 0]);
                if mapped < 0 {
                    return Err(-mapped as c_int);
                }
            }
            let covered = if copied.is_some() { self.text_bytes } else { 0 };
            for segment in self.segments.iter().filter(|s| s.p_vaddr as usize >= covered) {
                self.map_segment(base, segment)?;
            }
            for (offset, word) in &self.words {
                let at = base + offset;
                match word {
                    Word::Inside(value) => (at as *mut usize).write_unaligned(base.wrapping_add(*value)),
                    Word::Same(value) => (at as *mut usize).write_unaligned(*value),
                    Word::Bytes(bytes) => ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()),
                }
            }
            Ok(image)
        }
    }

    /// Where code and constants lie in the original.
    fn text_parts(&self) -> Vec<Range<usize>> {
        let text = self.segments.iter().filter(|s| (s.p_vaddr as usize) < self.text_bytes);
        text.map(|s| self.base + s.p_vaddr as usize..self.base + (s.p_vaddr + s.p_filesz) as usize).collect()
    }

    unsafe fn map_segment(&self, base: usize, segment: &Elf64_Phdr) -> Result<(), c_int> {
        let start = base + segment.p_vaddr as usize;
        let (file_end, end) = (start + segment.p_filesz as usize, start + segment.p_memsz as usize);
        let flag = |bit, prot| if segment.p_flags & bit != 0 { prot as usize } else { 0 };
        let writable = flag(libc::PF_W, libc::PROT_WRITE);
        let prot = flag(libc::PF_R, libc::PROT_READ) | writable | flag(libc::PF_X, libc::PROT_EXEC);
        let from = page_floor(start);
        let private = (libc::MAP_PRIVATE | libc::MAP_FIXED) as usize;
        let map = |at: usize, bytes: usize, extra: i32, file: usize, offset: usize| {
            // SAFETY: inside the reservation that `map` has just made.
            let result =
                unsafe { raw_syscall(libc::SYS_mmap, [at, bytes, prot, private | extra as usize, file, offset]) };
            if result < 0 { Err(-result as c_int) } else { Ok(()) }
        };
        if segment.p_filesz > 0 {
            let offset = segment.p_offset as usize - (start - from);
            // What is written to is nearly all relocated at once, so its pages come at once.
            let populate = if writable != 0 { libc::MAP_POPULATE } else { 0 };
            map(from, file_end - from, populate, self.file as usize, offset)?;
        }
        if writable != 0 {
            let zero_from = if segment.p_filesz > 0 { page_ceil(file_end) } else { from };
            if segment.p_filesz > 0 {
                // SAFETY: the last file page is mapped writable; its tail is bss.
                unsafe { ptr::write_bytes(file_end as *mut u8, 0, zero_from.min(end.max(file_end)) - file_end) };
            }
            if end > zero_from {
                map(zero_from, page_ceil(end) - zero_from, libc::MAP_ANONYMOUS, usize::MAX, 0)?;
            }
        }
        Ok(())
    }

    /// The image's initialised thread-locals, for its threads.
    pub(crate) fn thread_locals(&self, image: &Image) -> Option<ThreadLocals> {
        let tls = self.tls.filter(|tls| tls.file_bytes > 0)?;
        Some(ThreadLocals { from: image.base + tls.image_offset, bytes: tls.file_bytes, below_fs: tls.below_fs })
    }

    /// Addresses of the image's constructors, in the order in which the loader would run them.
    pub(crate) fn constructors(&self, image: &Image) -> Vec<usize> {
        self.constructors.iter().map(|offset| image.base + offset).collect()
    }

    /// What `dl_iterate_phdr(3)` says of the image: base, program headers, their number.
    pub(crate) fn headers(&self, image: &Image) -> (usize, *const Elf64_Phdr, u16) {
        (image.base, (image.base + self.headers_offset) as *const Elf64_Phdr, self.header_count as u16)
    }

    /// Start, end and `.eh_frame_hdr` of an image, as `_dl_find_object` reports them.
    pub(crate) fn unwind_table(&self, image: &Image) -> (usize, usize, usize) {
        (image.base, image.base + self.span, image.base + self.eh_frame_header)
    }

    /// Offset of a code address from the start of its executable image, if it lies in the original.
    pub(crate) fn offset_in_original(&self, address: usize) -> Option<usize> {
        self.contains(address).then(|| address - self.base)
    }
}

/// Where the executable's TLS block starts below the thread pointer (glibc `_dl_determine_tlsoffset`, variant II).
fn tls_distance(tls: &Elf64_Phdr) -> usize {
    let (bytes, align) = (tls.p_memsz as usize, (tls.p_align as usize).max(1));
    let first_byte = (tls.p_vaddr as usize).wrapping_neg() & (align - 1);
    (bytes - first_byte.min(bytes)).next_multiple_of(align) + first_byte
}

/// An image, and its start, end and unwind table.
type Listed = (Image, (usize, usize, usize));

/// Images by base address, for the unwinder. Written by the carrier only; read wherever a thread unwinds.
static IMAGES: AtomicPtr<Vec<Listed>> = AtomicPtr::new(ptr::null_mut());
/// How many images were ever added and removed: unwinders cache on these numbers (`dlpi_adds`, `dlpi_subs`).
static CHANGES: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

fn registry() -> &'static mut Vec<Listed> {
    let mut list = IMAGES.load(Ordering::Relaxed);
    if list.is_null() {
        list = Box::into_raw(Box::default());
        IMAGES.store(list, Ordering::Relaxed);
    }
    // SAFETY: a world has one kernel thread, and neither readers nor writers switch threads while they hold this.
    unsafe { &mut *list }
}

/// Makes the unwinder find the image.
pub(crate) fn register(original: &Original, image: Image) {
    let list = registry();
    let at = list.partition_point(|(other, _)| other.base < image.base);
    list.insert(at, (image, original.unwind_table(&image)));
    CHANGES[0].fetch_add(1, Ordering::Relaxed);
}

/// Makes the unwinder forget the image.
pub(crate) fn unregister(image: Image) {
    registry().retain(|(other, _)| *other != image);
    CHANGES[1].fetch_add(1, Ordering::Relaxed);
}

/// The image that holds an address: its start, end and unwind table.
pub(crate) fn find(address: usize) -> Option<(usize, usize, usize)> {
    if IMAGES.load(Ordering::Relaxed).is_null() {
        return None;
    }
    let list = registry();
    let at = list.partition_point(|(image, _)| image.base <= address).checked_sub(1)?;
    let (image, table) = list[at];
    image.contains(address).then_some(table)
}

/// How many images were added and removed so far.
pub(crate) fn changes() -> (u64, u64) {
    (CHANGES[0].load(Ordering::Relaxed) as u64, CHANGES[1].load(Ordering::Relaxed) as u64)
}
