//! Processes: identity, exit, and the calls that are refused because a host is one process.

use super::{answer_int, call, hooks, look, refuse};
use crate::carrier::real;
use crate::kernel::Stop;
use crate::world::Exit;
use libc::{c_char, c_int, c_long, c_void, rlimit};

/// Ends the calling process: exit handlers, then the kernel.
pub(crate) fn exit_program(code: c_int) -> ! {
    loop {
        let mut handler = None;
        look("exit handlers", |k, me| {
            let process = k.threads[me].process;
            handler = k.processes[process].at_exit.pop();
            Ok(0)
        });
        let Some((function, argument)) = handler else { break };
        // SAFETY: registered by the program for this moment (atexit(3): last in, first out).
        unsafe {
            let function: extern "C" fn(*mut c_void) = std::mem::transmute(function);
            function(argument as *mut c_void);
        }
    }
    exit_now(code)
}

fn exit_now(code: c_int) -> ! {
    call("exit", |k, me| k.exit_process(me, code));
    real::die("a thread ran on after its process had ended")
}

/// Fills a CPU set of `bytes` bytes; answers how many of them mean something, as the system call does, or a negated
/// errno.
pub(super) fn put_affinity(bytes: usize, set: *mut c_void) -> i64 {
    let cpus = look("sched_getaffinity", |k, _| Ok(i64::from(k.cpus))) as usize;
    // sched_setaffinity(2): whole words, and enough of them.
    if !bytes.is_multiple_of(size_of::<usize>()) || bytes * 8 < cpus {
        return -i64::from(libc::EINVAL);
    }
    // SAFETY: the caller's set of that size.
    unsafe {
        std::ptr::write_bytes(set.cast::<u8>(), 0, bytes);
        for cpu in 0..cpus.min(bytes * 8) {
            *set.cast::<u8>().add(cpu / 8) |= 1 << (cpu % 8);
        }
    }
    bytes.min(8) as i64
}

/// getrlimit(2), setrlimit(2), prlimit(2).
unsafe fn limits(resource: c_int, new: *const rlimit, old: *mut rlimit) -> c_int {
    let mut before = rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: null or the caller's.
    let new = unsafe { new.as_ref() };
    let answer = look("prlimit", |k, me| {
        let process = k.threads[me].process;
        before = k.processes[process].limits.get(resource)?;
        match new {
            Some(new) => {
                k.processes[process].limits.set(resource, *new)?;
                k.table(me).limit = k.processes[process].limits.descriptors();
                Ok(0)
            }
            None => Ok(0),
        }
    });
    // SAFETY: as above.
    if let (0, Some(old)) = (answer, unsafe { old.as_mut() }) {
        *old = before;
    }
    answer_int(answer)
}

const CHILDREN: &str = "hosts are single processes: run the other program as a host of its own";

hooks! {
    process;

    fn exit(code: c_int) { exit_program(code) }
    @also(_Exit, quick_exit)
    fn _exit(code: c_int) { exit_now(code) }

    fn abort() {
        call("abort", |k, me| {
            let process = k.threads[me].process;
            k.exit_by_itself(process, Exit::Signal(libc::SIGABRT));
            Err(Stop::Block)
        });
    }

    fn __cxa_atexit(handler: usize, argument: *mut c_void, _object: *mut c_void) -> c_int {
        look("atexit", |k, me| {
            let process = k.threads[me].process;
            k.processes[process].at_exit.push((handler, argument as usize));
            Ok(0)
        });
        0
    }

    fn getpid() -> c_int { look("getpid", |k, me| Ok(i64::from(k.processes[k.threads[me].process].pid))) as c_int }
    fn getppid() -> c_int { 1 }
    fn getpgrp() -> c_int { libc::getpid() }
    fn getpgid(_pid: c_int) -> c_int { libc::getpid() }
    fn getsid(_pid: c_int) -> c_int { libc::getpid() }
    fn setsid() -> c_int { answer_int(-i64::from(libc::EPERM)) }

    @outside(crate::abi::pristine::sched_getaffinity)
    fn sched_getaffinity(_pid: c_int, bytes: usize, set: *mut c_void) -> c_int {
        answer_int(put_affinity(bytes, set).min(0))
    }
    fn sched_setaffinity(_pid: c_int, _bytes: usize, _set: *const c_void) -> c_int { 0 }
    fn sched_getcpu() -> c_int { 0 }
    fn sched_setscheduler(_pid: c_int, _policy: c_int, _parameter: *const c_void) -> c_int { 0 }
    fn nice(_increment: c_int) -> c_int { 0 }
    fn getpriority(_which: c_int, _who: c_int) -> c_int { 0 }
    fn setpriority(_which: c_int, _who: c_int, _priority: c_int) -> c_int { 0 }

    @also(getrlimit64)
    fn getrlimit(resource: c_int, out: *mut rlimit) -> c_int {
        limits(resource, std::ptr::null(), out)
    }
    @also(setrlimit64)
    fn setrlimit(resource: c_int, limit: *const rlimit) -> c_int {
        limits(resource, limit, std::ptr::null_mut())
    }
    @also(prlimit64)
    fn prlimit(pid: c_int, resource: c_int, new: *const rlimit, old: *mut rlimit) -> c_int {
        if pid != 0 && pid != libc::getpid() {
            return answer_int(-i64::from(libc::ESRCH));
        }
        limits(resource, new, old)
    }

    fn getrusage(_who: c_int, out: *mut libc::rusage) -> c_int {
        std::ptr::write_bytes(out, 0, 1);
        0
    }

    /// Names of threads are the only part of prctl(2) that programs need here.
    fn prctl(option: c_int, a: usize, _b: usize, _c: usize, _d: usize) -> c_int {
        match option {
            libc::PR_SET_NAME => {
                // prctl(2): cut silently, where pthread_setname_np(3) refuses.
                let mut name = [0 as c_char; 16];
                let text = std::ffi::CStr::from_ptr(a as *const c_char).to_bytes();
                let count = text.len().min(name.len() - 1);
                std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name.as_mut_ptr(), count);
                libc::pthread_setname_np(libc::pthread_self(), name.as_ptr())
            }
            libc::PR_GET_NAME => libc::pthread_getname_np(libc::pthread_self(), a as *mut c_char, 16),
            libc::PR_SET_PDEATHSIG | libc::PR_SET_DUMPABLE | libc::PR_SET_NO_NEW_PRIVS
            | libc::PR_SET_TIMERSLACK | libc::PR_SET_CHILD_SUBREAPER => 0,
            _ => answer_int(-i64::from(libc::EINVAL)),
        }
    }

    @real(splits())
    fn fork() -> c_int { refuse("fork", CHILDREN) as c_int }
    fn vfork() -> c_int { refuse("vfork", CHILDREN) as c_int }
    fn execve(_path: *const c_char, _argv: usize, _envp: usize) -> c_int { refuse("execve", CHILDREN) as c_int }
    fn execvp(_path: *const c_char, _argv: usize) -> c_int { refuse("execvp", CHILDREN) as c_int }
    fn execv(_path: *const c_char, _argv: usize) -> c_int { refuse("execv", CHILDREN) as c_int }
    fn fexecve(_fd: c_int, _argv: usize, _envp: usize) -> c_int { refuse("fexecve", CHILDREN) as c_int }
    @real(splits_for_error())
    fn posix_spawn(_p: usize, _q: usize, _r: usize, _s: usize, _t: usize, _u: usize) -> c_int {
        refuse("posix_spawn", CHILDREN) as c_int
    }
    @real(splits_for_error())
    fn posix_spawnp(_p: usize, _q: usize, _r: usize, _s: usize, _t: usize, _u: usize) -> c_int {
        refuse("posix_spawnp", CHILDREN) as c_int
    }
    fn system(_command: *const c_char) -> c_int { refuse("system", CHILDREN) as c_int }
    fn daemon(_stay: c_int, _keep: c_int) -> c_int { refuse("daemon", "hosts run in the foreground") as c_int }
    fn wordexp(_words: *const c_char, _out: usize, _flags: c_int) -> c_int { refuse("wordexp", CHILDREN) as c_int }
    fn execvpe(_path: *const c_char, _argv: usize, _envp: usize) -> c_int { refuse("execvpe", CHILDREN) as c_int }
    fn clone(_function: usize, _stack: usize, _flags: c_int, _argument: usize) -> c_int {
        refuse("clone", CHILDREN) as c_int
    }
    /// unshare(2), setns(2): services lack CAP_SYS_ADMIN.
    fn unshare(_flags: c_int) -> c_int { answer_int(-i64::from(libc::EPERM)) }
    fn setns(_fd: c_int, _kind: c_int) -> c_int { answer_int(-i64::from(libc::EPERM)) }
    /// mlock(2): hosts share real memory, and locking it changes nothing that a program sees.
    fn mlock(_address: usize, _bytes: usize) -> c_int { 0 }
    fn mlock2(_address: usize, _bytes: usize, _flags: c_int) -> c_int { 0 }
    fn mlockall(_flags: c_int) -> c_int { 0 }
    fn munlock(_address: usize, _bytes: usize) -> c_int { 0 }
    fn munlockall() -> c_int { 0 }
    @also(aio_write, aio_fsync, aio_read64, aio_write64, aio_fsync64)
    fn aio_read(_request: usize) -> c_int { refuse("aio_read", "use read and write in a thread of your own") as c_int }
    @also(lio_listio64)
    fn lio_listio(_mode: c_int, _list: usize, _count: c_int, _event: usize) -> c_int {
        refuse("lio_listio", "use read and write in a thread of your own") as c_int
    }
    fn popen(_command: *const c_char, _mode: *const c_char) -> usize { refuse("popen", CHILDREN) as usize }
    fn waitpid(_pid: c_int, _status: *mut c_int, _options: c_int) -> c_int { answer_int(-i64::from(libc::ECHILD)) }
    fn wait4(_pid: c_int, _status: *mut c_int, _options: c_int, _usage: usize) -> c_int {
        answer_int(-i64::from(libc::ECHILD))
    }
    fn waitid(_kind: c_int, _id: c_int, _info: usize, _options: c_int) -> c_int {
        answer_int(-i64::from(libc::ECHILD))
    }
    fn ptrace(_request: c_int, _pid: c_int, _address: usize, _value: usize) -> c_long {
        refuse("ptrace", "debug the case with CHAOS_DEBUG instead")
    }
}
