//! The user-mode context switch: the only place that changes stack and TLS base.
//!
//! A *lent* thread is a genuine pthread whose kernel thread has ended. Its stack and TLS block stay, and the carrier
//! (the one kernel thread of a world) runs on them by loading its stack pointer and FS base. Entering the simulated
//! kernel and switching to another thread are the same act: save the caller, run the kernel on its own stack with the
//! carrier's own TLS, then resume whichever thread the kernel names.
//!
//! Nothing here allocates, locks or knows about scheduling.

use super::lent::Lent;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is needed to resume a suspended flow: its stack pointer (callee-saved registers lie on its stack) and TLS base.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) rsp: u64,
    pub(crate) fs: u64,
}

/// The kernel's entry: gets the thread that entered and the pending call, says who goes on.
pub(crate) type Entry = unsafe extern "C" fn(*mut Lent, *mut c_void) -> GoesOn;

/// Who runs when the kernel is left. Comes back in rax and rdx.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct GoesOn {
    /// The flow to resume; null for the thread that entered.
    pub(crate) next: *mut Lent,
    /// The thread that entered, if another flow is resumed and it still exists.
    pub(crate) left: *mut Lent,
}

// Layout that the assembly below relies on: `Lent` starts with `Context { rsp, fs }`, then `kernel_rsp`, `kernel_fs`.
// System V AMD64 ABI §3.2.1: rbx, rbp, r12–r15, the x87 control word and MXCSR's control bits belong to the caller.
macro_rules! switch_asm {
    ($enter:literal, $run:literal, $set_fs:literal) => {
        core::arch::global_asm!(
            concat!(".globl ", $enter),
            concat!($enter, ":"),
            // rdi = *mut Lent (caller), rsi = entry, rdx = argument
            "push rbp; push rbx; push r12; push r13; push r14; push r15",
            "sub rsp, 8",
            "mov [rdi], rsp",
            "mov rsp, [rdi+16]",
            "mov r12, rdi; mov r13, rsi; mov r14, rdx",
            "mov rax, [rdi+24]",
            $set_fs,
            "mov rdi, r12; mov rsi, r14",
            "call r13",
            "test rax, rax; jne 2f",
            // The caller itself goes on. The kernel leaves the control words alone, and touching them is slow.
            "mov rax, [r12+8]",
            $set_fs,
            "mov rsp, [r12]",
            "jmp 4f",
            // rax = whom to resume, rdx = whose control words are to be kept, if anybody's
            "2: mov rbx, rax",
            "test rdx, rdx; je 3f",
            "mov rax, [rdx]; stmxcsr [rax]; fnstcw [rax+4]",
            "3: mov rax, [rbx+8]",
            $set_fs,
            "mov rsp, [rbx]",
            "ldmxcsr [rsp]; fldcw [rsp+4]",
            "4: add rsp, 8",
            "pop r15; pop r14; pop r13; pop r12; pop rbx; pop rbp",
            "ret",
            concat!(".globl ", $run),
            concat!($run, ":"),
            // rdi = *mut Context to save the caller in, rsi = *const Context to load
            "push rbp; push rbx; push r12; push r13; push r14; push r15",
            "sub rsp, 8; stmxcsr [rsp]; fnstcw [rsp+4]",
            "mov [rdi], rsp",
            "mov rbx, rsi",
            "mov rax, [rbx+8]",
            $set_fs,
            "mov rsp, [rbx]",
            "ldmxcsr [rsp]; fldcw [rsp+4]; add rsp, 8",
            "pop r15; pop r14; pop r13; pop r12; pop rbx; pop rbp",
            "ret",
        );
    };
}

// `wrfsbase` needs CPU and kernel support (Linux ≥ 5.9, AT_HWCAP2 bit 1); `arch_prctl(ARCH_SET_FS)` = syscall 158,
// code 0x1002 works everywhere at about ten times the cost. The system call clobbers rcx and r11 only.
switch_asm!("wt_enter_fsgsbase", "wt_run_fsgsbase", "wrfsbase rax");
switch_asm!("wt_enter_prctl", "wt_run_prctl", "mov rsi, rax; mov edi, 0x1002; mov eax, 158; syscall");

core::arch::global_asm!(
    ".globl wt_detach",
    // rdi = *mut Context to save the caller in, rsi = top of another stack, rdx = fn(arg) -> !, rcx = arg
    "wt_detach:",
    "push rbp; push rbx; push r12; push r13; push r14; push r15",
    "sub rsp, 8; stmxcsr [rsp]; fnstcw [rsp+4]",
    "mov [rdi], rsp",
    "mov rsp, rsi",
    "mov rdi, rcx",
    "call rdx",
    "ud2",
);

#[expect(improper_ctypes, reason = "the assembly knows the first four words of `Lent`, which are laid out as in C")]
unsafe extern "C" {
    fn wt_enter_fsgsbase(caller: *mut Lent, entry: Entry, argument: *mut c_void);
    fn wt_enter_prctl(caller: *mut Lent, entry: Entry, argument: *mut c_void);
    fn wt_run_fsgsbase(save: *mut Context, load: *const Context);
    fn wt_run_prctl(save: *mut Context, load: *const Context);
    /// Saves the caller's context, then runs `f(argument)` on the stack whose top is `stack`, for ever.
    pub(crate) fn wt_detach(
        save: *mut Context,
        stack: *mut u8,
        f: unsafe extern "C" fn(*mut c_void) -> !,
        argument: *mut c_void,
    );
}

/// HWCAP2_FSGSBASE, `arch/x86/include/uapi/asm/hwcap2.h`.
const HWCAP2_FSGSBASE: u64 = 1 << 1;

/// 0 = not asked yet, 1 = `wrfsbase`, 2 = `arch_prctl`.
static METHOD: AtomicUsize = AtomicUsize::new(0);

#[inline]
fn fsgsbase() -> bool {
    match METHOD.load(Ordering::Relaxed) {
        0 => choose_method(),
        method => method == 1,
    }
}

#[cold]
fn choose_method() -> bool {
    // SAFETY: getauxval only reads the auxiliary vector.
    let has = unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE != 0;
    METHOD.store(if has { 1 } else { 2 }, Ordering::Relaxed);
    has
}

/// Enters the simulated kernel from a lent thread; returns when the kernel resumes this thread.
///
/// # Safety
/// `caller` is the running thread's own `Lent`, its kernel stack is idle, and `argument` is what `entry` expects.
#[inline]
pub(crate) unsafe fn enter(caller: *mut Lent, entry: Entry, argument: *mut c_void) {
    // SAFETY: the caller's promises are exactly what the assembly needs.
    unsafe {
        if fsgsbase() { wt_enter_fsgsbase(caller, entry, argument) } else { wt_enter_prctl(caller, entry, argument) }
    }
}

/// Leaves the carrier's own flow for a lent thread; returns when the kernel resumes the carrier.
///
/// # Safety
/// `load` is a suspended context, and `save` stays valid until it is resumed.
pub(crate) unsafe fn run(save: *mut Context, load: *const Context) {
    // SAFETY: as promised by the caller.
    unsafe { if fsgsbase() { wt_run_fsgsbase(save, load) } else { wt_run_prctl(save, load) } }
}
