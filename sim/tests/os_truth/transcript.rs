//! Writing down what calls did.
//!
//! Lines go to memory that parent and child share, not to a descriptor: writing them makes no call, so it neither
//! disturbs descriptor numbers nor gives a simulated scheduler something to decide, and they outlive an abort.

use std::fmt::{Arguments, Display, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes that one script's lines may take.
const CAPACITY_BYTES: usize = 16 << 20;

/// Memory shared with forked children: a length, then text.
pub struct Shared(*mut u8);

// SAFETY: the length is atomic, and text is written only to what a thread has reserved with it.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub fn new() -> Shared {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: fresh memory.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), CAPACITY_BYTES, prot, flags, -1, 0) };
        assert_ne!(memory, libc::MAP_FAILED, "no shared memory for a transcript");
        Shared(memory.cast())
    }

    fn used(&self) -> &AtomicUsize {
        // SAFETY: mapped, aligned to a page, and zero at first.
        unsafe { &*self.0.cast::<AtomicUsize>() }
    }

    fn push(&self, line: &str) {
        let bytes = line.len() + 1;
        let at = self.used().fetch_add(bytes, Ordering::SeqCst) + size_of::<usize>();
        assert!(at + bytes <= CAPACITY_BYTES, "a transcript is too long");
        // SAFETY: reserved for this line, and in bounds.
        unsafe {
            std::ptr::copy_nonoverlapping(line.as_ptr(), self.0.add(at), line.len());
            self.0.add(at + line.len()).write(b'\n');
        }
    }

    /// Every line written so far.
    pub fn lines(&self) -> Vec<String> {
        let used = self.used().load(Ordering::SeqCst).min(CAPACITY_BYTES - size_of::<usize>());
        // SAFETY: written, and the writers are gone.
        let text = unsafe { std::slice::from_raw_parts(self.0.add(size_of::<usize>()), used) };
        String::from_utf8_lossy(text).lines().map(str::to_owned).collect()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`.
        unsafe { libc::munmap(self.0.cast(), CAPACITY_BYTES) };
    }
}

/// Names of values that differ from run to run: the first port is `port#1`, and so on.
#[derive(Default)]
struct Names(Vec<(&'static str, u64)>);

/// Where a script writes down what its calls did.
pub struct Transcript {
    shared: *const Shared,
    /// Microseconds after which the network is taken to be quiet.
    settle_us: u32,
    /// What the call just made is about, put in front of each line (`a pipe's end: `).
    prefix: Mutex<String>,
    names: Mutex<Names>,
    /// What is read is random: only its length is written down.
    random: AtomicBool,
}

// SAFETY: the shared memory outlives every script, as the parent waits for its child.
unsafe impl Send for Transcript {}
// SAFETY: `Shared` is `Sync`; the rest is behind mutexes.
unsafe impl Sync for Transcript {}

impl Transcript {
    /// A transcript for a script, which keeps it to its end: threads may hold on to it.
    pub fn leak(shared: &Shared, settle_us: u32) -> &'static Transcript {
        Box::leak(Box::new(Transcript {
            shared,
            settle_us,
            prefix: Mutex::default(),
            names: Mutex::default(),
            random: AtomicBool::new(false),
        }))
    }

    /// Writes a line.
    pub fn say(&self, text: impl Display) {
        let mut line = self.prefix.lock().expect("no script panics with it").clone();
        let _ = write!(line, "{text}");
        // SAFETY: alive, as argued above.
        unsafe { (*self.shared).push(&line) };
    }

    /// Puts `prefix` in front of the lines that follow.
    pub fn about(&self, prefix: &str) {
        *self.prefix.lock().expect("no script panics with it") = prefix.to_owned();
    }

    /// Writes down a call with its result: `call = value`, or `call = -1 ENAME`.
    pub fn returned(&self, call: Arguments<'_>, result: i64, errno: i32, out: &str) {
        if result < 0 {
            self.say(format_args!("{call} = -1 {}", errno_name(errno)));
        } else {
            self.say(format_args!("{call} = {result}{out}"));
        }
    }

    /// A stable name for a value that may differ between the sides; zero stays zero.
    pub fn name(&self, kind: &'static str, value: u64) -> String {
        if value == 0 {
            return "0".to_owned();
        }
        let names = &mut self.names.lock().expect("no script panics with it").0;
        if !names.contains(&(kind, value)) {
            names.push((kind, value));
        }
        let at = names.iter().filter(|(k, _)| *k == kind).position(|(_, v)| *v == value).unwrap_or(0);
        format!("{kind}#{}", at + 1)
    }

    /// Forgets every name: what follows has nothing to do with what was before.
    pub fn forget_names(&self) {
        self.names.lock().expect("no script panics with it").0.clear();
    }

    /// Says whether what is read from now on is random.
    pub fn expect_random(&self, random: bool) {
        self.random.store(random, Ordering::Relaxed);
    }

    /// What was read, unless it is random.
    pub fn content(&self, bytes: &[u8]) -> String {
        if self.random.load(Ordering::Relaxed) { " (random)".to_owned() } else { crate::calls::bytes(bytes) }
    }

    /// Waits until what was sent has arrived. Loopback delivers within the call nearly always; a difference is only
    /// reported when it shows after a long wait, too.
    pub fn settle(&self) {
        // SAFETY: no pointer.
        unsafe { libc::usleep(self.settle_us) };
    }
}

/// Makes a call and keeps its errno before anything else can change it.
macro_rules! outcome {
    ($call:expr) => {{
        let result = $call;
        // SAFETY: errno is the running thread's.
        let errno = unsafe { *libc::__errno_location() };
        (result as i64, errno)
    }};
}
pub(crate) use outcome;

/// Makes a call and writes it down; the text is the call as it should be read. Answers the result.
macro_rules! record {
    ($t:expr, $call:expr, $($text:tt)+) => {{
        let (result, errno) = $crate::transcript::outcome!($call);
        $t.returned(format_args!($($text)+), result, errno, "");
        result
    }};
}
pub(crate) use record;

/// An errno's name.
pub fn errno_name(errno: i32) -> String {
    macro_rules! names {
        ($($name:ident)*) => {
            match errno {
                $(libc::$name => stringify!($name).to_owned(),)*
                other => format!("errno {other}"),
            }
        };
    }
    names! {
        EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST
        EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM
        ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ETIME EPROTO EBADMSG EOVERFLOW ENOTSOCK EDESTADDRREQ
        EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE
        EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN
        ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EOWNERDEAD
        ENOTRECOVERABLE ECANCELED
    }
}
