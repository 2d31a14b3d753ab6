//! The two ways into the simulated kernel, and the way in and out of a world.

use super::{Pending, PendingRef};
use crate::carrier::lent::Lent;
use crate::carrier::switch::{self, Context, GoesOn};
use crate::carrier::{image::Original, real};
use crate::kernel::{Kernel, Next, ThreadId};
use crate::world::{Config, DiskEntry, Ending};
use libc::c_void;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Bytes of the kernel's own stack.
const KERNEL_STACK_BYTES: usize = 1 << 20;

/// The world's kernel; there is one per process, in the original image.
static KERNEL: AtomicPtr<Kernel> = AtomicPtr::new(ptr::null_mut());
/// Where the carrier waits for the world's end.
static CARRIER: AtomicPtr<Context> = AtomicPtr::new(ptr::null_mut());

/// What the executable looked like before any test ran; set once by the worker.
static ORIGINAL: AtomicPtr<Original> = AtomicPtr::new(ptr::null_mut());

/// Reads the executable for images.
///
/// # Errors
/// A sentence for the user.
pub(crate) fn read_original() -> Result<(), String> {
    if ORIGINAL.load(Ordering::Acquire).is_null() {
        // Before the picture is taken: the executable may hold its own copy of these variables.
        super::stdio::redirect();
        let original = Box::into_raw(Box::new(Original::read()?));
        ORIGINAL.store(original, Ordering::Release);
    }
    Ok(())
}

/// The executable as it was read.
pub(crate) fn original() -> Option<&'static Original> {
    // SAFETY: set once, never freed.
    unsafe { ORIGINAL.load(Ordering::Acquire).as_ref() }
}

/// The kernel, for code that runs on the carrier (the kernel itself and signal handlers that end the process).
///
/// # Safety
/// Nobody else uses the kernel meanwhile.
pub(super) unsafe fn kernel<'a>() -> Option<&'a mut Kernel> {
    // SAFETY: leaked by `run`; exclusive as promised.
    unsafe { KERNEL.load(Ordering::Relaxed).as_mut() }
}

/// Entry for calls. Runs on the kernel's stack with the carrier's TLS.
pub(super) unsafe extern "C" fn kernel_entry(lent: *mut Lent, pending: *mut c_void) -> GoesOn {
    // SAFETY: the world exists while its threads run; the kernel is not entered while it runs.
    unsafe {
        let Some(kernel) = kernel() else { real::die("a simulated thread ran outside its world") };
        let thread = (*lent).thread;
        let pending = PendingRef(pending.cast::<Pending>());
        let next = guarded(|| kernel.enter(thread, pending));
        goes_on(kernel, lent, thread, next)
    }
}

/// Runs kernel code; a panic there is our bug and ends the process with a report.
fn guarded(enter: impl FnOnce() -> Next) -> Next {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(enter)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        // SAFETY: the panic has unwound to here; nobody else uses the kernel.
        if let Some(kernel) = unsafe { kernel() } {
            let at = kernel.position();
            kernel.sink.fatal(at, &format!("a bug in windtunnel's simulated kernel: {text}"));
        }
        crate::worker::exit(125)
    })
}

/// Entry for a thread that reports its stack: `report` is `(frames, count)`.
pub(super) unsafe extern "C" fn backtrace_entry(lent: *mut Lent, report: *mut c_void) -> GoesOn {
    // SAFETY: as above; the frames lie on the thread's stack.
    unsafe {
        let Some(kernel) = kernel() else { real::die("a simulated thread ran outside its world") };
        let (frames, count) = *report.cast::<(*const usize, usize)>();
        let frames = std::slice::from_raw_parts(frames, count);
        let thread = (*lent).thread;
        kernel.report_stack(thread, frames);
        let next = guarded(|| kernel.dispatch());
        goes_on(kernel, lent, thread, next)
    }
}

/// What the switch has to do for the kernel's choice, after `thread` had entered it.
#[inline]
fn goes_on(kernel: &Kernel, lent: *mut Lent, thread: ThreadId, next: Next) -> GoesOn {
    let next = match next {
        Next::Same => return GoesOn { next: ptr::null_mut(), left: ptr::null_mut() },
        Next::Thread(next) => next.pointer(),
        // The carrier's saved context has the layout of a lent thread's first words.
        Next::Carrier => CARRIER.load(Ordering::Relaxed).cast(),
    };
    let left = if kernel.threads.get(thread).is_some() { lent } else { ptr::null_mut() };
    GoesOn { next, left }
}

/// Allocates the kernel's stack, with a guard page below; answers its top.
fn kernel_stack() -> u64 {
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK) as usize;
    // SAFETY: fresh memory that is never freed.
    unsafe {
        let base = real::raw_syscall(libc::SYS_mmap, [0, KERNEL_STACK_BYTES, prot, flags, usize::MAX, 0]);
        if base < 0 {
            real::die("no memory for the simulated kernel's stack");
        }
        real::raw_syscall(libc::SYS_mprotect, [base as usize, 4096, 0, 0, 0, 0]);
        base as u64 + KERNEL_STACK_BYTES as u64
    }
}

/// What is on the disks of the world that has ended: host, path and content.
pub(crate) fn disk_entries() -> Vec<(String, PathBuf, DiskEntry)> {
    // SAFETY: the world is over, so nobody else is in the kernel.
    unsafe { kernel() }.map_or_else(Vec::new, |kernel| kernel.all_on_disks())
}

/// Runs a world on the calling kernel thread.
pub(crate) fn run(config: Config, main: Box<dyn FnOnce()>) -> Ending {
    std::hint::black_box((super::keep(), super::allocate::kept()));
    if let Err(problem) = read_original() {
        real::die(&problem);
    }
    let Some(original) = original() else { real::die("the executable could not be read") };
    super::signal::install_fault_handlers();
    if config.guard {
        crate::carrier::guard::watch();
    }
    if let Some(record) = &config.heap_record {
        crate::carrier::heap::follow::begin(record);
    }
    let kernel = Box::into_raw(Box::new(Kernel::new(config, original, kernel_stack())));
    KERNEL.store(kernel, Ordering::Relaxed);
    // SAFETY: the kernel is leaked, the context outlives the world, and this is the process's only kernel thread.
    unsafe {
        let mut carrier = Context { rsp: 0, fs: libc::pthread_self() };
        CARRIER.store(&raw mut carrier, Ordering::Relaxed);
        (*kernel).boot(main);
        match (*kernel).dispatch() {
            Next::Thread(first) => switch::run(&raw mut carrier, &raw const (*first.pointer()).context),
            Next::Carrier | Next::Same => {}
        }
        (*kernel).ending()
    }
}
