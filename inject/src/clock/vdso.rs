//! Finding one's way in another process: its vDSO (vdso(7)), room in it, and free addresses.

use crate::error::{Error, Result};
use crate::sys::read_memory;
use object::read::elf::{ElfFile64, FileHeader};
use object::{Object, ObjectSymbol};
use std::fs;
use std::ops::Range;

/// A gap wide enough that what is put into its middle is touched by nothing.
const GAP_BYTES_MIN: u64 = 1 << 30;
/// One below a stack whose middle no stack grows to.
const STACK_GAP_BYTES_MIN: u64 = 1 << 40;

/// Why there is nothing to patch.
pub(super) fn lacking(missing: impl Into<String>) -> Error {
    let remedy = "only 64-bit processes that read their clock through the vDSO can be struck from outside; start it as \
                  a host instead";
    Error::lacking("set another process's clock", missing, remedy)
}

/// A line of `/proc/PID/maps`.
struct Mapping {
    range: Range<u64>,
    name: String,
}

fn mappings(pid: u32) -> Result<Vec<Mapping>> {
    let path = format!("/proc/{pid}/maps");
    let text = fs::read_to_string(&path).map_err(|error| super::stub::process_error("read", &path, error))?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let parse = |line: &str| {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        // proc(5): address, permissions, offset, device, inode, pathname.
        let name = line.split_whitespace().nth(5).unwrap_or_default().to_owned();
        Some(Mapping { range: number(from)?..number(to)?, name })
    };
    Ok(text.lines().filter_map(parse).collect())
}

/// Where things are in a process's vDSO.
#[derive(Debug)]
pub(super) struct Vdso {
    /// `__vdso_clock_gettime`, `__vdso_gettimeofday`, `__vdso_time`.
    pub(super) entries: [u64; 3],
    /// Zeros between its end and the end of its last page.
    pub(super) room: Range<u64>,
}

impl Vdso {
    /// Looks at the vDSO of a process.
    pub(super) fn of(pid: u32) -> Result<Vdso> {
        let all = mappings(pid)?;
        let found = all.iter().find(|mapping| mapping.name == "[vdso]");
        let range = found.ok_or_else(|| lacking("a process with a vDSO"))?.range.clone();
        let mut image = vec![0; (range.end - range.start) as usize];
        let count = read_memory(pid, range.start, &mut image)
            .map_err(|error| super::stub::process_error("read", "the vDSO", error))?;
        if count != image.len() {
            return Err(lacking("a vDSO that can be read"));
        }
        let broken = |_| lacking("a 64-bit vDSO");
        let elf = ElfFile64::<object::Endianness>::parse(&*image).map_err(broken)?;
        let entry = |name: &str| {
            let symbol = elf.dynamic_symbols().find(|symbol| symbol.name() == Ok(name));
            // Written at once, eight bytes must not straddle what the processor fetches at once.
            let address = range.start + symbol.map_or(1, |symbol| symbol.address());
            if address % 8 == 0 { Ok(address) } else { Err(lacking(format!("{name} in the vDSO, aligned"))) }
        };
        let entries = [entry("__vdso_clock_gettime")?, entry("__vdso_gettimeofday")?, entry("__vdso_time")?];
        let (header, endian) = (elf.elf_header(), elf.endian());
        let sections =
            header.e_shoff(endian) + u64::from(header.e_shnum(endian)) * u64::from(header.e_shentsize(endian));
        // The section headers are its last part; beyond them the page is filled up with zeros (vdso2c).
        let begins = sections.next_multiple_of(16).min(image.len() as u64);
        Ok(Vdso { entries, room: range.start + begins..range.end })
    }
}

/// An address far from every mapping.
pub(super) fn free_address(pid: u32) -> Result<u64> {
    let all = mappings(pid)?;
    // Not between what is the process's and what is the kernel's, nor below a stack, which grows towards it; but a
    // static program may have no other gap, and half of it is far more than any stack's limit.
    let gaps = all.windows(2).filter_map(|pair| {
        let gap = pair[0].range.end..pair[1].range.start;
        match pair[1].name.as_str() {
            "[vsyscall]" => None,
            "[stack]" if gap.end - gap.start < STACK_GAP_BYTES_MIN => None,
            _ => Some(gap),
        }
    });
    // The process maps what it needs at the edges of gaps: in the middle of the widest it does not get in our way.
    let widest = gaps.max_by_key(|gap| gap.end - gap.start).filter(|gap| gap.end - gap.start >= GAP_BYTES_MIN);
    let gap = widest.ok_or_else(|| lacking("room in the process's address space"))?;
    Ok((gap.start + (gap.end - gap.start) / 2) & !0xfff)
}

/// Whether exactly this page is mapped, alone.
pub(super) fn is_mapped(pid: u32, address: u64, bytes: u64) -> Result<bool> {
    Ok(mappings(pid)?.iter().any(|mapping| mapping.range == (address..address + bytes) && mapping.name.is_empty()))
}

/// Whether the vDSO of a process is at this address.
pub(super) fn is_vdso(pid: u32, address: u64) -> Result<bool> {
    Ok(mappings(pid)?.iter().any(|mapping| mapping.name == "[vdso]" && mapping.range.contains(&address)))
}

/// What tells a program that a process executes from the one that it executed before: the sixteen random bytes that
/// the kernel gives to each (getauxval(3), `AT_RANDOM`). A fork has its parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Image([u8; 16]);

impl Image {
    /// Of the program that a process executes; `None` if it executes none: it is about to end, or the kernel's.
    pub(super) fn of(pid: u32) -> Result<Option<Self>> {
        const AT_RANDOM: u64 = 25;
        let path = format!("/proc/{pid}/auxv");
        let failed = |error| super::stub::process_error("read", &path, error);
        // proc_pid_auxv(5): pairs of words.
        let auxv = fs::read(&path).map_err(failed)?;
        let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        let mut pairs = auxv.chunks_exact(16).map(|pair| (word(&pair[..8]), word(&pair[8..])));
        let Some((_, address)) = pairs.find(|(key, _)| *key == AT_RANDOM) else { return Ok(None) };
        let mut random = [0; 16];
        match read_memory(pid, address, &mut random) {
            Ok(16) => Ok(Some(Self(random))),
            // It has gone on to another program, or to its end.
            Ok(_) => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}
