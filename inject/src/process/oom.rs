//! The kernel kills for want of memory.

use super::helper::{Helper, Watch};
use super::identity::Identity;
use super::proc;
use crate::cgroup::{Group, Limit, Limited, is_below_use};
use crate::error::{Error, ErrorKind, Result};
use crate::injection::Injection;
use crate::journal::{Change, Journal, Restore, Undo};
use crate::step::reached;
use crate::target::{Process, Target};
use rustix::fs::{MemfdFlags, memfd_create};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// What more than its use a group is left at most, before somebody is killed.
const SLACK_BYTES: u64 = 1 << 20;

/// How long it may take until a process that was killed is seen to have ended; and where another has ended, so that
/// this one was hardly killed.
const DEAD_WITHIN: Duration = Duration::from_millis(50);
const DEAD_BESIDE_WITHIN: Duration = Duration::from_millis(10);

/// How long the kernel may take to kill.
const KILL_WITHIN: Duration = Duration::from_secs(5);

/// A process of the target has been killed for want of memory. One shot: what it took is undone when it begins.
#[derive(Debug)]
pub struct OomKill {
    mechanism: &'static str,
    killed: u64,
}

impl OomKill {
    /// Has the kernel kill within the target's group; without one, kills the largest process of the tree, as the kernel
    /// would. Returns when somebody is dead.
    ///
    /// # Errors
    /// The target has ended, is a cgroup without a controller for memory, or nobody was killed.
    pub fn apply(journal: &Journal, target: &Target) -> Result<Self> {
        match target {
            // In a group of its own none of its memory would be charged, so no limit could be below its use.
            Target::Process(process) => Self::by_hand(process),
            Target::Cgroup(_) | Target::Namespace(_) => Self::in_group(&Group::of(journal, target)?),
        }
    }

    /// Lowers a group's limit to what it uses, and has a process of our own allocate a little more, so that the
    /// kernel's OOM killer chooses a member: the largest, which is made the likeliest victim meanwhile
    /// (proc_pid_oom_score_adj(5)).
    ///
    /// Not below: version 1 refuses that, and version 2 goes on killing until the use is as low (`memory_max_write` in
    /// mm/memcontrol.c).
    ///
    /// The likeliest but for that one is our own process. The kernel waits for its victim no longer than until the last
    /// of its memory is about to be freed (`exit_mmap` in mm/mmap.c sets `MMF_OOM_SKIP` before `tlb_finish_mmu`), so
    /// where processors are busy it may kill a second one before the limit is gone.
    ///
    /// # Errors
    /// The group lacks a controller for memory, has no members, or nobody was killed in 5 s.
    pub fn in_group(group: &Group) -> Result<Self> {
        let before = group.oom_kills()?;
        let members = group.members();
        let processes: Vec<Process> = members.iter().filter_map(|pid| Process::open(*pid).ok()).collect();
        let Some(largest) = processes.iter().max_by_key(|process| size_of(process.pid)) else {
            return Err(Error::gone("kill for want of memory"));
        };
        let likely = make_likely(group.journal(), largest.pid)?;
        let mut limit = lower(group)?;
        let slack = group.memory_used_bytes()?.saturating_add(SLACK_BYTES);
        let mut eater = Helper::start(group.journal(), c"wt:eater", Some(group), |watch| eat(watch, slack))?;
        let mut killed = 0;
        let deadline = Instant::now() + KILL_WITHIN;
        while killed == 0 && Instant::now() < deadline {
            eater.ends_within(Duration::from_millis(1));
            killed = group.oom_kills()?.saturating_sub(before);
        }
        limit.heal()?;
        reached("a group has its limit again");
        let is_dead = killed > 0 && one_of_them_is_dead(&processes, &eater);
        // Nobody is killed any more. Who ate is no process of the target's.
        killed = group.oom_kills()?.saturating_sub(before);
        if killed > 1 && eater.ends_within(DEAD_WITHIN) {
            killed -= 1;
        }
        eater.end()?;
        if let Some(mut change) = likely {
            change.undo()?;
        }
        if killed == 0 {
            return Err(Error::unlike("kill for want of memory", "a process killed", "none"));
        }
        // The kernel takes whoever is largest where it cannot be told whom. That may be the eater: then what the kernel
        // would have done without it is done by hand.
        if !is_dead {
            largest.kill()?;
        }
        Ok(Self { mechanism: "OOM killer of the group", killed })
    }

    /// Kills the largest of a process and all that descend from it. Needs no privilege for processes of one's own.
    ///
    /// # Errors
    /// It has ended, or is another user's.
    pub fn by_hand(process: &Process) -> Result<Self> {
        process.identity()?;
        let largest = proc::tree(process.pid).into_iter().max_by_key(|pid| size_of(*pid)).unwrap_or(process.pid);
        let victim = if largest == process.pid { process.clone() } else { Process::open(largest)? };
        victim.kill()?;
        if !victim.ends_within(KILL_WITHIN) {
            return Err(Error::unlike("kill for want of memory", "the largest process killed", "that it goes on"));
        }
        Ok(Self { mechanism: "SIGKILL of the largest process", killed: 1 })
    }
}

impl Injection for OomKill {
    fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    /// Nothing of it is in force: whoever was killed stays dead.
    fn read_back(&mut self) -> Result<()> {
        Ok(())
    }

    /// Processes that were killed.
    fn bit(&mut self) -> Result<u64> {
        Ok(self.killed)
    }

    fn heal(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Whether the kernel has killed one of these, rather than who ate the memory: waits for whoever it was.
fn one_of_them_is_dead(processes: &[Process], eater: &Helper) -> bool {
    let deadline = Instant::now() + DEAD_WITHIN;
    loop {
        if any_ends_within(processes, Duration::from_millis(1)) {
            return true;
        }
        if eater.ends_within(Duration::ZERO) {
            return any_ends_within(processes, DEAD_BESIDE_WITHIN);
        }
        if Instant::now() > deadline {
            return false;
        }
    }
}

/// By what victims are chosen; nothing for one that has ended.
fn size_of(pid: u32) -> u64 {
    proc::resident_bytes(pid).unwrap_or(0)
}

/// Whether one of them ends within this time.
fn any_ends_within(processes: &[Process], limit: Duration) -> bool {
    let began = Instant::now();
    while !processes.iter().any(|process| !process.is_alive()) {
        if began.elapsed() >= limit {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Lowers the group's limit to its use, or as little above it as the kernel goes along with: it changes meanwhile.
fn lower(group: &Group) -> Result<Limited> {
    for more in 0.. {
        let bytes = group.memory_used_bytes()? + more * SLACK_BYTES / 16;
        match Limited::apply(group, &Limit::Memory { bytes }) {
            Err(error) if is_below_use(&error) && more < 16 => {}
            done => return done,
        }
    }
    unreachable!("the loop ends by returning")
}

/// Makes a process the first to be killed, until this is undone. One that has ended meanwhile is no matter.
fn make_likely(journal: &Journal, pid: u32) -> Result<Option<Change>> {
    let Ok(identity) = Identity::of(pid) else { return Ok(None) };
    let file = format!("/proc/{pid}/oom_score_adj");
    let Ok(restore) = Restore::remember(Path::new(&file), None, "1000", "") else { return Ok(None) };
    let restore = Restore { process: Some(identity), ..restore };
    let written = journal.change(Undo::Restore(restore.clone()), || {
        restore.write("1000").map_err(|error| Error::os(format!("write {file}"), error))
    });
    match written {
        Ok(((), change)) => Ok(Some(change)),
        // The kernel chooses by size then.
        Err(Error { kind: ErrorKind::Os(_), .. }) if identity.open()?.is_none() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes page after page, up to this much: the group's, but not this process's own, by whose size the kernel judges.
fn eat(watch: &Watch, bytes: u64) {
    // The second to be chosen: after the largest, which has one more, and before all others.
    let _ = std::fs::write("/proc/self/oom_score_adj", "999");
    let Ok(memory) = memfd_create(c"wt:eater", MemfdFlags::CLOEXEC) else { return };
    let page = vec![0xA5; rustix::param::page_size()];
    reached("memory is to be eaten");
    let mut eaten = 0;
    while eaten < bytes {
        match rustix::io::write(&memory, &page) {
            Ok(count) => eaten += count as u64,
            Err(_) => break,
        }
        if !watch.goes_on_after(Duration::ZERO) {
            return;
        }
    }
    watch.goes_on_after(KILL_WITHIN);
}
