//! Drawing sequences of calls on files.

use super::generator::Source;
use libc::c_int;

/// What kind of sequences.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Files, directories, links, locks.
    Files,
    /// The same, watched by inotify(7).
    Watches,
}

/// Paths, by number. Few names, so that calls meet.
pub const PATHS: [&str; 30] = [
    "a", "b", "c", "d", "a", "b", "c", "d", "e", "d/a", "d/b", "d/c", "d/e", "d/e/a", "e/a", "e/b", "c/a", "c/b", "d/",
    "a/", "d/.", "d/..", "./a", "d/../b", "c/../a", "d/e/..", "", ".", "f", "b/x/y",
];
/// What symbolic links lead to, by number.
pub const TARGETS: [&str; 12] = ["a", "b", "c", "d", "d/a", "e", "missing", "./d", "d/e", "d/../a", ".", "d/"];

/// A call. Paths and targets are named by their number, descriptors by their place among those that are open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Open(usize, c_int, u32),
    OpenAt(usize, usize, c_int),
    /// `O_TMPFILE`.
    Unnamed(usize, c_int),
    Close(usize),
    Dup(usize),
    Dup2(usize, usize),
    Read(usize, usize),
    Pread(usize, usize, i64),
    Write(usize, usize),
    Pwrite(usize, usize, i64),
    Seek(usize, i64, c_int),
    Truncate(usize, i64),
    TruncateOpen(usize, i64),
    Allocate(usize, c_int, i64, i64),
    Sync(usize),
    SyncData(usize),
    Stat(usize),
    LinkStat(usize),
    OpenStat(usize),
    StatAt(usize, usize, c_int),
    MakeDirectory(usize, u32),
    MakeDirectoryAt(usize, usize),
    Remove(usize),
    RemoveDirectory(usize),
    RemoveAt(usize, usize, c_int),
    Rename(usize, usize),
    RenameWith(usize, usize, u32),
    RenameAt(usize, usize, usize, usize),
    Link(usize, usize),
    LinkFollowing(usize, usize),
    /// `/proc/self/fd/N` as the old name.
    LinkOpen(usize, usize),
    Symlink(usize, usize),
    ReadLink(usize),
    RealPath(usize),
    Mode(usize, u32),
    OpenMode(usize, u32),
    Owner(usize, i32, i32, c_int),
    OpenOwner(usize, i32, i32),
    Times(usize, u32, c_int),
    OpenTimes(usize, u32),
    Access(usize, c_int),
    Umask(u32),
    Lock(usize, c_int),
    /// Descriptor, command, kind, start, length.
    LockRange(usize, usize, c_int, i64, i64),
    List(usize),
    Entries(usize),
    WorkIn(usize),
    WorkInOpen(usize),
    WhereAmI,
    NameOf(usize),
    Send(usize, usize, Option<i64>, usize),
    /// Writes to memory that a descriptor is mapped to.
    MapWrite(usize, usize, bool),
    MapRead(usize, bool),
    Available(usize),
    Poll(usize),
    Flags(usize),
    SetFlags(usize, c_int),
    Inotify,
    Watch(usize, usize, u32),
    Unwatch(usize, c_int),
    Events(usize),
}

/// Places of descriptors are drawn below this and taken modulo how many there are.
const PLACES: u64 = 10;
/// Calls of a sequence.
const CALLS: std::ops::Range<u64> = 10..60;

const OFFSETS: [i64; 12] = [0, 0, 1, 5, 100, 4095, 4096, 4097, 8192, 10_000, 20_000, -1];
const COUNTS: [usize; 10] = [0, 1, 3, 10, 10, 100, 100, 4096, 5000, 9000];
const MODES: [u32; 12] = [0o644, 0o644, 0o755, 0o700, 0o600, 0o400, 0o200, 0o500, 0o300, 0o000, 0o7777, 0o666];
const WATCHED: [u32; 8] = [
    libc::IN_ALL_EVENTS,
    libc::IN_ALL_EVENTS,
    libc::IN_ALL_EVENTS,
    libc::IN_MODIFY | libc::IN_ATTRIB,
    libc::IN_CREATE | libc::IN_DELETE | libc::IN_MOVE,
    libc::IN_ALL_EVENTS | libc::IN_ONESHOT,
    libc::IN_DELETE_SELF | libc::IN_MOVE_SELF | libc::IN_MASK_ADD,
    libc::IN_ALL_EVENTS | libc::IN_DONT_FOLLOW,
];

/// Draws a sequence.
pub fn sequence(family: Family, source: &mut Source) -> Vec<Op> {
    let mut ops = Vec::new();
    if family == Family::Watches {
        ops.extend([Op::Inotify, Op::MakeDirectory(3, 0o755), Op::Watch(0, 27, libc::IN_ALL_EVENTS)]);
        ops.push(Op::Watch(0, 3, libc::IN_ALL_EVENTS));
    }
    let count = CALLS.start + source.below(CALLS.end - CALLS.start);
    while (ops.len() as u64) < count {
        let watches = family == Family::Watches && source.below(4) == 0;
        ops.push(if watches { draw_watch(source) } else { draw(source) });
    }
    if family == Family::Watches {
        ops.push(Op::Events(0));
    }
    ops
}

fn path(source: &mut Source) -> usize {
    source.below(PATHS.len() as u64) as usize
}

fn draw_watch(source: &mut Source) -> Op {
    let (place, at) = (source.below(3) as usize, path(source));
    match source.below(16) {
        0 => Op::Inotify,
        1..=3 => Op::Watch(place, at, source.one_of(&WATCHED)),
        4 => Op::Unwatch(place, source.below(4) as c_int),
        _ => Op::Events(place),
    }
}

fn opening(source: &mut Source) -> c_int {
    let mode = source.one_of(&[libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR, libc::O_RDWR, libc::O_RDWR]);
    let made = source.one_of(&[0, 0, libc::O_CREAT, libc::O_CREAT, libc::O_CREAT, libc::O_CREAT | libc::O_EXCL]);
    let more = source.one_of(&[
        0,
        0,
        0,
        0,
        libc::O_TRUNC,
        libc::O_APPEND,
        libc::O_NOFOLLOW,
        libc::O_DIRECTORY,
        libc::O_PATH,
        libc::O_PATH | libc::O_NOFOLLOW,
        libc::O_NOATIME,
        libc::O_TRUNC | libc::O_APPEND,
    ]);
    mode | made | more | libc::O_CLOEXEC
}

fn allocation(source: &mut Source) -> c_int {
    const KEEP: c_int = libc::FALLOC_FL_KEEP_SIZE;
    const PUNCH: c_int = libc::FALLOC_FL_PUNCH_HOLE;
    source.one_of(&[0, KEEP, KEEP | PUNCH, KEEP | PUNCH, PUNCH])
}

fn draw(source: &mut Source) -> Op {
    let (slot, other) = (source.below(PLACES) as usize, source.below(PLACES) as usize);
    let (at, to) = (path(source), path(source));
    let (offset, count) = (source.one_of(&OFFSETS), source.one_of(&COUNTS));
    let mode = source.one_of(&MODES);
    match source.below(86) {
        0..=6 => Op::Open(at, opening(source), mode | source.one_of(&[0, 0o600, 0o600])),
        7 => Op::OpenAt(slot, at, opening(source)),
        8 => {
            Op::Unnamed(at, source.one_of(&[libc::O_RDWR, libc::O_WRONLY, libc::O_RDONLY, libc::O_RDWR | libc::O_EXCL]))
        }
        9..=11 => Op::Close(slot),
        12 => Op::Dup(slot),
        13 => Op::Dup2(slot, other),
        14 | 15 => Op::Read(slot, count),
        16 | 17 => Op::Pread(slot, count, offset),
        18..=21 => Op::Write(slot, count),
        22 | 23 => Op::Pwrite(slot, count, offset),
        24 | 25 => Op::Seek(slot, offset, source.below(5) as c_int),
        26 => Op::Truncate(at, offset),
        27 | 28 => Op::TruncateOpen(slot, offset),
        29 | 30 => Op::Allocate(slot, allocation(source), offset, count as i64),
        31 => Op::Sync(slot),
        32 => Op::SyncData(slot),
        33 | 34 => Op::Stat(at),
        35 => Op::LinkStat(at),
        36 | 37 => Op::OpenStat(slot),
        38 => Op::StatAt(slot, at, source.one_of(&[0, libc::AT_SYMLINK_NOFOLLOW, libc::AT_EMPTY_PATH])),
        39..=42 => Op::MakeDirectory(at, source.one_of(&[0o755, 0o777, 0o700, 0o500, 0o1777])),
        43 => Op::MakeDirectoryAt(slot, at),
        44..=46 => Op::Remove(at),
        47 | 48 => Op::RemoveDirectory(at),
        49 => Op::RemoveAt(slot, at, source.one_of(&[0, libc::AT_REMOVEDIR])),
        50..=53 => Op::Rename(at, to),
        54 | 55 => Op::RenameWith(at, to, source.one_of(&[libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE, 3])),
        56 => Op::RenameAt(slot, at, other, to),
        57 | 58 => Op::Link(at, to),
        59 => Op::LinkFollowing(at, to),
        60 => Op::LinkOpen(slot, at),
        61 | 62 => Op::Symlink(source.below(TARGETS.len() as u64) as usize, at),
        number => draw_more(number, source),
    }
}

/// Attributes, locks, directories, memory.
fn draw_more(number: u64, source: &mut Source) -> Op {
    let (slot, other) = (source.below(PLACES) as usize, source.below(PLACES) as usize);
    let (at, count, mode) = (path(source), source.one_of(&COUNTS), source.one_of(&MODES));
    match number {
        63 => source.one_of(&[Op::ReadLink(at), Op::RealPath(at)]),
        64 | 65 => Op::Mode(at, mode),
        66 => Op::OpenMode(slot, mode),
        67 => {
            let ids = source.one_of(&[(-1, -1), (1000, -1), (1000, 1000), (0, 0), (-1, 2000)]);
            match source.below(3) {
                0 => Op::Owner(at, ids.0, ids.1, 0),
                1 => Op::Owner(at, ids.0, ids.1, libc::AT_SYMLINK_NOFOLLOW),
                _ => Op::OpenOwner(slot, ids.0, ids.1),
            }
        }
        68 => Op::Times(at, source.below(5) as u32, source.one_of(&[0, libc::AT_SYMLINK_NOFOLLOW])),
        69 => Op::OpenTimes(slot, source.below(5) as u32),
        70 => Op::Access(at, source.below(8) as c_int),
        71 => Op::Umask(source.one_of(&[0o022, 0o077, 0o000, 0o777, 0o022])),
        72 => {
            let how = source.one_of(&[libc::LOCK_SH, libc::LOCK_EX, libc::LOCK_UN]);
            Op::Lock(slot, how | libc::LOCK_NB)
        }
        73 | 74 => {
            let kind = source.one_of(&[libc::F_RDLCK, libc::F_WRLCK, libc::F_WRLCK, libc::F_UNLCK]);
            let (start, bytes) = (source.one_of(&[0, 0, 5, 10, 20]), source.one_of(&[0, 1, 5, 10, -3]));
            Op::LockRange(slot, source.below(4) as usize, kind, start, bytes)
        }
        75 => Op::List(at),
        76 => Op::Entries(slot),
        77 => Op::WorkIn(at),
        78 => source.one_of(&[Op::WorkInOpen(slot), Op::WhereAmI, Op::NameOf(slot), Op::NameOf(slot)]),
        79 => Op::Send(slot, other, source.one_of(&[None, None, Some(0), Some(5), Some(4096)]), count),
        80 | 81 => Op::MapWrite(slot, count, source.below(3) > 0),
        82 => Op::MapRead(slot, source.below(2) == 0),
        83 => source.one_of(&[Op::Available(slot), Op::Poll(slot), Op::Flags(slot)]),
        84 => Op::SetFlags(slot, source.one_of(&[0, libc::O_APPEND, libc::O_APPEND, libc::O_NONBLOCK])),
        _ => Op::LinkOpen(slot, at),
    }
}
