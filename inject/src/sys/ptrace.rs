//! ptrace(2): stopping the threads of another process, and having one of them make a system call.
//!
//! The kernel lets go of a tracee when the *thread* that traces it ends, so whatever is stopped here goes on even if
//! this process is killed; nothing is ever left in a thread's registers that it could not go on with by itself.

use std::io;
use std::ptr::without_provenance_mut;
use std::thread;
use std::time::{Duration, Instant};

/// What a thread's registers hold (sys/user.h).
pub type Registers = libc::user_regs_struct;

/// Code segment of 64-bit programs (arch/x86/include/asm/segment.h, `__USER_CS`).
pub const USER_CS: u64 = 0x33;
/// How long a thread has until it has stopped. One that waits for a disk may take longer: it is not for us.
const STOP_MAX: Duration = Duration::from_millis(500);
/// The same for a program that is about to be executed.
const EXECUTION_MAX: Duration = Duration::from_secs(10);

/// A thread that this thread has stopped. Dropped, it goes on.
#[derive(Debug)]
pub struct Stopped {
    tid: i32,
    /// Stopped on the way to being delivered this signal, which it is given when it goes on.
    signal: i32,
}

/// Why a thread has stopped.
enum Stop {
    /// Because it was asked to, or its whole process is stopped.
    Asked,
    /// At a system call: before it, or after it.
    Call,
    Signal(i32),
}

/// ptrace(2), for requests that answer 0.
fn request(request: libc::c_uint, tid: i32, address: usize, argument: usize) -> io::Result<()> {
    // SAFETY: none of the requests made here writes memory of this process, but for those that are given a pointer to
    // what lives meanwhile.
    let answer = unsafe {
        libc::ptrace(
            request,
            tid,
            without_provenance_mut::<libc::c_void>(address),
            without_provenance_mut::<libc::c_void>(argument),
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits until a thread stops; takes no notice of its end, which is its parent's to be told of.
fn wait_for_stop(tid: i32) -> io::Result<Stop> {
    let until = Instant::now() + STOP_MAX;
    loop {
        // SAFETY: all zeros is a value of this type.
        let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WSTOPPED | libc::__WALL | libc::WNOHANG;
        // SAFETY: `found` is valid for writes.
        if unsafe { libc::waitid(libc::P_PID, tid.cast_unsigned(), &raw mut found, flags) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: waitid(2) fills in these fields, or leaves zeros.
        let (pid, status) = unsafe { (found.si_pid(), found.si_status()) };
        if pid == tid {
            return Ok(match (status >> 8, status & 0xff) {
                (libc::PTRACE_EVENT_STOP, _) => Stop::Asked,
                (0, signal) if signal == libc::SIGTRAP | 0x80 => Stop::Call,
                (0, signal) => Stop::Signal(signal),
                _ => Stop::Asked,
            });
        }
        if Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_micros(20));
    }
}

/// Has this process stop before the first instruction of the program that it executes next. Its parent is to
/// [take note](leave_stopped) of that.
///
/// # Errors
/// As `PTRACE_TRACEME`.
pub fn stop_at_execution() -> io::Result<()> {
    request(libc::PTRACE_TRACEME, 0, 0, 0)
}

/// Waits until a child [has stopped at its program](stop_at_execution), and leaves it stopped as by SIGSTOP, traced by
/// nobody. SIGCONT lets it go on.
///
/// # Errors
/// It has ended, or does not stop in time.
pub fn leave_stopped(child: u32) -> io::Result<()> {
    let child = child.cast_signed();
    // ptrace(2): a successful execve(2) of a tracee that was not seized sends it SIGTRAP.
    wait_for_slow_stop(child)?;
    request(libc::PTRACE_DETACH, child, 0, libc::SIGSTOP as usize)?;
    // As its parent, now.
    wait_for_slow_stop(child)
}

/// As [`wait_for_stop`], of a process that has next to no processor time.
fn wait_for_slow_stop(child: i32) -> io::Result<()> {
    let until = Instant::now() + EXECUTION_MAX;
    let mut stopped = wait_for_stop(child);
    while stopped.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) && Instant::now() < until {
        stopped = wait_for_stop(child);
    }
    stopped.map(drop)
}

/// A thread that has been asked to stop.
#[derive(Debug)]
pub struct Asked {
    tid: i32,
}

impl Asked {
    /// Asks a thread to stop. If it is never waited for, it goes on when the calling thread ends.
    ///
    /// # Errors
    /// As `PTRACE_SEIZE`.
    pub fn to_stop(tid: u32) -> io::Result<Self> {
        let tid = tid.cast_signed();
        request(libc::PTRACE_SEIZE, tid, 0, libc::PTRACE_O_TRACESYSGOOD as usize)?;
        request(libc::PTRACE_INTERRUPT, tid, 0, 0)?;
        Ok(Self { tid })
    }

    /// Its number.
    pub fn tid(&self) -> u32 {
        self.tid.cast_unsigned()
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// It has ended; or it does not stop in time: then it goes on when the calling thread ends.
    pub fn wait(self) -> io::Result<Stopped> {
        let signal = match wait_for_stop(self.tid)? {
            Stop::Asked | Stop::Call => 0,
            Stop::Signal(signal) => signal,
        };
        Ok(Stopped { tid: self.tid, signal })
    }
}

impl Stopped {
    /// Its number.
    pub fn tid(&self) -> u32 {
        self.tid.cast_unsigned()
    }

    /// Whether it is on the way to a signal's handler.
    pub fn is_signalled(&self) -> bool {
        self.signal != 0
    }

    /// Its registers.
    ///
    /// # Errors
    /// As `PTRACE_GETREGS`.
    pub fn registers(&self) -> io::Result<Registers> {
        // SAFETY: all zeros is a value of this type.
        let mut registers: Registers = unsafe { std::mem::zeroed() };
        request(libc::PTRACE_GETREGS, self.tid, 0, (&raw mut registers).expose_provenance())?;
        Ok(registers)
    }

    /// Sets its registers.
    ///
    /// # Errors
    /// As `PTRACE_SETREGS`.
    pub fn set_registers(&self, registers: &Registers) -> io::Result<()> {
        request(libc::PTRACE_SETREGS, self.tid, 0, std::ptr::from_ref(registers).expose_provenance())
    }

    /// Writes eight bytes at once, wherever they are: protection does not matter (`FOLL_FORCE`), and what is written
    /// into a file's page is seen by this process only.
    ///
    /// # Errors
    /// As `PTRACE_POKEDATA`.
    pub fn poke(&self, address: u64, bytes: [u8; 8]) -> io::Result<()> {
        request(libc::PTRACE_POKEDATA, self.tid, address as usize, u64::from_ne_bytes(bytes) as usize)
    }

    /// Goes on until the system call whose instruction ends at `after` has been made, and answers its result. What
    /// comes in between, signals and whatever their handlers do, takes its course.
    ///
    /// # Errors
    /// It does not come to it in time.
    pub fn run_call(&mut self, after: u64) -> io::Result<i64> {
        let until = Instant::now() + STOP_MAX;
        let mut entered = false;
        while Instant::now() < until {
            request(libc::PTRACE_SYSCALL, self.tid, 0, std::mem::take(&mut self.signal) as usize)?;
            match wait_for_stop(self.tid)? {
                Stop::Signal(signal) => self.signal = signal,
                Stop::Asked => {}
                Stop::Call => {
                    let registers = self.registers()?;
                    if registers.rip != after {
                        continue; // a handler's
                    }
                    if entered {
                        return Ok(registers.rax.cast_signed());
                    }
                    entered = true;
                }
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It fails if the thread has been killed.
        let _gone = request(libc::PTRACE_DETACH, self.tid, 0, self.signal as usize);
    }
}

/// Memory of another process, as much as can be read of it (process_vm_readv(2)).
///
/// # Errors
/// Nothing can be read.
pub fn read_memory(pid: u32, address: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: without_provenance_mut(address as usize), iov_len: bytes.len() };
    // SAFETY: writes to `bytes` only.
    let count = unsafe { libc::process_vm_readv(pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Writes memory of another process that it could write itself (process_vm_writev(2)), without stopping it.
///
/// # Errors
/// As the call; or a part only could be written.
pub fn write_memory(pid: u32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: without_provenance_mut(address as usize), iov_len: bytes.len() };
    // SAFETY: reads `bytes` only; what changes is another process's memory, which the caller answers for.
    match unsafe { libc::process_vm_writev(pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0) } {
        count if usize::try_from(count) == Ok(bytes.len()) => Ok(()),
        count if count < 0 => Err(io::Error::last_os_error()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}
