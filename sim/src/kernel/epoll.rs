//! epoll(7): interest lists with a ready list each, so that nothing is scanned in proportion to interest.
//!
//! Follows `fs/eventpoll.c`: a change of a file queues its item once; `epoll_wait` takes items off the list, asks each
//! file what it is ready for, and puts level-triggered ones that are still ready back at the end.

use super::dispatch::Kernel;
use super::file::{FileId, Kind};
use super::slots::{Id, Slots};
use super::thread::ThreadId;
use super::{Step, Stop};
use crate::abi::user::EpollEvents;
use libc::{EEXIST, EINVAL, ELOOP, ENOENT, EPERM, EPOLLET, EPOLLEXCLUSIVE, EPOLLIN, EPOLLONESHOT, c_int};
use std::collections::{BTreeMap, VecDeque};

/// Bits that are reported whether asked for or not (epoll_ctl(2)).
const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
/// Bits of the interest that are modes, not events.
const MODES: u32 = (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | libc::EPOLLWAKEUP) as u32;

/// How many epolls may watch one another in a row (fs/eventpoll.c, `EP_MAX_NESTS`).
const NESTS_MAX: u32 = 4;

/// One (epoll, item) pair that watches a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Watch {
    epoll: FileId,
    item: Id<Item>,
}

/// A file in an interest list.
pub(crate) struct Item {
    file: FileId,
    fd: c_int,
    events: u32,
    token: u64,
    queued: bool,
}

/// An epoll instance.
#[derive(Default)]
pub(crate) struct Epoll {
    items: Slots<Item>,
    /// The kernel's key of an item is the pair of file and number (epoll(7), questions 0 and 6).
    by_key: BTreeMap<(c_int, FileId), Id<Item>>,
    ready: VecDeque<Id<Item>>,
}

impl Epoll {
    /// Files of interest.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}

/// epoll_ctl(2): `EPOLLEXCLUSIVE` goes with adding only, with few other bits, and not with another epoll as the target.
fn exclusive_is_legal(op: c_int, events: u32, watches_epoll: bool) -> bool {
    let fine = ALWAYS | (EPOLLIN | libc::EPOLLOUT | libc::EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE) as u32;
    match op {
        libc::EPOLL_CTL_MOD => false,
        libc::EPOLL_CTL_ADD => !watches_epoll && events & !fine == 0,
        _ => true,
    }
}

impl Kernel {
    fn epoll(&mut self, id: FileId) -> Result<&mut Epoll, Stop> {
        match &mut self.files[id].kind {
            Kind::Epoll(epoll) => Ok(epoll),
            _ => Err(Stop::Errno(EINVAL)),
        }
    }

    /// epoll_create1(2).
    pub(crate) fn epoll_create(&mut self, me: ThreadId, flags: c_int) -> Step {
        if flags & !libc::EPOLL_CLOEXEC != 0 {
            return Err(Stop::Errno(EINVAL));
        }
        Ok(i64::from(self.open_new(me, Kind::Epoll(Epoll::default()), flags | libc::O_RDWR)?))
    }

    /// epoll_ctl(2). `event` is `(events, data)` for add and modify.
    pub(crate) fn epoll_ctl(&mut self, me: ThreadId, epfd: c_int, op: c_int, fd: c_int, event: (u32, u64)) -> Step {
        let epoll = self.file(me, epfd)?;
        let file = self.file(me, fd)?;
        // fs/eventpoll.c, do_epoll_ctl: EPERM for files without poll comes before EINVAL for a bad epfd.
        if !self.files[file].can_be_watched() {
            return Err(Stop::Errno(EPERM));
        }
        if epoll == file {
            return Err(Stop::Errno(EINVAL));
        }
        let existing = self.epoll(epoll)?.by_key.get(&(fd, file)).copied();
        let (events, token) = event;
        let watches_epoll = matches!(self.files[file].kind, Kind::Epoll(_));
        if events & EPOLLEXCLUSIVE as u32 != 0 && !exclusive_is_legal(op, events, watches_epoll) {
            return Err(Stop::Errno(EINVAL));
        }
        match (op, existing) {
            (libc::EPOLL_CTL_ADD, None) => {
                if watches_epoll && self.epoll_too_deep(epoll, file) {
                    return Err(Stop::Errno(ELOOP));
                }
                let item = Item { file, fd, events: events | ALWAYS, token, queued: false };
                let instance = self.epoll(epoll)?;
                let item = instance.items.insert(item);
                instance.by_key.insert((fd, file), item);
                self.files[file].watches.push(Watch { epoll, item });
                self.epoll_recheck(Watch { epoll, item });
            }
            (libc::EPOLL_CTL_MOD, Some(item)) => {
                let entry = &mut self.epoll(epoll)?.items[item];
                if entry.events & EPOLLEXCLUSIVE as u32 != 0 {
                    return Err(Stop::Errno(EINVAL));
                }
                entry.events = events | ALWAYS;
                entry.token = token;
                self.epoll_recheck(Watch { epoll, item });
            }
            (libc::EPOLL_CTL_DEL, Some(item)) => {
                self.files[file].watches.retain(|w| *w != Watch { epoll, item });
                self.forget_watch(Watch { epoll, item });
            }
            (libc::EPOLL_CTL_ADD, Some(_)) => return Err(Stop::Errno(EEXIST)),
            (libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL, None) => return Err(Stop::Errno(ENOENT)),
            _ => return Err(Stop::Errno(EINVAL)),
        }
        Ok(0)
    }

    /// Whether watching `target` would close a circle or nest too deep (fs/eventpoll.c, `ep_loop_check`).
    fn epoll_too_deep(&self, epoll: FileId, target: FileId) -> bool {
        match self.epoll_levels_below(target, epoll, 0) {
            None => true,
            Some(below) => below + 1 + self.epoll_levels_above(epoll, 0) > NESTS_MAX,
        }
    }

    /// How many epolls deep an epoll watches others; `None` when it watches `circle`, or too deep.
    fn epoll_levels_below(&self, from: FileId, circle: FileId, depth: u32) -> Option<u32> {
        let Kind::Epoll(epoll) = &self.files[from].kind else { return Some(0) };
        let mut deepest = 0;
        for (_, item) in epoll.items.iter() {
            if !matches!(self.files.get(item.file).map(|file| &file.kind), Some(Kind::Epoll(_))) {
                continue;
            }
            if item.file == circle || depth > NESTS_MAX {
                return None;
            }
            deepest = deepest.max(self.epoll_levels_below(item.file, circle, depth + 1)? + 1);
        }
        Some(deepest)
    }

    /// How many epolls watch an epoll, one above the other.
    fn epoll_levels_above(&self, epoll: FileId, depth: u32) -> u32 {
        if depth > NESTS_MAX {
            return depth;
        }
        let watches = &self.files[epoll].watches;
        watches.iter().map(|watch| self.epoll_levels_above(watch.epoll, depth + 1) + 1).max().unwrap_or(0)
    }

    /// Queues an item if its file is ready now (after add and modify).
    fn epoll_recheck(&mut self, watch: Watch) {
        let Ok(epoll) = self.epoll(watch.epoll) else { return };
        let file = epoll.items[watch.item].file;
        let bits = self.polled(file);
        self.epoll_notify(watch, bits);
    }

    /// A watched file may have become ready; true when a waiting thread was told.
    ///
    /// Whoever watches the epoll hears of every event, also of one whose item is queued already
    /// (fs/eventpoll.c, `ep_poll_callback`).
    pub(crate) fn epoll_notify(&mut self, watch: Watch, bits: u32) -> bool {
        let Ok(epoll) = self.epoll(watch.epoll) else { return false };
        let item = &mut epoll.items[watch.item];
        if bits & item.events & !MODES == 0 {
            return false;
        }
        if !item.queued {
            item.queued = true;
            epoll.ready.push_back(watch.item);
        }
        let waited_for = !self.files[watch.epoll].waiters.is_empty();
        self.notify(watch.epoll, EPOLLIN as u32);
        waited_for
    }

    /// Whether only one of those that watch like this needs to be told of an event.
    pub(crate) fn watches_exclusively(&mut self, watch: Watch) -> bool {
        self.epoll(watch.epoll).is_ok_and(|epoll| epoll.items[watch.item].events & EPOLLEXCLUSIVE as u32 != 0)
    }

    /// epoll_wait(2).
    pub(crate) fn epoll_wait(
        &mut self,
        me: ThreadId,
        epfd: c_int,
        out: &mut EpollEvents,
        timeout: Option<u64>,
    ) -> Step {
        let id = self.file(me, epfd)?;
        if out.capacity() == 0 {
            return Err(Stop::Errno(EINVAL));
        }
        let at = timeout.map(|ns| self.after(me, ns));
        self.deadline(me, at);
        let count = self.epoll_collect(id, out)?;
        if count > 0 || self.expired(me) {
            return Ok(count as i64);
        }
        let thread = &self.threads[me];
        if self.buggify.interrupts(thread) {
            return Err(Stop::Errno(libc::EINTR));
        }
        Err(self.wait_for_file(me, id, EPOLLIN as u32))
    }

    fn epoll_collect(&mut self, id: FileId, out: &mut EpollEvents) -> Result<usize, Stop> {
        let mut count = 0;
        for _ in 0..self.epoll(id)?.ready.len() {
            if count == out.capacity() {
                break;
            }
            let epoll = self.epoll(id)?;
            let Some(key) = epoll.ready.pop_front() else { break };
            let Some(item) = epoll.items.get(key) else { continue };
            let (file, fd, events, token) = (item.file, item.fd, item.events, item.token);
            let bits = self.polled(file) & events & !MODES;
            // What is level-triggered and still ready goes back to the end.
            let again = bits != 0 && events & (EPOLLET | EPOLLONESHOT) as u32 == 0;
            let epoll = self.epoll(id)?;
            let item = &mut epoll.items[key];
            item.queued = again;
            if again {
                epoll.ready.push_back(key);
            } else if bits != 0 && events & EPOLLONESHOT as u32 != 0 {
                item.events &= MODES;
            }
            if bits != 0 {
                out.put(count, bits, token);
                // Not the token: programs put addresses there.
                self.log.returned_word((fd as u64) << 32 | u64::from(bits));
                count += 1;
            }
        }
        Ok(count)
    }

    /// Whether an epoll has something to report, for epolls and polls that watch it.
    pub(crate) fn epoll_readiness(&self, id: FileId) -> u32 {
        let Kind::Epoll(epoll) = &self.files[id].kind else { return 0 };
        let ready = epoll.ready.iter().filter_map(|key| epoll.items.get(*key));
        let mut bits = ready.map(|item| self.readiness(item.file) & item.events & !MODES);
        if bits.any(|bits| bits != 0) { EPOLLIN as u32 } else { 0 }
    }

    /// What a file is ready for, as poll(2) and epolls ask it.
    #[inline]
    pub(crate) fn polled(&mut self, file: FileId) -> u32 {
        if let Kind::Epoll(_) = self.files[file].kind {
            self.epoll_forget_unready(file);
        }
        self.readiness(file)
    }

    /// An epoll that is asked forgets what it has queued and is not ready after all, up to the first that is
    /// (`__ep_eventpoll_poll`): what gets ready again then comes last.
    #[cold]
    fn epoll_forget_unready(&mut self, file: FileId) {
        while let Kind::Epoll(epoll) = &self.files[file].kind
            && let Some(key) = epoll.ready.front().copied()
        {
            if let Some(item) = epoll.items.get(key) {
                let (below, events) = (item.file, item.events);
                if self.polled(below) & events & !MODES != 0 {
                    break;
                }
            }
            let Kind::Epoll(epoll) = &mut self.files[file].kind else { break };
            epoll.ready.pop_front();
            if let Some(item) = epoll.items.get_mut(key) {
                item.queued = false;
            }
        }
    }

    /// Removes an item from its epoll; the file's own list is the caller's business.
    pub(crate) fn forget_watch(&mut self, watch: Watch) {
        let Ok(epoll) = self.epoll(watch.epoll) else { return };
        if let Some(item) = epoll.items.remove(watch.item) {
            epoll.by_key.remove(&(item.fd, item.file));
        }
    }

    /// An epoll is closed: its items stop watching their files.
    pub(crate) fn close_epoll(&mut self, id: FileId) {
        let Ok(epoll) = self.epoll(id) else { return };
        let files: Vec<_> = epoll.items.iter().map(|(_, item)| item.file).collect();
        for file in files {
            if let Some(file) = self.files.get_mut(file) {
                file.watches.retain(|watch| watch.epoll != id);
            }
        }
    }
}
