//! Another process's clock: its vDSO is led to code of ours, which stands in what is left of the vDSO's last page.
//!
//! Every step is one write of eight bytes, or a call that the process completes by itself, so whoever makes them may be
//! killed at any time: the process goes on, and its clock is right again at the latest when the lease has run out. What
//! is left then, code that tells the right time, is taken away by whoever [undoes](Undo::carry_out) what was written
//! down before.

use super::layout::{MARK_WORD, PAGE_BYTES, READ_AT_WORD, TIE_WORD, TURN_WORD, WALL_READS_WORD, slot, slot_word};
use super::motion::Clocks;
use super::threads::{DETOUR_BYTES, are_outside, call_in, poke_all, session, stop_one, stop_outside};
use super::vdso::{Vdso, free_address, is_mapped, is_vdso, lacking};
use crate::error::{Error, ErrorKind, Result};
use crate::process::proc;
use crate::step::reached;
use crate::sys::{read_memory, stub_code, write_memory};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::ops::Range;

/// How often it is looked for processes that were forked while others were put right.
const HEIRS_ROUNDS_MAX: usize = 20;
/// `jmp rel32`.
const JUMP_BYTES: usize = 5;

/// What somebody did to another process's clock, to be written down before it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The process.
    pub pid: u32,
    /// When it started, in clock ticks after boot (`starttime`, proc(5)): another process of that number has another.
    pub started_ticks: u64,
    /// Where its vDSO was changed, what stood there, and what was written.
    pub entries: Vec<Written>,
    /// Where code was put, and how much; zeros stood there.
    pub code_at: u64,
    /// Bytes of code.
    pub code_bytes: u64,
    /// The page that was mapped for it.
    pub page_at: u64,
    /// A word in that page which is in no other, but those of processes that were forked from this one.
    mark: u64,
}

/// Eight bytes that were written over others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Where.
    pub at: u64,
    /// What stood there.
    pub before: [u8; 8],
    /// What stands there now.
    pub after: [u8; 8],
}

/// Says what a failure about another process means.
pub(super) fn process_error(what: &str, of: &str, error: io::Error) -> Error {
    let what = format!("{what} {of}");
    match error.raw_os_error() {
        Some(libc::ESRCH | libc::ECHILD) => Error::gone(what),
        _ if error.kind() == io::ErrorKind::NotFound => Error::gone(what),
        Some(libc::EPERM | libc::EACCES) => Error::lacking(
            what,
            format!("the kernel does not let this user change that process ({error})"),
            "run as the same user or as root, with kernel.yama.ptrace_scope=0 or CAP_SYS_PTRACE, and detach debuggers",
        ),
        _ => Error::os(what, error),
    }
}

/// When a process started.
pub(super) fn started_ticks(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|error| process_error("read", &path, error))?;
    // proc(5): the name is in parentheses and may hold any character; `starttime` is the 20th after it.
    let field = text.rsplit_once(") ").and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok());
    field.ok_or_else(|| Error::gone(format!("read when process {pid} started")))
}

fn read_word(pid: u32, at: u64) -> Result<[u8; 8]> {
    let mut word = [0; 8];
    match read_memory(pid, at, &mut word) {
        Ok(8) => Ok(word),
        Ok(_) => Err(Error::gone("read another process's memory")),
        Err(error) => Err(process_error("read", "another process's memory", error)),
    }
}

/// A stub in another process.
#[derive(Debug)]
pub(super) struct Stub {
    undo: Undo,
}

/// What a process has of a stub that was put into one from which it was forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inherited {
    /// Nothing.
    Nothing,
    /// It was forked while that stub was put in or taken away.
    Part,
    /// Its clock goes by the stub.
    Whole,
}

/// Works out what would have to be done, and does nothing yet.
pub(super) fn plan(pid: u32) -> Result<Undo> {
    let ns = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/time")).ok();
    if ns("self") != ns(&pid.to_string()) {
        return Err(lacking("a process whose CLOCK_MONOTONIC is ours: it is in another time namespace"));
    }
    let vdso = Vdso::of(pid)?;
    let page_at = free_address(pid)?;
    let code = stub_code(page_at);
    let code_bytes = code.bytes.len().next_multiple_of(16) as u64;
    let room = vdso.room.end.saturating_sub(vdso.room.start);
    if room < code_bytes + DETOUR_BYTES {
        return Err(lacking(format!(
            "{} bytes free in the vDSO's last page, and not {room}",
            code_bytes + DETOUR_BYTES
        )));
    }
    let mut zeros = vec![0; room as usize];
    read_memory(pid, vdso.room.start, &mut zeros).map_err(|error| process_error("read", "the vDSO", error))?;
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(Error::unlike("find room in the vDSO", "zeros", "that somebody has put something there"));
    }
    let offsets = [code.clock_gettime, code.gettimeofday, code.time];
    let entry = |(at, offset): (&u64, usize)| {
        let before = read_word(pid, *at)?;
        let to = vdso.room.start + offset as u64;
        // The code is in the same vDSO, so it is near.
        let way = (to.cast_signed() - at.cast_signed() - JUMP_BYTES as i64) as i32;
        let mut after = before;
        after[0] = 0xe9;
        after[1..JUMP_BYTES].copy_from_slice(&way.to_le_bytes());
        Ok(Written { at: *at, before, after })
    };
    let entries = vdso.entries.iter().zip(offsets).map(entry).collect::<Result<Vec<_>>>()?;
    if let Some(entry) = entries.iter().find(|entry| entry.before[0] == 0xe9) {
        let found = format!("that somebody has already changed it at {:#x}", entry.at);
        return Err(Error::unlike("change a vDSO", "the kernel's", found));
    }
    let (started_ticks, code_at) = (started_ticks(pid)?, vdso.room.start);
    Ok(Undo { pid, started_ticks, entries, code_at, code_bytes, page_at, mark: mark()? })
}

impl Stub {
    /// Does what was planned. What fails half-way is undone.
    pub(super) fn install(undo: Undo, clocks: &Clocks, until_ns: i64) -> Result<Stub> {
        let stub = Stub { undo };
        session(|| stub.put(clocks, until_ns)).inspect_err(|_| {
            // The first error says more.
            let _undone = stub.undo.carry_out();
        })?;
        Ok(stub)
    }

    /// Takes over one that is in the process already.
    pub(super) fn inherited(undo: Undo) -> Stub {
        Stub { undo }
    }

    fn put(&self, clocks: &Clocks, until_ns: i64) -> Result<()> {
        let Undo { pid, code_at, page_at, .. } = self.undo;
        let mut thread = stop_one(pid)?;
        // The number might have been another's by the time that it was stopped; from then on it cannot be.
        self.undo.check_process()?;
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let flags = flags | libc::MAP_FIXED_NOREPLACE;
        let map = [page_at, PAGE_BYTES as u64, prot as u64, flags as u64, u64::MAX, 0];
        match call_in(&mut thread, self.undo.detour_at(), libc::SYS_mmap, map)? {
            address if address == page_at.cast_signed() => {}
            error => {
                let error = io::Error::from_raw_os_error(error.unsigned_abs() as i32);
                return Err(process_error("map a page in", "another process", error));
            }
        }
        reached("a page is mapped in another process");
        self.write(MARK_WORD, &[self.undo.mark])?;
        self.write(TIE_WORD, &[tie_ns().cast_unsigned()])?;
        self.say(clocks, until_ns)?;
        reached("a page in another process says the time");
        poke_all(&thread, code_at, &stub_code(page_at).bytes)?;
        drop(thread);
        reached("there is code in a vDSO, and nobody is led to it");
        let threads = stop_outside(pid, &self.undo.heads())?;
        for Written { at, after, .. } in &self.undo.entries {
            poke_all(&threads[0], *at, after)?;
        }
        reached("a vDSO leads elsewhere");
        Ok(())
    }

    /// Fills the slot that does not hold, and turns to it.
    pub(super) fn say(&self, clocks: &Clocks, until_ns: i64) -> Result<()> {
        // Asked for: two processes may have one memory for a while (vfork(2)).
        let turn = self.read(TURN_WORD)?.wrapping_add(1);
        self.write(slot_word(turn), &slot(until_ns, clocks, None))?;
        reached("a slot of a page in another process is filled");
        self.write(TURN_WORD, &[turn])
    }

    fn write(&self, word: usize, words: &[u64]) -> Result<()> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let at = self.undo.page_at + word as u64 * 8;
        write_memory(self.undo.pid, at, &bytes).map_err(|error| process_error("write to", "the stub's page", error))
    }

    fn read(&self, word: usize) -> Result<u64> {
        Ok(u64::from_le_bytes(read_word(self.undo.pid, self.undo.page_at + word as u64 * 8)?))
    }

    /// Whether the process's clock is as it was said, for longer than `now_ns`.
    pub(super) fn check(&self, clocks: &Clocks, now_ns: i64) -> Result<()> {
        self.undo.check_process()?;
        for entry in &self.undo.entries {
            let found = read_word(self.undo.pid, entry.at)?;
            if found != entry.after {
                let (wanted, found) = (format!("{:02x?}", entry.after), format!("{found:02x?} at {:#x}", entry.at));
                return Err(Error::unlike("read a vDSO back", wanted, found));
            }
        }
        let at = slot_word(self.read(TURN_WORD)?);
        let until_ns = self.read(at)?.cast_signed();
        for (word, wanted) in slot(until_ns, clocks, None).iter().enumerate() {
            let found = self.read(at + word)?;
            if found != *wanted {
                return Err(Error::unlike("read the stub's page back", format!("{wanted}"), format!("{found}")));
            }
        }
        if until_ns > now_ns {
            Ok(())
        } else {
            Err(Error::unlike("read a lease back", "one in force", "an expired one"))
        }
    }

    /// How often it was asked while the clock was wrong.
    pub(super) fn reads(&self) -> Result<u64> {
        self.read(WALL_READS_WORD)
    }

    /// When that was last: `CLOCK_MONOTONIC`, or 0 for never.
    pub(super) fn read_at(&self) -> Result<u64> {
        self.read(READ_AT_WORD)
    }
}

/// A word that nobody else comes upon.
fn mark() -> Result<u64> {
    let mut word = [0; 8];
    // getrandom(2): so few bytes are always all given.
    getrandom(&mut word, GetRandomFlags::empty()).map_err(|error| Error::os("ask for randomness", error))?;
    Ok(u64::from_le_bytes(word))
}

/// What the wall clock is ahead of the monotonic one by, as exactly as can be told.
fn tie_ns() -> i64 {
    let read = |id| {
        let now = clock_gettime(id);
        now.tv_sec * 1_000_000_000 + now.tv_nsec
    };
    let embraced = || {
        let (before, reading, after) = (read(ClockId::Monotonic), read(ClockId::Realtime), read(ClockId::Monotonic));
        (after - before, reading - before)
    };
    (0..32).map(|_| embraced()).min().expect("some").1
}

impl Undo {
    /// Where detours are made.
    fn detour_at(&self) -> u64 {
        self.code_at + self.code_bytes
    }

    /// Where a thread must not be when the vDSO is changed: within what is written, but for its beginning.
    fn heads(&self) -> Vec<Range<u64>> {
        self.entries.iter().map(|entry| entry.at + 1..entry.at + 8).collect()
    }

    /// What undoes the same in a process that was forked from this one.
    pub(super) fn for_fork(&self, pid: u32) -> Result<Self> {
        Ok(Self { pid, started_ticks: started_ticks(pid)?, ..self.clone() })
    }

    /// What a process that was forked from this one has of it.
    pub(super) fn inherited_by(&self, pid: u32) -> Inherited {
        let mut code = [0; 8];
        let words: Result<Vec<_>> = self.entries.iter().map(|entry| read_word(pid, entry.at)).collect();
        let (Ok(words), Ok(8)) = (words, read_memory(pid, self.code_at, &mut code)) else { return Inherited::Nothing };
        let led = words.iter().zip(&self.entries).filter(|(word, entry)| **word == entry.after).count();
        match led {
            all if all == self.entries.len() => Inherited::Whole,
            // The code begins with the address of its page.
            0 if code != self.page_at.to_le_bytes() => Inherited::Nothing,
            _ => Inherited::Part,
        }
    }

    /// Everything that is ours.
    fn ours(&self) -> Vec<Range<u64>> {
        let mut ranges = self.heads();
        ranges.push(self.code_at..self.detour_at() + DETOUR_BYTES);
        ranges
    }

    fn check_process(&self) -> Result<()> {
        let what = || Error::gone("change another process's clock");
        if started_ticks(self.pid).map_err(|_| what())? == self.started_ticks { Ok(()) } else { Err(what()) }
    }

    /// Puts everything back as it was, as far as it was done: what stands there as it was before, or is somebody
    /// else's by now, is left alone. Not before the process's clock has stopped being wrong is the rest taken away.
    ///
    /// # Errors
    /// The process is gone, or executes another program by now; or the kernel does not let us; or [something
    /// else](crate::error::ErrorKind::Unlike) stands where ours should, in which case everything else has been undone.
    pub fn carry_out(&self) -> Result<()> {
        session(|| self.put_back())
    }

    /// The same in all processes that were forked meanwhile from this one and from those, whoever their parents are by
    /// now; tells whether there were any. Nobody may have noticed them, and written them down.
    ///
    /// # Errors
    /// As [`carry_out`](Self::carry_out), of the first one that is not as it was found.
    pub(crate) fn carry_out_for_heirs(&self) -> Result<bool> {
        let mut were_any = false;
        for _ in 0..HEIRS_ROUNDS_MAX {
            let heirs = proc::all().into_iter().filter(|pid| *pid != self.pid && self.is_heir(*pid));
            let heirs: Vec<u32> = heirs.collect();
            if heirs.is_empty() {
                break;
            }
            were_any = true;
            for pid in heirs {
                reached("a fork of a process is to have its vDSO put back");
                match self.for_fork(pid).and_then(|undo| undo.carry_out()) {
                    Err(error) if !matches!(error.kind, ErrorKind::TargetGone) => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        Ok(were_any)
    }

    fn is_heir(&self, pid: u32) -> bool {
        read_word(pid, self.page_at + MARK_WORD as u64 * 8).is_ok_and(|word| word == self.mark.to_le_bytes())
    }

    fn put_back(&self) -> Result<()> {
        self.check_process()?;
        if !is_vdso(self.pid, self.code_at)? {
            // It has executed another program since.
            return Err(Error::gone("put a vDSO back"));
        }
        let mut threads = stop_outside(self.pid, &self.heads())?;
        self.check_process()?;
        let mut foreign = None;
        for entry in &self.entries {
            match read_word(self.pid, entry.at)? {
                found if found == entry.before => {}
                found if found == entry.after => poke_all(&threads[0], entry.at, &entry.before)?,
                found => foreign = Some(format!("{found:02x?} at {:#x}", entry.at)),
            }
        }
        if let Some(found) = foreign {
            return Err(Error::unlike("put a vDSO back", "what we wrote", found));
        }
        reached("a vDSO leads where it did");
        // The clock is right. Somebody may still be on the way out of the code.
        if !are_outside(self.pid, &threads, &self.ours())? {
            drop(threads);
            threads = stop_outside(self.pid, &self.ours())?;
        }
        // Nobody comes back to it. The page goes last: by that it is known what was forked from whom. The others stay
        // stopped until then, since what they fork meanwhile might have the page no more, and the rest still.
        let mut borrowed = match threads.iter().rposition(|thread| !thread.is_signalled()) {
            Some(at) => threads.swap_remove(at),
            None => {
                threads.clear();
                stop_one(self.pid)?
            }
        };
        poke_all(&borrowed, self.code_at, &vec![0; (self.code_bytes + DETOUR_BYTES) as usize])?;
        if is_mapped(self.pid, self.page_at, PAGE_BYTES as u64)? {
            let unmap = [self.page_at, PAGE_BYTES as u64, 0, 0, 0, 0];
            call_in(&mut borrowed, self.detour_at(), libc::SYS_munmap, unmap)?;
            reached("a page is unmapped in another process");
        }
        Ok(())
    }
}
