//! Signals of programs, and the faults that programs commit.
//!
//! A program's handlers are kept by the simulated kernel and called as plain functions, on the thread that a signal
//! reaches, when it is about to return from a call. Real signals exist for one purpose: a segmentation fault, an
//! illegal instruction or a trap of a simulated program ends its process, as it would really.

use super::{answer_error, answer_int, call, hooks, look, refuse};
use crate::carrier::lent::current;
use crate::carrier::{guard, real};
use crate::kernel::{Delivery, Disposition, Stop};
use crate::world::Exit;
use libc::{c_int, c_void, pthread_t, sigset_t, timespec};

/// What to do about signals that carry something.
const NO_VALUES: &str = "signals carry no values in a simulated world: use a pipe, or an eventfd";

/// A set's first word: glibc's `sigset_t` has room for more, Linux has 64 signals.
pub(super) unsafe fn word(set: *const sigset_t) -> Option<u64> {
    // SAFETY: null or valid.
    unsafe { set.cast::<u64>().as_ref() }.copied()
}

unsafe fn put_word(set: *mut sigset_t, value: u64) {
    if !set.is_null() {
        // SAFETY: the caller's set; the rest of it is cleared as the C library does.
        unsafe {
            std::ptr::write_bytes(set, 0, 1);
            *set.cast::<u64>() = value;
        }
    }
}

/// Runs the handlers of every signal that the calling thread has to handle. Answers whether the first one asked for
/// restarts (arch/x86/kernel/signal.c, `handle_signal`), or nothing when none ran.
///
/// A signal that the handler of another one does not mask interrupts that handler before it begins, as all of them are
/// set up before the program runs again: the last one runs first.
pub(crate) fn deliver_pending() -> Option<bool> {
    let mut restart = None;
    loop {
        let mut delivery: Option<Delivery> = None;
        look("signal", |k, me| {
            delivery = k.take_signal(me);
            Ok(0)
        });
        let Some(delivery) = delivery else { return restart };
        restart.get_or_insert(delivery.disposition.flags & libc::SA_RESTART != 0);
        deliver_pending();
        // SAFETY: the program registered this handler for this signal; errno belongs to the interrupted code.
        unsafe {
            let errno = *libc::__errno_location();
            run_handler(&delivery);
            *libc::__errno_location() = errno;
        }
        look("sigreturn", |k, me| {
            k.threads[me].signal_mask = delivery.old_mask;
            Ok(0)
        });
    }
}

unsafe fn run_handler(delivery: &Delivery) {
    let handler = delivery.disposition.handler;
    // SAFETY: of the type that the flags say (sigaction(2)).
    unsafe {
        if delivery.disposition.flags & libc::SA_SIGINFO != 0 {
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = std::mem::transmute(handler);
            let mut info: libc::siginfo_t = std::mem::zeroed();
            info.si_signo = delivery.signal;
            let mut context = std::mem::MaybeUninit::<libc::ucontext_t>::zeroed();
            handler(delivery.signal, &mut info, context.as_mut_ptr().cast());
        } else {
            let handler: extern "C" fn(c_int) = std::mem::transmute(handler);
            handler(delivery.signal);
        }
    }
}

/// tgkill(2), and without a process tkill(2).
pub(super) fn kill_thread(pid: Option<c_int>, tid: c_int, signal: c_int) -> i64 {
    call("tgkill", |k, me| {
        let target = k.by_tid(me, pid, tid)?;
        k.kill_thread(target, signal)
    })
}

fn set_action(signal: c_int, new: Option<Disposition>, old: &mut Disposition) -> i64 {
    look("sigaction", |k, me| k.sigaction(me, signal, new, old))
}

hooks! {
    signal;

    fn sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
        let action = new.as_ref().map(|a| Disposition {
            handler: a.sa_sigaction,
            flags: a.sa_flags,
            mask: word(&a.sa_mask).unwrap_or(0),
        });
        let mut before = Disposition::default();
        let answer = set_action(signal, action, &mut before);
        if let (0.., Some(old)) = (answer, old.as_mut()) {
            old.sa_sigaction = before.handler;
            old.sa_flags = before.flags;
            put_word(&mut old.sa_mask, before.mask);
        }
        answer_int(answer)
    }

    fn signal(signal: c_int, handler: usize) -> usize {
        // glibc's signal(3) has BSD semantics: restarts, and the signal masks itself.
        let mask = if (1..=64).contains(&signal) { 1 << (signal - 1) } else { 0 };
        let action = Disposition { handler, flags: libc::SA_RESTART, mask };
        let mut before = Disposition::default();
        let answer = set_action(signal, Some(action), &mut before);
        if crate::abi::answer(answer) < 0 { libc::SIG_ERR } else { before.handler }
    }

    fn pthread_sigmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
        let mut before = 0;
        let answer = look("pthread_sigmask", |k, me| k.sigmask(me, how, word(set), &mut before));
        put_word(old, before);
        deliver_pending();
        answer_error(answer)
    }

    fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
        let mut before = 0;
        let answer = look("sigprocmask", |k, me| k.sigmask(me, how, word(set), &mut before));
        put_word(old, before);
        deliver_pending();
        answer_int(answer)
    }

    fn sigpending(set: *mut sigset_t) -> c_int {
        put_word(set, look("sigpending", |k, me| Ok(k.sigpending(me) as i64)) as u64);
        0
    }

    fn sigsuspend(mask: *const sigset_t) -> c_int {
        let mask = word(mask);
        answer_int(call("pause", |k, me| k.suspend(me, mask)))
    }

    fn pause() -> c_int {
        answer_int(call("pause", |k, me| k.suspend(me, None)))
    }

    fn sigwait(set: *const sigset_t, signal: *mut c_int) -> c_int {
        let set = word(set).unwrap_or(0);
        let mut answer = -i64::from(libc::EINTR);
        while answer == -i64::from(libc::EINTR) {
            answer = call("sigwait", |k, me| k.sigwait(me, set, None)); // sysdeps/unix/sysv/linux/sigwait.c
        }
        if answer > 0 {
            *signal = answer as c_int;
        }
        answer_error(answer)
    }

    fn sigtimedwait(set: *const sigset_t, info: *mut libc::siginfo_t, timeout: *const timespec) -> c_int {
        let set = word(set).unwrap_or(0);
        let ns = match timeout.as_ref() {
            None => None,
            Some(timeout) => match crate::abi::clock::nanoseconds(timeout) {
                None => return answer_int(-i64::from(libc::EINVAL)),
                ns => ns,
            },
        };
        let answer = crate::abi::answer(call("sigtimedwait", |k, me| {
            let at = ns.map(|ns| k.after(me, ns as u64));
            k.sigwait(me, set, at)
        }));
        if let (1.., Some(info)) = (answer, info.as_mut()) {
            *info = std::mem::zeroed();
            info.si_signo = answer as c_int;
        }
        answer as c_int
    }

    fn sigwaitinfo(set: *const sigset_t, info: *mut libc::siginfo_t) -> c_int {
        libc::sigtimedwait(set, info, std::ptr::null())
    }

    fn kill(pid: c_int, signal: c_int) -> c_int {
        answer_int(call("kill", |k, me| k.kill(me, pid, signal)))
    }

    fn raise(signal: c_int) -> c_int {
        answer_int(call("raise", |k, me| k.kill_thread(me, signal)))
    }

    /// Without a value it is kill(2): handlers see the signal only.
    fn sigqueue(pid: c_int, signal: c_int, value: *mut c_void) -> c_int {
        if value.is_null() { libc::kill(pid, signal) } else { refuse("sigqueue", NO_VALUES) as c_int }
    }

    fn pthread_sigqueue(thread: pthread_t, signal: c_int, value: *mut c_void) -> c_int {
        if value.is_null() {
            libc::pthread_kill(thread, signal)
        } else {
            refuse("pthread_sigqueue", NO_VALUES) as c_int
        }
    }

    /// A host's process is a group of its own.
    fn killpg(group: c_int, signal: c_int) -> c_int {
        if group < 0 {
            return answer_int(-i64::from(libc::EINVAL));
        }
        answer_int(call("kill", |k, me| k.kill(me, if group == 0 { 0 } else { -group }, signal)))
    }

    fn siginterrupt(signal: c_int, interrupts: c_int) -> c_int {
        let mut action = Disposition::default();
        let mut answer = set_action(signal, None, &mut action);
        if answer == 0 {
            let restart = if interrupts == 0 { libc::SA_RESTART } else { 0 };
            let new = Disposition { flags: action.flags & !libc::SA_RESTART | restart, ..action };
            answer = set_action(signal, Some(new), &mut action);
        }
        answer_int(answer)
    }

    fn sigignore(signal: c_int) -> c_int {
        let ignore = Disposition { handler: libc::SIG_IGN, ..Disposition::default() };
        answer_int(set_action(signal, Some(ignore), &mut Disposition::default()))
    }

    fn pthread_kill(thread: pthread_t, signal: c_int) -> c_int {
        answer_error(call("pthread_kill", |k, _| {
            let target = k.by_pthread(thread)?;
            k.kill_thread(target, signal)
        }))
    }

    /// The carrier has one alternate stack for all; programs find theirs in place and need none.
    fn sigaltstack(_new: *const libc::stack_t, old: *mut libc::stack_t) -> c_int {
        if let Some(old) = old.as_mut() {
            old.ss_sp = std::ptr::dangling_mut::<u8>().cast();
            old.ss_flags = 0;
            old.ss_size = libc::SIGSTKSZ;
        }
        0
    }

    @real(asks())
    fn signalfd(_fd: c_int, _mask: *const sigset_t, _flags: c_int) -> c_int {
        crate::abi::refuse("signalfd", "use sigaction, as tokio and signal-hook do") as c_int
    }
}

/// The bytes of the alternate stack that the fault handlers run on.
const FAULT_STACK_BYTES: usize = 256 * 1024;

/// Real signals that a program's own instructions cause.
const FAULTS: [c_int; 6] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];

const WITHOUT_LIBC: &str = "the simulated kernel is beneath libc, and does not see such a call: use libc's function, \
    or the crate's feature for libc (rustix: `use-libc`)";

/// Makes faults of simulated programs end their process instead of the world, and lets a watcher ask for a report.
pub(crate) fn install_fault_handlers() {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: fresh memory for the stack, never freed; the handlers are of the SA_SIGINFO type.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let memory = libc::mmap(std::ptr::null_mut(), FAULT_STACK_BYTES, prot, flags, -1, 0);
        let stack = libc::stack_t { ss_sp: memory, ss_flags: 0, ss_size: FAULT_STACK_BYTES };
        real::sigaltstack(&stack, std::ptr::null_mut());
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_fault as *const () as usize;
        // SA_NODEFER: after a fault the handler is left by a context switch, never by sigreturn.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        for signal in FAULTS {
            real::sigaction(signal, &action, std::ptr::null_mut());
        }
        action.sa_sigaction = on_dump as *const () as usize;
        real::sigaction(crate::worker::DUMP_SIGNAL, &action, std::ptr::null_mut());
    }
    super::tsc::trap();
}

/// `siginfo_t` of a SIGSYS (sigaction(2)): behind signal, errno and code the address, then the call's number.
#[repr(C)]
struct SeccompInfo {
    head: [c_int; 4],
    address: usize,
    number: c_int,
}

/// A program has made a system call by an instruction of its own, and the guard has kept it from happening.
fn without_libc(number: c_int) {
    call("system call", |k, me| {
        k.refuse(me, &format!("system call {number}, made without libc"), WITHOUT_LIBC);
        Err(Stop::Block)
    });
}

/// A program's fault, or ours; or no fault at all, but a look at the time-stamp counter.
///
/// On a simulated thread the handler goes on as any hook would: it enters the kernel, which ends the process and never
/// comes back. On the carrier the fault is the kernel's own.
unsafe extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's arguments to a handler; on the carrier nobody else uses the simulated kernel.
    unsafe {
        if super::tsc::answer(signal, info, context) {
            return;
        }
        if signal == libc::SIGSYS && (*info).si_code == guard::SYS_SECCOMP && !current().is_null() {
            without_libc((*info.cast::<SeccompInfo>()).number);
        }
        let address = (*info).si_addr() as usize;
        if current().is_null() {
            if let Some(kernel) = super::entry::kernel() {
                let at = kernel.position();
                let text = format!("signal {signal} at {address:#x} inside windtunnel itself: please report this");
                kernel.sink.fatal(at, &text);
            }
            crate::worker::exit(125);
        }
        let mut frames = [0usize; 128];
        let count = super::dl::backtrace_of(context, &mut frames);
        call("fault", |k, me| {
            k.report_fault(me, signal, address, &frames[..count]);
            k.exit_by_itself(k.threads[me].process, Exit::Signal(signal));
            Err(Stop::Block)
        });
        real::die("a thread ran on after its process had ended");
    }
}

/// A watcher wants to know what the process is doing: report, then end.
unsafe extern "C" fn on_dump(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: as above; the process ends here.
    unsafe {
        let mut frames = [0usize; 128];
        let count = super::dl::backtrace_of(context, &mut frames);
        if current().is_null() {
            if let Some(kernel) = super::entry::kernel() {
                kernel.report_own_stack(&frames[..count]);
                let at = kernel.position();
                kernel.sink.fatal(at, "the wall-clock limit was reached inside the simulated kernel");
            }
            crate::worker::exit(124);
        }
        look("dump", |k, me| {
            k.report_stack(me, &frames[..count]);
            let (host, thread) = k.names_of_running();
            let text = format!("the wall-clock limit was reached while thread `{thread}` of host {host} was running");
            let at = k.position();
            k.sink.fatal(at, &text);
            crate::worker::exit(124)
        });
    }
}
