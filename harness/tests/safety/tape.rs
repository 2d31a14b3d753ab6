//! Which steps a run takes, and one at which it waits to be struck: a page that all processes of the run share.
//!
//! Most of them are forked from the worker, which maps the page when it asks for its test's plan. It is a file of the
//! sandbox's, so whoever looks from outside maps it too. A process cannot strike itself: the first one of a PID
//! namespace gets no signal from within (pid_namespaces(7)). So who reaches the step takes a name by which it is found,
//! and waits.

use rustix::fs::{Mode, OFlags, fchmod, ftruncate, open};
use serde::{Deserialize, Serialize};
use std::os::fd::AsFd as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use windtunnel_inject::process::proc;
use windtunnel_inject::step;
use windtunnel_inject::sys::SharedWords;

/// Where the page is, in every sandbox. Runs of other tests find none there, and take no notice of steps.
const PLACE: &str = "/mnt/steps";
const WORDS: usize = RECORDS + RECORDS_MAX * RECORD_WORDS;
/// Most steps of a run.
const RECORDS_MAX: usize = 4096;
/// Of a record: who, how long the name is, and the name.
const RECORD_WORDS: usize = 9;
const NAME_BYTES_MAX: usize = 8 * (RECORD_WORDS - 1);

/// How many steps are recorded, or that none are.
const RECORDED: usize = 0;
/// Which step is waited at, by its [key](key), and the how manieth; 0 if none.
const WANTED: usize = 1;
const ORDINAL: usize = 2;
/// How often it was reached.
const REACHED: usize = 3;
const STATE: usize = 4;
const RECORDS: usize = 8;

/// Of [`STATE`].
const NOBODY_WAITS: u64 = 0;
const WAITS: u64 = 1;
const LET_GO: u64 = 2;

/// The name of the thread that waits at the step.
const WAITING: &std::ffi::CStr = c"wt:at-the-step";

/// What processes are for: the first is libtest's, the second what the worker forks for a case, the others say so in
/// their first step.
pub const ROLES: [&str; 10] =
    ["supervisor", "outer", "go-between", "guardian", "keeper", "case", "init", "program", "helper", "holder"];

static TAPE: OnceLock<Tape> = OnceLock::new();
/// Of this process; forks have their parent's until they say something else.
static ROLE: AtomicU64 = AtomicU64::new(0);

/// A plan, for whose test steps are watched.
pub fn watched(plan: &'static str) -> &'static str {
    if let Some(tape) = Tape::open(OFlags::empty()) {
        // What the supervisor executes for cases of the real world.
        ROLE.store(u64::from(std::env::var_os("CHAOS_REAL").is_some()), Ordering::Relaxed);
        TAPE.get_or_init(|| tape);
        step::watch(pass);
    }
    plan
}

fn pass(name: &'static str) {
    let Some(Tape(words)) = TAPE.get() else { return };
    let named = name.strip_suffix(" begun").and_then(|role| ROLES.iter().position(|known| *known == role));
    if let Some(role) = named {
        ROLE.store(role as u64, Ordering::Relaxed);
    }
    let role = ROLE.load(Ordering::Relaxed);
    match words[WANTED].load(Ordering::Relaxed) {
        0 => record(words, role, name),
        wanted if wanted == key(role, name) => {
            let reached = words[REACHED].fetch_add(1, Ordering::Relaxed) + 1;
            if reached == words[ORDINAL].load(Ordering::Relaxed) {
                wait(words);
            }
        }
        _ => {}
    }
}

fn record(words: &[AtomicU64], role: u64, name: &str) {
    let at = words[RECORDED].fetch_add(1, Ordering::Relaxed) as usize;
    let bytes = &name.as_bytes()[..name.len().min(NAME_BYTES_MAX)];
    let Some(record) = words[RECORDS..].chunks_exact(RECORD_WORDS).nth(at) else { return };
    record[0].store(role << 32 | bytes.len() as u64, Ordering::Relaxed);
    for (word, part) in record[1..].iter().zip(bytes.chunks(8)) {
        let mut eight = [0; 8];
        eight[..part.len()].copy_from_slice(part);
        word.store(u64::from_le_bytes(eight), Ordering::Relaxed);
    }
}

/// Waits to be struck, and then to be let go, if it still can.
fn wait(words: &[AtomicU64]) {
    let name = rustix::thread::name();
    let _ = rustix::thread::set_name(WAITING);
    words[STATE].store(WAITS, Ordering::Release);
    while words[STATE].load(Ordering::Acquire) != LET_GO {
        std::thread::sleep(Duration::from_micros(100));
    }
    if let Ok(name) = name {
        let _ = rustix::thread::set_name(&name);
    }
}

/// Names a step of a role's: FNV-1a, which has no collisions among so few.
fn key(role: u64, name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    step(name.bytes().fold(0xcbf2_9ce4_8422_2325, step), role as u8)
}

/// A step that a run takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Step {
    /// Whose, by its place among [`ROLES`].
    pub role: usize,
    pub name: String,
}

/// The page.
pub struct Tape(SharedWords);

impl Tape {
    /// Makes one for the next run in this sandbox: everybody may write to it.
    pub fn make() -> Self {
        let _ = std::fs::remove_file(PLACE);
        let tape = Self::open(OFlags::CREATE);
        tape.expect("a file in the sandbox")
    }

    fn open(more: OFlags) -> Option<Self> {
        let file = open(PLACE, OFlags::RDWR | OFlags::CLOEXEC | more, Mode::RUSR | Mode::WUSR).ok()?;
        if !more.is_empty() {
            ftruncate(&file, WORDS as u64 * 8).ok()?;
            fchmod(&file, Mode::from_raw_mode(0o666)).ok()?;
        }
        SharedWords::map(file.as_fd(), WORDS).ok().map(Self)
    }

    /// Has the run wait when it reaches a step for the `ordinal`th time from now on. Who waits already waits on.
    pub fn wait_at(&self, step: &Step, ordinal: u64) {
        self.0[WANTED].store(0, Ordering::Relaxed);
        self.0[REACHED].store(0, Ordering::Relaxed);
        self.0[STATE].store(NOBODY_WAITS, Ordering::Release);
        self.0[ORDINAL].store(ordinal, Ordering::Relaxed);
        self.0[WANTED].store(key(step.role as u64, &step.name), Ordering::Release);
    }

    /// Has nobody wait from now on, but steps be recorded.
    pub fn record(&self) {
        self.0[WANTED].store(0, Ordering::Relaxed);
    }

    /// Whether somebody waits.
    pub fn is_reached(&self) -> bool {
        self.0[STATE].load(Ordering::Acquire) == WAITS
    }

    /// The process that waits.
    pub fn who_waits(&self) -> Option<u32> {
        let waits = |pid: &u32| {
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
            names.map(|name| name.trim_end().to_owned()).any(|name| name.as_bytes() == WAITING.to_bytes())
        };
        proc::all().into_iter().find(waits)
    }

    /// Lets whoever waits go on, and nobody wait from now on.
    pub fn let_go(&self) {
        self.0[STATE].store(LET_GO, Ordering::Release);
    }

    /// What was recorded, in order.
    ///
    /// # Errors
    /// There was more than there is room for.
    pub fn recorded(&self) -> Result<Vec<Step>, String> {
        let count = self.0[RECORDED].load(Ordering::Relaxed) as usize;
        if count > RECORDS_MAX {
            return Err(format!("{count} steps are more than there is room for"));
        }
        let records = self.0[RECORDS..].chunks_exact(RECORD_WORDS).take(count);
        Ok(records.map(read).collect())
    }
}

fn read(record: &[AtomicU64]) -> Step {
    let head = record[0].load(Ordering::Relaxed);
    let mut bytes: Vec<u8> = record[1..].iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
    bytes.truncate(head as u32 as usize);
    Step { role: (head >> 32) as usize, name: String::from_utf8_lossy(&bytes).into_owned() }
}
