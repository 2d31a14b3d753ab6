//! Making lent threads out of genuine ones, and giving them back.

use super::heap::follow::Cursor;
use super::lent::{ClockView, Code, Lent, Resume, set_current};
use super::real;
use super::switch::{Context, wt_detach};
use crate::abi::{self, Table};
use crate::kernel::ThreadId;
use libc::{c_int, c_void, pthread_attr_t, pthread_t};
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Bytes of stack on which a kernel thread ends itself; it runs three system calls there.
const SIDE_STACK_BYTES: usize = 8 * 1024;

/// Offset of `tid` in glibc's `struct pthread`, once it is known: not part of the ABI.
static TID_OFFSET: AtomicUsize = AtomicUsize::new(0);

/// The stack on which each kernel thread ends; one serves all, as the creator waits for each end.
struct SideStack(std::cell::UnsafeCell<MaybeUninit<[u128; SIDE_STACK_BYTES / 16]>>);
// SAFETY: used by one ending kernel thread at a time: `create` waits for the end before it returns.
unsafe impl Sync for SideStack {}
static SIDE_STACK: SideStack = SideStack(std::cell::UnsafeCell::new(MaybeUninit::uninit()));

/// What a new thread is to do, in the caller's terms.
pub(crate) struct Birth<'a> {
    pub(crate) thread: ThreadId,
    /// Written into `struct pthread`, where recursive and error-checking mutexes look for their owner.
    pub(crate) tid: i32,
    pub(crate) table: &'static Table,
    pub(crate) kernel_rsp: u64,
    /// Runs on the new thread once it is first resumed, and never returns.
    pub(crate) start: *mut c_void,
    /// The image whose initialised thread-locals the thread gets, if not the original's.
    pub(crate) thread_locals: Option<super::image::ThreadLocals>,
    /// Thread-specific data keys that threads of other images may use.
    pub(crate) keys: &'a [libc::pthread_key_t],
    pub(crate) attributes: Option<&'a pthread_attr_t>,
    /// What `malloc` takes from on this thread; libc's heap when there is none.
    pub(crate) heap: Option<super::heap::Heap>,
    pub(crate) code: Code,
}

struct Handover<'a> {
    lent: *mut Lent,
    tid: i32,
    thread_locals: Option<super::image::ThreadLocals>,
    keys: &'a [libc::pthread_key_t],
}

/// Creates a thread whose stack and TLS are genuine and whose kernel thread has ended when this returns.
///
/// # Errors
/// The errno of `pthread_create(3)`: `EAGAIN` for lack of resources, `EINVAL` for bad attributes.
pub(crate) fn create(birth: Birth<'_>) -> Result<*mut Lent, c_int> {
    let lent = Box::into_raw(Box::new(Lent {
        context: Context::default(),
        kernel_rsp: birth.kernel_rsp,
        // SAFETY: reads the running thread's own id.
        kernel_fs: unsafe { libc::pthread_self() },
        table: birth.table,
        thread: birth.thread,
        resume: Resume::Done,
        signalled: false,
        result: 0,
        clock: ClockView::default(),
        clock_reads: Cell::new(0),
        wall_reads: Cell::new(0),
        code: birth.code,
        heap: birth.heap,
        serial: birth.tid as u32,
        calls: 0,
        cursor: Cursor::at_start(),
        start: birth.start,
        pthread: 0,
        gone: AtomicU32::new(1),
    }));
    let mut handover = Handover { lent, tid: birth.tid, thread_locals: birth.thread_locals, keys: birth.keys };
    let mut pthread: pthread_t = 0;
    // SAFETY: the new thread reads `handover` only before its kernel thread ends, which we wait for; the attributes
    // are a private joinable copy, because a detached pthread would be freed by libc behind our back.
    let error = unsafe {
        let mut attributes = joinable(birth.attributes);
        let e = real::pthread_create(&mut pthread, &attributes, hand_over, (&raw mut handover).cast());
        libc::pthread_attr_destroy(&mut attributes);
        e
    };
    if error != 0 {
        // SAFETY: no thread was made, so nobody else has the pointer.
        drop(unsafe { Box::from_raw(lent) });
        return Err(error);
    }
    // SAFETY: `lent` is alive until `release`; `gone` is cleared and woken by the kernel at the thread's end
    // (set_tid_address(2), CLONE_CHILD_CLEARTID).
    unsafe {
        let gone = &(*lent).gone;
        while gone.load(Ordering::Acquire) != 0 {
            real::raw_syscall(libc::SYS_futex, [gone.as_ptr() as usize, libc::FUTEX_WAIT as usize, 1, 0, 0, 0]);
        }
        (*lent).pthread = pthread;
    }
    Ok(lent)
}

/// Attributes like the caller's, but joinable.
unsafe fn joinable(like: Option<&pthread_attr_t>) -> pthread_attr_t {
    // SAFETY: the object is initialised by pthread_attr_init before it is used.
    unsafe {
        let mut attributes = MaybeUninit::<pthread_attr_t>::zeroed();
        libc::pthread_attr_init(attributes.as_mut_ptr());
        let mut attributes = attributes.assume_init();
        if let Some(like) = like {
            let (mut stack, mut stack_bytes, mut guard_bytes) = (std::ptr::null_mut(), 0, 0);
            libc::pthread_attr_getstack(like, &mut stack, &mut stack_bytes);
            libc::pthread_attr_getguardsize(like, &mut guard_bytes);
            libc::pthread_attr_setguardsize(&mut attributes, guard_bytes);
            // pthread_attr_getstack(3) of an attribute without a stack gives an address that wrapped below zero.
            let own = !stack.is_null() && (stack as isize) > 0;
            if own {
                libc::pthread_attr_setstack(&mut attributes, stack, stack_bytes);
            } else if stack_bytes != 0 {
                libc::pthread_attr_setstacksize(&mut attributes, stack_bytes);
            }
        }
        attributes
    }
}

/// First and last code of the genuine kernel thread: set up the TLS, lend it, end.
extern "C" fn hand_over(argument: *mut c_void) -> *mut c_void {
    // SAFETY: `create` keeps the hand-over alive until this kernel thread has ended.
    unsafe {
        let handover = &mut *argument.cast::<Handover<'_>>();
        let lent = handover.lent;
        let fs = libc::pthread_self();
        super::tcache::share(fs as usize, (*lent).kernel_fs as usize);
        if let Some(locals) = handover.thread_locals.take() {
            locals.copy_to(fs as usize);
        }
        for key in handover.keys {
            // libc keeps stacks for new threads, and in them what lent threads left there.
            libc::pthread_setspecific(*key, std::ptr::null());
        }
        let tid_word = (fs as usize + tid_offset(fs)) as *mut i32;
        tid_word.write_volatile(handover.tid);
        set_current(lent);
        (*lent).context.fs = fs;
        let context = &raw mut (*lent).context;
        let top = SIDE_STACK.0.get().cast::<u8>().add(SIDE_STACK_BYTES);
        wt_detach(context, top, end, lent.cast());
        // From here on the carrier runs this stack.
        abi::thread_main((*lent).start)
    }
}

/// Ends the kernel thread and nothing else: no destructor, no robust list, no exit of libc's.
unsafe extern "C" fn end(lent: *mut c_void) -> ! {
    // SAFETY: `gone` outlives the kernel thread. After the last call nothing of this thread runs any more.
    unsafe {
        let gone = (*lent.cast::<Lent>()).gone.as_ptr() as usize;
        let robust_list_bytes = 24; // sizeof(struct robust_list_head), or the call is EINVAL
        real::raw_syscall(libc::SYS_set_robust_list, [0, robust_list_bytes, 0, 0, 0, 0]);
        real::raw_syscall(libc::SYS_set_tid_address, [gone, 0, 0, 0, 0, 0]);
        real::raw_syscall(libc::SYS_exit, [0; 6]);
        std::hint::unreachable_unchecked()
    }
}

/// Where `struct pthread` keeps the thread's id, asked on a thread that is still a kernel thread.
///
/// glibc says so to debuggers: the symbol describes the field as size in bits, number of elements and offset
/// (nptl_db/db_info.c, nptl_db/thread_dbP.h). To look for the id instead is a trap: the upper half of an address is a
/// small number too, 32767 for all that is mapped near the stack, and some thread has that id.
unsafe fn tid_offset(pthread: pthread_t) -> usize {
    let known = TID_OFFSET.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: looks a versioned name up, which stands for three words; the field lies in the thread's own descriptor.
    unsafe {
        let field = libc::dlvsym(libc::RTLD_DEFAULT, c"_thread_db_pthread_tid".as_ptr(), c"GLIBC_PRIVATE".as_ptr());
        let offset = match field.cast::<[u32; 3]>().as_ref() {
            Some([32, 1, offset]) => *offset as usize,
            _ => real::die("this glibc does not tell debuggers where a thread's descriptor holds its id"),
        };
        let tid = real::raw_syscall(libc::SYS_gettid, [0; 6]) as i32;
        if ((pthread as usize + offset) as *const i32).read_volatile() != tid {
            real::die("glibc's thread descriptor does not hold the thread's id where glibc tells debuggers it does");
        }
        TID_OFFSET.store(offset, Ordering::Relaxed);
        offset
    }
}

/// Gives stack and TLS of a thread that will never run again back to libc.
///
/// # Safety
/// The thread is not running, will not be resumed, and is released once.
pub(crate) unsafe fn release(lent: *mut Lent) {
    // SAFETY: pthread_join waits for `tid` to become zero and frees the descriptor; no kernel thread is left that
    // could write it. The record itself is ours.
    unsafe {
        let pthread = (*lent).pthread;
        let tid_word = (pthread as usize + TID_OFFSET.load(Ordering::Relaxed)) as *mut i32;
        tid_word.write_volatile(0);
        real::pthread_join(pthread, std::ptr::null_mut());
        drop(Box::from_raw(lent));
    }
}

/// Attributes that ask for a stack of this size.
pub(crate) fn attributes_with_stack(bytes: usize) -> pthread_attr_t {
    // SAFETY: initialised before use.
    unsafe {
        let mut attributes = MaybeUninit::<pthread_attr_t>::zeroed();
        libc::pthread_attr_init(attributes.as_mut_ptr());
        let mut attributes = attributes.assume_init();
        libc::pthread_attr_setstacksize(&mut attributes, bytes);
        attributes
    }
}

/// Whether attributes ask for a detached thread.
pub(crate) fn is_detached(attributes: &pthread_attr_t) -> bool {
    unsafe extern "C" {
        fn pthread_attr_getdetachstate(attributes: *const pthread_attr_t, state: *mut c_int) -> c_int;
    }
    let mut state = libc::PTHREAD_CREATE_JOINABLE;
    // SAFETY: reads an initialised object.
    unsafe { pthread_attr_getdetachstate(attributes, &mut state) };
    state == libc::PTHREAD_CREATE_DETACHED
}
