//! The boundary: libc's public symbols, defined in the executable.
//!
//! On a thread of a simulated host a symbol reaches the simulated kernel; on any other thread the genuine libc. Each
//! function is declared once, with [`hooks!`], in the file of its subject; the declaration makes the exported symbol,
//! the way to the genuine one, and the entry in the table through which images reach the original image's code.
//!
//! This room turns raw pointers into safe views and errnos into C's conventions. It decides nothing: `kernel` does.

pub(crate) mod user;

mod allocate;
mod change;
mod clock;
mod directory;
mod dl;
mod entropy;
pub(crate) mod entry;
mod env;
mod environment;
mod file;
mod filesystem;
mod futex;
mod handed;
mod io;
mod memory;
mod names;
mod poll;
mod pristine;
mod process;
pub(crate) mod real_calls;
pub(crate) mod real_clock;
mod real_page;
mod signal;
mod socket;
mod stdio;
mod sync;
mod terminal;
mod threads;
mod tsc;
mod users;
mod zone;

use crate::carrier::lent::{Lent, Resume, current};
use crate::carrier::switch;
use crate::kernel::{Call, Kernel, Step, Stop, ThreadId};
use libc::{c_int, c_void};

pub(crate) use signal::deliver_pending;
pub(crate) use threads::{StartThread, keys_outside, simulated, thread_main};

/// The calling thread's return addresses, innermost first.
pub(crate) fn backtrace(frames: &mut [usize]) -> usize {
    dl::backtrace(frames)
}

/// Bounds of the stack of the thread with this descriptor.
pub(crate) fn stack_bounds(pthread: usize) -> Option<(usize, usize)> {
    dl::stack_of(pthread)
}

/// Declares hooked libc functions. `$field` is this file's field in [`Table`].
///
/// ```text
/// hooks! { clock; fn clock_gettime(id: c_int, out: *mut timespec) -> c_int { …simulated… } }
/// ```
/// `@also(name)` gives a second symbol for the same code (`open64` for `open`); `@outside(path)` names the function
/// that answers outside of worlds instead of the genuine one, and `@real(f(fd))` a function of [`real_calls`] that is
/// given these and the genuine call, for all of the symbols.
macro_rules! hooks {
    ($field:ident; $(
        $(#[$meta:meta])* $(@also($($also:ident),+))? $(@outside($outside:path))?
        $(@real($real:ident($($given:expr),*)))?
        fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block
    )*) => {
        /// The simulated versions, as the original image defines them.
        pub(crate) struct Hooks { $($name: unsafe extern "C" fn($($ty),*) $(-> $ret)?,)* }
        pub(crate) const HOOKS: Hooks = Hooks { $($name: simulated::$name,)* };
        /// Keeps the symbols in the executable whatever the linker thinks of archives.
        pub(crate) fn keep() -> usize { 0 $(.max($name as *const () as usize))* }

        #[expect(clippy::undocumented_unsafe_blocks, reason = "SAFETY: callers of a libc function promise what its \
            man page asks of their pointers; the bodies rely on nothing else")]
        mod simulated {
            #[allow(unused_imports, clippy::allow_attributes, reason = "not every file needs all of it")]
            use super::*;
            $(
                #[allow(unused_unsafe, clippy::allow_attributes, reason = "not every body needs it")]
                pub(super) unsafe extern "C" fn $name($($arg: $ty),*) $(-> $ret)? { unsafe { $body } }
            )*
        }

        $(
            $crate::abi::hook_symbol!(
                $field, $name, $name, ($($arg: $ty),*), ($($ret)?),
                [$($outside)? $(real $real ($($given),*))?], $(#[$meta])*
            );
            $crate::abi::hook_also!(
                $field, $name, [$($($also)+)?], ($($arg: $ty),*), ($($ret)?), [$(real $real ($($given),*))?]
            );
        )*
    };
}
pub(crate) use hooks;

/// The further symbols of one hook, one after the other.
macro_rules! hook_also {
    ($field:ident, $name:ident, [], $args:tt, $ret:tt, $outside:tt) => {};
    ($field:ident, $name:ident, [$also:ident $($rest:ident)*], $args:tt, $ret:tt, $outside:tt) => {
        $crate::abi::hook_symbol!($field, $also, $name, $args, $ret, $outside, );
        $crate::abi::hook_also!($field, $name, [$($rest)*], $args, $ret, $outside);
    };
}
pub(crate) use hook_also;

macro_rules! hook_symbol {
    (
        $field:ident, $symbol:ident, $name:ident, ($($arg:ident: $ty:ty),*), ($($ret:ty)?), $outside:tt,
        $(#[$meta:meta])*
    ) => {
        $(#[$meta])*
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol($($arg: $ty),*) $(-> $ret)? {
            let lent = $crate::carrier::lent::current();
            // SAFETY: a non-null record is the running thread's own. The genuine symbol has the same type, and its
            // contract is the caller's to keep.
            unsafe {
                if !lent.is_null() {
                    return ((*lent).table.$field.$name)($($arg),*);
                }
                $crate::abi::hook_outside!($outside, $symbol, ($($arg: $ty),*), ($($ret)?))
            }
        }
    };
}
pub(crate) use hook_symbol;

/// What a hook does on a thread that belongs to no world.
macro_rules! hook_outside {
    (
        [real $real:ident ($($given:expr),*)], $symbol:ident, ($($arg:ident: $ty:ty),*), ($($ret:ty)?)
    ) => {
        $crate::abi::real_calls::$real(
            $($given,)*
            || $crate::abi::hook_outside!([], $symbol, ($($arg: $ty),*), ($($ret)?)),
        )
    };
    ([$outside:path], $symbol:ident, ($($arg:ident: $ty:ty),*), ($($ret:ty)?)) => { $outside($($arg),*) };
    ([], $symbol:ident, ($($arg:ident: $ty:ty),*), ($($ret:ty)?)) => {{
        static GENUINE: std::sync::atomic::AtomicPtr<libc::c_void> =
            std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());
        const NAME: &std::ffi::CStr =
            match std::ffi::CStr::from_bytes_with_nul(concat!(stringify!($symbol), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("a name with NUL"),
            };
        let f = $crate::carrier::real::lookup(NAME, &GENUINE);
        let f: unsafe extern "C" fn($($ty),*) $(-> $ret)? = std::mem::transmute(f);
        f($($arg),*)
    }};
}
pub(crate) use hook_outside;

macro_rules! table {
    ($($field:ident),* $(,)?) => {
        /// Every hook's simulated version. Built in the original image; images reach it through their threads.
        pub(crate) struct Table { $(pub(crate) $field: $field::Hooks,)* }
        /// The original image's table.
        pub(crate) static TABLE: Table = Table { $($field: $field::HOOKS,)* };
        /// Refers to every exported symbol, so that linking this crate means linking them.
        pub(crate) fn keep() -> usize { 0 $(.max($field::keep()))* }
    };
}
table!(
    allocate,
    change,
    clock,
    directory,
    dl,
    entropy,
    env,
    environment,
    file,
    filesystem,
    futex,
    io,
    memory,
    names,
    poll,
    process,
    signal,
    socket,
    stdio,
    sync,
    terminal,
    threads,
    users,
    zone
);

/// A call that a thread has made and the kernel has not answered yet.
pub(crate) struct Pending {
    run: unsafe fn(*mut c_void, &mut Kernel, ThreadId) -> Step,
    closure: *mut c_void,
    pub(crate) call: Call,
    /// The call only looks: it costs no time, is no scheduling point and leaves no trace in the digest.
    pub(crate) looking: bool,
}

/// The kernel's hold on a pending call.
///
/// The thread that made the call is suspended in it until the kernel answers and drops this, so the call and its
/// closure, which lie on the thread's stack, are alive and nobody else's.
#[derive(Clone, Copy)]
pub(crate) struct PendingRef(*const Pending);

#[expect(clippy::undocumented_unsafe_blocks, reason = "SAFETY: alive and exclusive, as argued at the type")]
impl PendingRef {
    /// Tries the call once more.
    #[inline]
    pub(crate) fn attempt(self, kernel: &mut Kernel, thread: ThreadId) -> Step {
        unsafe { ((*self.0).run)((*self.0).closure, kernel, thread) }
    }

    /// Which call it is.
    #[inline]
    pub(crate) fn call(self) -> Call {
        unsafe { (*self.0).call }
    }

    /// Whether it only looks.
    #[inline]
    pub(crate) fn looking(self) -> bool {
        unsafe { (*self.0).looking }
    }
}

/// Makes a call of the simulated kernel: blocks the simulated thread until it is answered.
///
/// The closure runs on the carrier, perhaps several times: whenever it answers [`Stop::Block`] the kernel tries it
/// again after the thread has been woken. Returns the value or a negated errno.
pub(crate) fn call<F>(name: &'static str, f: F) -> i64
where
    F: FnMut(&mut Kernel, ThreadId) -> Step,
{
    make_call(Call { name }, false, f)
}

/// Like [`call`], for what must not change the run: console output, questions about oneself.
pub(crate) fn look<F>(name: &'static str, f: F) -> i64
where
    F: FnMut(&mut Kernel, ThreadId) -> Step,
{
    make_call(Call { name }, true, f)
}

fn make_call<F>(name: Call, looking: bool, mut f: F) -> i64
where
    F: FnMut(&mut Kernel, ThreadId) -> Step,
{
    unsafe fn run<F: FnMut(&mut Kernel, ThreadId) -> Step>(f: *mut c_void, k: &mut Kernel, t: ThreadId) -> Step {
        // SAFETY: `make_call` passes a pointer to its own `F`.
        unsafe { (*f.cast::<F>())(k, t) }
    }
    let lent = current();
    let mut pending = Pending { run: run::<F>, closure: (&raw mut f).cast(), call: name, looking };
    loop {
        // SAFETY: hooks reach this only on a lent thread, whose record is its own; `pending` outlives the entry.
        let (resume, result) = unsafe {
            switch::enter(lent, entry::kernel_entry, (&raw mut pending).cast());
            ((*lent).resume, (*lent).result)
        };
        match resume {
            Resume::Done => {
                // SAFETY: as above.
                if !looking && unsafe { (*lent).signalled } {
                    deliver_pending();
                }
                return result;
            }
            Resume::Signal { restart } => {
                // signal(7): the call is restarted if the handler asked for it and the call can be; without a handler
                // it was not interrupted at all.
                if let Some(wanted) = deliver_pending()
                    && !(wanted && restart)
                {
                    return -i64::from(libc::EINTR);
                }
            }
            Resume::Backtrace => report_backtrace(lent),
        }
    }
}

/// Captures this thread's stack and hands it to the kernel.
fn report_backtrace(lent: *mut Lent) {
    let mut frames = [0usize; 128];
    let count = dl::backtrace(&mut frames);
    // SAFETY: the running thread's own record; the kernel is entered for the report only.
    unsafe {
        let mut report = (frames.as_ptr(), count);
        switch::enter(lent, entry::backtrace_entry, (&raw mut report).cast());
    }
}

/// Sets errno on the running thread and answers as system calls do: -1 for errors.
#[inline]
pub(crate) fn answer(result: i64) -> i64 {
    if result < 0 {
        // SAFETY: errno is the running thread's.
        unsafe { *libc::__errno_location() = -result as c_int };
        return -1;
    }
    result
}

/// [`answer`] for functions that return an `int`.
#[inline]
pub(crate) fn answer_int(result: i64) -> c_int {
    answer(result) as c_int
}

/// For pthread functions, which return the error number itself.
#[inline]
pub(crate) fn answer_error(result: i64) -> c_int {
    if result < 0 { -result as c_int } else { 0 }
}

/// Refuses a call that is not simulated: ends the case with a message that names call, caller and remedy.
pub(crate) fn refuse(name: &'static str, remedy: &'static str) -> i64 {
    call(name, |k, me| {
        k.refuse(me, name, remedy);
        Err(Stop::Block)
    })
}
