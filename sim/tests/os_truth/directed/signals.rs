//! signal(7): dispositions, masks, who handles what, what is restarted.

use super::pause;
use crate::compare::{Weathers, script};
use crate::transcript::{Transcript, outcome, record};
use libc::{
    SA_NODEFER, SA_RESETHAND, SA_RESTART, SA_SIGINFO, SIG_BLOCK, SIG_DFL, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, SIGCHLD,
    SIGKILL, SIGPIPE, SIGSTOP, SIGTERM, SIGURG, SIGUSR1, SIGUSR2, c_int, sigset_t,
};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Signals handled so far, a hexadecimal digit pair each, the last one lowest.
static HANDLED: AtomicU64 = AtomicU64::new(0);
static DEPTH: Mutex<()> = Mutex::new(());

extern "C" fn on_signal(signal: c_int) {
    let before = HANDLED.load(Ordering::SeqCst);
    HANDLED.store(before << 8 | signal as u64, Ordering::SeqCst);
}

/// Raises a second signal within the first one's handler, and notes what was handled when it returns.
extern "C" fn on_signal_raising(signal: c_int) {
    on_signal(signal);
    if HANDLED.load(Ordering::SeqCst) & 0xffff == signal as u64 {
        // SAFETY: no pointer.
        unsafe { libc::raise(signal) };
        on_signal(0x40);
    }
}

extern "C" fn on_signal_info(signal: c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: given by the kernel.
    let same = unsafe { (*info).si_signo } == signal;
    on_signal(if same { signal } else { 0xff });
}

/// What was handled since the last question.
pub fn handled() -> String {
    format!("{:#x}", HANDLED.swap(0, Ordering::SeqCst))
}

fn act(signal: c_int, handler: usize, flags: c_int, mask: u64) -> i32 {
    // SAFETY: a valid action.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        action.sa_mask = set(mask);
        libc::sigaction(signal, &action, null_mut())
    }
}

/// Handles a signal by counting it.
pub fn handle(signal: c_int, flags: c_int) {
    assert_eq!(act(signal, on_signal as *const () as usize, flags, 0), 0);
}

/// Blocks a signal in the calling thread.
pub fn block(signal: c_int) {
    unsafe { libc::pthread_sigmask(SIG_BLOCK, &set(bit(signal)), null_mut()) };
}

/// A set of the signals whose bits are set (bit n-1 for signal n).
fn set(bits: u64) -> sigset_t {
    // SAFETY: plain words.
    unsafe {
        let mut set: sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in (1..=64).filter(|s| bits >> (s - 1) & 1 == 1) {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

fn bits(of: &sigset_t) -> u64 {
    // SAFETY: a valid set.
    (1..=64).filter(|s| unsafe { libc::sigismember(of, *s) } == 1).map(|s| 1 << (s - 1)).sum()
}

fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

fn mask(t: &Transcript, how: c_int, change: u64) -> u64 {
    let mut old = set(0);
    // SAFETY: valid sets.
    let (result, _) = outcome!(unsafe { libc::pthread_sigmask(how, &set(change), &mut old) });
    t.say(format_args!("pthread_sigmask({how}, {change:#x}) = {result}, was {:#x}", bits(&old)));
    bits(&old)
}

fn pending(t: &Transcript) {
    let mut waiting = set(0);
    // SAFETY: a valid set.
    record!(t, unsafe { libc::sigpending(&mut waiting) }, "sigpending()");
    t.say(format_args!("pending {:#x}, handled {}", bits(&waiting), handled()));
}

fn raise(t: &Transcript, signal: c_int) {
    record!(t, unsafe { libc::raise(signal) }, "raise({signal})");
    t.say(format_args!("handled {}", handled()));
}

/// Sends a signal to the main thread after a while.
fn send_later(signal: c_int) -> std::thread::JoinHandle<i32> {
    // SAFETY: the main thread lives until it has joined this one.
    let main = unsafe { libc::pthread_self() } as usize;
    std::thread::spawn(move || {
        pause(30);
        // SAFETY: as above.
        unsafe { libc::pthread_kill(main as libc::pthread_t, signal) }
    })
}

fn timespec(ms: i64) -> libc::timespec {
    libc::timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 }
}

script! { Weathers::Calm;
    fn dispositions(t) {
        let old = |t: &Transcript, signal: c_int| {
            // SAFETY: room for the answer.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: as above.
            let (result, errno) = outcome!(unsafe { libc::sigaction(signal, null(), &mut action) });
            let handler = match action.sa_sigaction {
                SIG_DFL => "default",
                SIG_IGN => "ignored",
                _ => "a handler",
            };
            // The C library adds SA_RESTORER.
            let (flags, mask) = (action.sa_flags & !0x400_0000, bits(&action.sa_mask));
            let out = format!(" {handler}, flags {flags:#x}, mask {mask:#x}");
            t.returned(format_args!("sigaction({signal}, query)"), result, errno, &out);
        };
        for signal in [SIGTERM, SIGPIPE, SIGUSR1, SIGKILL, 64, 65, 0, -1] {
            old(t, signal);
        }
        for signal in [SIGKILL, SIGSTOP, 0, 65, -1] {
            record!(t, act(signal, SIG_IGN, 0, 0), "sigaction({signal}, ignore)");
        }
        record!(t, act(SIGUSR1, on_signal as *const () as usize, SA_RESTART | SA_NODEFER, 0x30ff), "sigaction(USR1)");
        old(t, SIGUSR1);
        // SAFETY: a valid handler.
        let before = unsafe { libc::signal(SIGUSR2, on_signal as *const () as usize) };
        t.say(format_args!("signal(USR2) was the default: {}", before == SIG_DFL));
        old(t, SIGUSR2);
        // SAFETY: as above.
        t.say(format_args!("signal(KILL) fails: {}", unsafe { libc::signal(SIGKILL, SIG_IGN) } == libc::SIG_ERR));
    }

    fn raising(t) {
        handle(SIGUSR1, 0);
        raise(t, SIGUSR1);
        raise(t, 0);
        raise(t, 99);
        raise(t, -1);
        act(SIGUSR1, SIG_IGN, 0, 0);
        raise(t, SIGUSR1);
        raise(t, SIGCHLD);
        raise(t, SIGURG);
        raise(t, libc::SIGCONT);
        act(SIGUSR1, on_signal_info as *const () as usize, SA_SIGINFO, 0);
        raise(t, SIGUSR1);
    }

    fn masks(t) {
        mask(t, SIG_BLOCK, 0);
        mask(t, SIG_BLOCK, bit(SIGUSR1) | bit(SIGUSR2));
        mask(t, SIG_UNBLOCK, bit(SIGUSR1) | bit(SIGTERM));
        mask(t, SIG_SETMASK, !(bit(32) | bit(33)));
        mask(t, SIG_SETMASK, bit(SIGKILL) | bit(SIGSTOP) | bit(SIGTERM));
        mask(t, SIG_SETMASK, 0);
        mask(t, 3, 0);
        mask(t, -1, 0);
        // SAFETY: valid sets or null.
        let mut old = set(0);
        record!(t, unsafe { libc::pthread_sigmask(77, null(), &mut old) }, "pthread_sigmask(77, query)");
        record!(t, unsafe { libc::sigprocmask(77, &set(1), &mut old) }, "sigprocmask(77)");
    }

    fn pending_until_unblocked(t) {
        handle(SIGUSR1, 0);
        handle(SIGUSR2, 0);
        mask(t, SIG_BLOCK, bit(SIGUSR1) | bit(SIGUSR2));
        pending(t);
        raise(t, SIGUSR2);
        raise(t, SIGUSR1);
        raise(t, SIGUSR1);
        pending(t);
        mask(t, SIG_UNBLOCK, bit(SIGUSR2));
        pending(t);
        mask(t, SIG_SETMASK, 0);
        pending(t);
        mask(t, SIG_BLOCK, bit(SIGUSR1));
        raise(t, SIGUSR1);
        act(SIGUSR1, SIG_IGN, 0, 0);
        pending(t);
        raise(t, SIGUSR1);
        pending(t);
        handle(SIGUSR1, 0);
        mask(t, SIG_SETMASK, 0);
        pending(t);
        mask(t, SIG_BLOCK, bit(SIGCHLD));
        raise(t, SIGCHLD);
        pending(t);
        mask(t, SIG_SETMASK, 0);
        pending(t);
    }

    /// Several at once run lowest number first, each within the one before it unless masked.
    fn several_at_once(t) {
        for signal in [SIGUSR1, SIGUSR2, SIGTERM, libc::SIGHUP] {
            handle(signal, 0);
        }
        let all = bit(SIGUSR1) | bit(SIGUSR2) | bit(SIGTERM) | bit(libc::SIGHUP);
        mask(t, SIG_BLOCK, all);
        for signal in [SIGTERM, SIGUSR2, libc::SIGHUP, SIGUSR1] {
            raise(t, signal);
        }
        mask(t, SIG_SETMASK, 0);
        t.say(format_args!("handled {}", handled()));
        let handler = on_signal as *const () as usize;
        for signal in [SIGUSR1, SIGUSR2, SIGTERM, libc::SIGHUP] {
            act(signal, handler, 0, all);
        }
        mask(t, SIG_BLOCK, all);
        for signal in [SIGTERM, SIGUSR2, libc::SIGHUP, SIGUSR1] {
            raise(t, signal);
        }
        mask(t, SIG_SETMASK, 0);
        t.say(format_args!("handled {}", handled()));
    }

    fn nested_or_deferred(t) {
        let _one_at_a_time = DEPTH.lock();
        let handler = on_signal_raising as *const () as usize;
        act(SIGUSR1, handler, 0, 0);
        raise(t, SIGUSR1);
        act(SIGUSR1, handler, SA_NODEFER, 0);
        raise(t, SIGUSR1);
    }

    fn reset_after_the_first(t) {
        handle(SIGURG, SA_RESETHAND);
        raise(t, SIGURG);
        raise(t, SIGURG);
        // SAFETY: room for the answer.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        record!(t, unsafe { libc::sigaction(SIGURG, null(), &mut action) }, "sigaction(URG, query)");
        t.say(format_args!("default again: {}", action.sa_sigaction == SIG_DFL));
    }

    fn killing(t) {
        handle(SIGUSR1, 0);
        // SAFETY (all): no pointers.
        let pid = unsafe { libc::getpid() };
        for (who, target) in [("itself", pid), ("its group or all", 0)] {
            if target == 0 {
                continue; // a group is more than the process where the tests run
            }
            record!(t, unsafe { libc::kill(target, SIGUSR1) }, "kill({who}, USR1)");
            t.say(format_args!("handled {}", handled()));
            record!(t, unsafe { libc::kill(target, 0) }, "kill({who}, 0)");
            record!(t, unsafe { libc::kill(target, 99) }, "kill({who}, 99)");
        }
        record!(t, unsafe { libc::kill(0x3fff_fff0, 0) }, "kill(nobody, 0)");
        record!(t, unsafe { libc::kill(0x3fff_fff0, 99) }, "kill(nobody, 99)");
        let tid = unsafe { libc::gettid() };
        t.say(format_args!("the main thread's id is the process's: {}", tid == pid));
        let tgkill = |pid: c_int, tid: c_int, n: c_int| unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, n) };
        record!(t, tgkill(pid, tid, SIGUSR1), "tgkill(itself)");
        t.say(format_args!("handled {}", handled()));
        record!(t, tgkill(pid, 0x3fff_fff0, SIGUSR1), "tgkill(nobody)");
        record!(t, tgkill(pid, -1, SIGUSR1), "tgkill(-1)");
        record!(t, tgkill(-1, tid, SIGUSR1), "tgkill of a process -1");
        record!(t, tgkill(0x3fff_fff0, tid, SIGUSR1), "tgkill of another process's");
        record!(t, tgkill(pid, tid, 99), "tgkill(itself, 99)");
        let me = unsafe { libc::pthread_self() };
        record!(t, unsafe { libc::pthread_kill(me, 0) }, "pthread_kill(self, 0)");
        record!(t, unsafe { libc::pthread_kill(me, 99) }, "pthread_kill(self, 99)");
        record!(t, unsafe { libc::pthread_kill(me, SIGUSR1) }, "pthread_kill(self, USR1)");
        t.say(format_args!("handled {}", handled()));
    }

    fn queueing_and_switching_restarts(t) {
        unsafe extern "C" {
            fn siginterrupt(signal: c_int, interrupts: c_int) -> c_int;
            fn sigignore(signal: c_int) -> c_int;
        }
        handle(SIGUSR1, SA_RESTART);
        let value = || libc::sigval { sival_ptr: null_mut() };
        let pid = unsafe { libc::getpid() };
        record!(t, unsafe { libc::sigqueue(pid, SIGUSR1, value()) }, "sigqueue(itself)");
        t.say(format_args!("handled {}", handled()));
        record!(t, unsafe { libc::sigqueue(pid, 99, value()) }, "sigqueue(itself, 99)");
        record!(t, unsafe { libc::sigqueue(0x3fff_fff0, SIGUSR1, value()) }, "sigqueue(nobody)");
        record!(t, unsafe { libc::killpg(-1, 0) }, "killpg(-1)");
        let flags = |t: &Transcript| {
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            unsafe { libc::sigaction(SIGUSR1, null(), &mut action) };
            let restarts = action.sa_flags & SA_RESTART != 0;
            t.say(format_args!("restarts: {restarts}, ignored: {}", action.sa_sigaction == SIG_IGN));
        };
        flags(t);
        record!(t, unsafe { siginterrupt(SIGUSR1, 1) }, "siginterrupt(USR1, 1)");
        flags(t);
        record!(t, unsafe { siginterrupt(SIGUSR1, 0) }, "siginterrupt(USR1, 0)");
        flags(t);
        record!(t, unsafe { sigignore(SIGUSR1) }, "sigignore(USR1)");
        flags(t);
        record!(t, unsafe { siginterrupt(99, 1) }, "siginterrupt(99, 1)");
        record!(t, unsafe { sigignore(SIGKILL) }, "sigignore(KILL)");
    }

    /// What a handler without SA_RESTART ends, and what it does not with it.
    fn interrupted_or_restarted(t) {
        for flags in [0, SA_RESTART] {
            handle(SIGUSR1, flags);
            t.about(if flags == 0 { "plain: " } else { "restarting: " });
            let (reader, writer) = t.pipe(0);
            let sender = send_later(SIGUSR1);
            if flags == SA_RESTART {
                let fill = std::thread::spawn(move || {
                    pause(80);
                    // SAFETY: four bytes.
                    unsafe { libc::write(writer, b"late".as_ptr().cast(), 4) }
                });
                t.read(reader, 8);
                let _ = fill.join();
            } else {
                t.read(reader, 8);
            }
            let _ = sender.join();
            let epoll = t.epoll();
            let sender = send_later(SIGUSR1);
            t.epoll_wait(epoll, 4, 10_000);
            let _ = sender.join();
            let sender = send_later(SIGUSR1);
            t.poll(reader, crate::calls::readiness::IN, 10_000);
            let _ = sender.join();
            let sender = send_later(SIGUSR1);
            let mut left = timespec(0);
            record!(t, unsafe { libc::nanosleep(&timespec(10_000), &mut left) }, "nanosleep(10 s)");
            t.say(format_args!("nearly all is left: {}", left.tv_sec >= 9));
            let _ = sender.join();
            let sender = send_later(SIGUSR1);
            let long = timespec(10_000);
            let sleep = || unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &long, null_mut()) };
            record!(t, sleep(), "clock_nanosleep(10 s)");
            let _ = sender.join();
            t.select(reader, 0);
            t.say(format_args!("handled {}", handled()));
            t.close_all();
        }
    }

    /// read(2): what has been transferred when the signal comes is what is answered.
    fn a_write_that_was_interrupted_half_way(t) {
        handle(SIGUSR1, SA_RESTART);
        let (_reader, writer) = t.pipe(0);
        let sender = send_later(SIGUSR1);
        t.write(writer, &[b'w'; 100_000]);
        let _ = sender.join();
        t.say(format_args!("handled {}", handled()));
    }

    fn pausing(t) {
        handle(SIGUSR1, SA_RESTART);
        let sender = send_later(SIGUSR1);
        record!(t, unsafe { libc::pause() }, "pause()");
        let _ = sender.join();
        t.say(format_args!("handled {}", handled()));
    }

    fn suspended_with_another_mask(t) {
        handle(SIGUSR1, 0);
        handle(SIGUSR2, 0);
        mask(t, SIG_BLOCK, bit(SIGUSR1) | bit(SIGUSR2));
        raise(t, SIGUSR1);
        record!(t, unsafe { libc::sigsuspend(&set(bit(SIGUSR2))) }, "sigsuspend(USR2)");
        pending(t);
        mask(t, SIG_BLOCK, 0);
        raise(t, SIGUSR2);
        let sender = send_later(SIGUSR1);
        record!(t, unsafe { libc::sigsuspend(&set(bit(SIGUSR2))) }, "sigsuspend(USR2)");
        let _ = sender.join();
        pending(t);
        mask(t, SIG_SETMASK, 0);
        pending(t);
    }

    fn waiting_for_signals(t) {
        handle(SIGUSR1, 0);
        let wanted = bit(SIGUSR1) | bit(SIGUSR2);
        mask(t, SIG_BLOCK, wanted);
        raise(t, SIGUSR2);
        raise(t, SIGUSR1);
        let mut signal = 0;
        record!(t, unsafe { libc::sigwait(&set(wanted), &mut signal) }, "sigwait()");
        t.say(format_args!("got {signal}"));
        record!(t, unsafe { libc::sigtimedwait(&set(wanted), null_mut(), &timespec(0)) }, "sigtimedwait(0)");
        record!(t, unsafe { libc::sigtimedwait(&set(wanted), null_mut(), &timespec(0)) }, "sigtimedwait(0)");
        super::at_least(t, 20, || {
            record!(t, unsafe { libc::sigtimedwait(&set(wanted), null_mut(), &timespec(20)) }, "sigtimedwait(20 ms)");
        });
        let broken = libc::timespec { tv_sec: 0, tv_nsec: -1 };
        record!(t, unsafe { libc::sigtimedwait(&set(wanted), null_mut(), &broken) }, "sigtimedwait(-1)");
        let sender = send_later(SIGUSR2);
        record!(t, unsafe { libc::sigwait(&set(wanted), &mut signal) }, "sigwait()");
        t.say(format_args!("got {signal}"));
        let _ = sender.join();
        // SAFETY: room for the answer.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        raise(t, SIGUSR1);
        record!(t, unsafe { libc::sigwaitinfo(&set(wanted), &mut info) }, "sigwaitinfo()");
        t.say(format_args!("about {}", info.si_signo));
        handle(libc::SIGHUP, SA_RESTART);
        let sender = send_later(libc::SIGHUP);
        record!(t, unsafe { libc::sigtimedwait(&set(wanted), null_mut(), &timespec(10_000)) }, "sigtimedwait(10 s)");
        let _ = sender.join();
        t.say(format_args!("handled {}", handled()));
    }

    /// A signal for the process goes to a thread that does not block it; one for a thread waits for that thread.
    fn threads_and_the_process(t) {
        handle(SIGUSR1, 0);
        mask(t, SIG_BLOCK, bit(SIGUSR1));
        let blocked = std::thread::spawn(|| {
            // SAFETY: room for the answer.
            let mut inherited = set(0);
            // SAFETY: as above.
            unsafe { libc::pthread_sigmask(SIG_BLOCK, null(), &mut inherited) };
            bits(&inherited)
        });
        t.say(format_args!("a thread inherits the mask {:#x?}", blocked.join().ok()));
        record!(t, unsafe { libc::kill(libc::getpid(), SIGUSR1) }, "kill(itself, USR1)");
        pending(t);
        let open = std::thread::spawn(|| {
            // SAFETY: valid sets.
            unsafe { libc::pthread_sigmask(SIG_SETMASK, &set(0), null_mut()) };
            handled()
        });
        t.say(format_args!("the thread that opened its mask handled {:?}", open.join().ok()));
        pending(t);
        raise(t, SIGUSR1);
        let open = std::thread::spawn(|| {
            // SAFETY: valid sets.
            unsafe { libc::pthread_sigmask(SIG_SETMASK, &set(0), null_mut()) };
            handled()
        });
        t.say(format_args!("another thread handled {:?}", open.join().ok()));
        pending(t);
        mask(t, SIG_SETMASK, 0);
        pending(t);
    }

    /// write(2): `SIGPIPE` comes with `EPIPE`, unless it is ignored, as in a Rust program.
    fn broken_pipes(t) {
        handle(SIGPIPE, 0);
        let (reader, writer) = t.pipe(0);
        t.close(reader);
        t.write(writer, b"x");
        t.say(format_args!("handled {}", handled()));
        mask(t, SIG_BLOCK, bit(SIGPIPE));
        t.write(writer, b"x");
        pending(t);
        mask(t, SIG_SETMASK, 0);
        pending(t);
        act(SIGPIPE, SIG_IGN, 0, 0);
        t.write(writer, b"x");
        t.say(format_args!("handled {}", handled()));
    }
}
