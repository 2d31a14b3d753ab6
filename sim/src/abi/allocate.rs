//! Memory: malloc(3), posix_memalign(3), malloc_usable_size(3) and their relatives.
//!
//! A program on a simulated thread gets memory from the heap of its image. Everybody else gets libc's, by the names
//! under which libc exports its own versions: threads outside of worlds, and shared libraries, libc itself among them,
//! whoever calls them. What a library allocates it may keep in its statics, which all hosts share and which outlive
//! any host (`environ`, stdout's buffer, the zone of tzset(3)). So the caller's address decides, and that is why the
//! symbols here are a few instructions of assembly: they hand it on.
//!
//! Memory may be given back anywhere: whose it is is told by its address.

use super::hooks;
use crate::carrier::heap::{self, Given, Request};
use crate::carrier::lent::current;
use libc::{c_int, c_void};
use std::ptr;

/// What libc aligns to by itself.
const ALIGNMENT: usize = 16;

unsafe extern "C" {
    fn __libc_malloc(bytes: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, bytes: usize) -> *mut c_void;
    fn __libc_realloc(address: *mut c_void, bytes: usize) -> *mut c_void;
    fn __libc_memalign(alignment: usize, bytes: usize) -> *mut c_void;
    fn __libc_free(address: *mut c_void);
}

/// Where the stack stands.
macro_rules! stack {
    () => {{
        let marker = 0u8;
        (&raw const marker).addr()
    }};
}

fn out_of_memory() -> *mut c_void {
    // SAFETY: errno is the calling thread's.
    unsafe { *libc::__errno_location() = libc::ENOMEM };
    ptr::null_mut()
}

/// Memory for the running thread. Inlined, so that the stack stands where the caller says.
#[inline(always)]
unsafe fn allocate(request: Request, caller: usize) -> Option<Given> {
    let lent = current();
    // SAFETY: hooks run on lent threads, whose record is their own; libc's functions take any size.
    unsafe {
        match (*lent).heap {
            Some(heap) if (*lent).code.contains(caller) => {
                let given = heap::allocate(lent, heap, request);
                if heap.is_over_its_limit() {
                    out_of_its_memory();
                }
                given
            }
            _ => {
                let address = __libc_memalign(request.alignment.max(ALIGNMENT), request.bytes).addr();
                (address != 0).then_some(Given { address, zero: false })
            }
        }
    }
}

/// Linux gives memory freely and kills when there is none left (proc(5), `overcommit_memory`).
#[cold]
fn out_of_its_memory() {
    super::call("out of memory", |k, me| k.out_of_memory(me));
}

/// [`allocate`] as C wants it.
#[inline(always)]
unsafe fn allocate_aligned(alignment: usize, bytes: usize, stack: usize, caller: usize) -> *mut c_void {
    // SAFETY: as the caller promises.
    match unsafe { allocate(Request { bytes, alignment, stack }, caller) } {
        Some(given) => given.address as *mut c_void,
        None => out_of_memory(),
    }
}

/// Gives memory of any heap back.
#[inline]
unsafe fn release(address: *mut c_void) {
    if !heap::owns(address.addr()) {
        // SAFETY: none of ours, so libc's, or null.
        return unsafe { __libc_free(address) };
    }
    if !heap::release(address.addr()) {
        not_allocated();
    }
}

/// glibc's `malloc_printerr`: the program's heap cannot be trusted any more.
#[cold]
fn not_allocated() {
    let message = b"free(): double free or invalid pointer\n";
    // SAFETY: writes to the program's standard error, then ends the program, as glibc does.
    unsafe {
        libc::write(2, message.as_ptr().cast(), message.len());
        libc::abort()
    }
}

/// Copies memory to where it has room, and gives the old back.
unsafe fn moved(from: *mut c_void, to: *mut c_void, bytes: usize) -> *mut c_void {
    if to.is_null() {
        return to;
    }
    // SAFETY: both are blocks of at least so many bytes.
    unsafe {
        ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast(), bytes);
        release(from);
    }
    to
}

#[expect(clippy::undocumented_unsafe_blocks, reason = "SAFETY: callers promise what the man pages ask")]
mod outside {
    use super::*;

    pub(super) unsafe extern "C" fn malloc(bytes: usize, _caller: usize) -> *mut c_void {
        unsafe { __libc_malloc(bytes) }
    }

    pub(super) unsafe extern "C" fn calloc(count: usize, bytes: usize, _caller: usize) -> *mut c_void {
        unsafe { __libc_calloc(count, bytes) }
    }

    pub(super) unsafe extern "C" fn free(address: *mut c_void) {
        unsafe { release(address) }
    }

    /// The kernel may let grow what a program has handed to it: from then on it is the kernel's.
    pub(super) unsafe extern "C" fn realloc(address: *mut c_void, bytes: usize, _caller: usize) -> *mut c_void {
        unsafe {
            match heap::owns(address.addr()) {
                false => __libc_realloc(address, bytes),
                true => moved(address, __libc_malloc(bytes), bytes.min(heap::usable_bytes(address.addr()))),
            }
        }
    }

    pub(super) unsafe extern "C" fn memalign(alignment: usize, bytes: usize, _caller: usize) -> *mut c_void {
        unsafe { __libc_memalign(alignment, bytes) }
    }

    pub(super) unsafe extern "C" fn posix_memalign(
        out: *mut *mut c_void,
        alignment: usize,
        bytes: usize,
        _caller: usize,
    ) -> c_int {
        unsafe {
            if !valid(alignment) {
                return libc::EINVAL;
            }
            let address = __libc_memalign(alignment, bytes);
            if address.is_null() {
                return libc::ENOMEM;
            }
            *out = address;
            0
        }
    }
}

/// posix_memalign(3), "EINVAL".
fn valid(alignment: usize) -> bool {
    alignment.is_power_of_two() && alignment.is_multiple_of(size_of::<usize>())
}

hooks! {
    allocate;

    @outside(outside::malloc)
    fn windtunnel_malloc(bytes: usize, caller: usize) -> *mut c_void {
        allocate_aligned(1, bytes, stack!(), caller)
    }

    @outside(outside::calloc)
    fn windtunnel_calloc(count: usize, bytes: usize, caller: usize) -> *mut c_void {
        let Some(bytes) = count.checked_mul(bytes) else { return out_of_memory() };
        let request = Request { bytes, alignment: 1, stack: stack!() };
        let Some(given) = allocate(request, caller) else { return out_of_memory() };
        let address = given.address as *mut c_void;
        if !given.zero {
            ptr::write_bytes(address.cast::<u8>(), 0, bytes);
        }
        address
    }

    @outside(outside::free)
    fn free(address: *mut c_void) {
        release(address)
    }

    @outside(outside::realloc)
    fn windtunnel_realloc(address: *mut c_void, bytes: usize, caller: usize) -> *mut c_void {
        if address.is_null() {
            return allocate_aligned(1, bytes, stack!(), caller);
        }
        if !heap::owns(address.addr()) {
            return __libc_realloc(address, bytes);
        }
        if bytes == 0 {
            release(address); // glibc frees, and answers NULL (realloc(3), "Nonportable behavior")
            return ptr::null_mut();
        }
        match heap::resize(address.addr(), bytes) {
            Some(resized) => resized as *mut c_void,
            None => {
                let kept = heap::usable_bytes(address.addr()).min(bytes);
                moved(address, allocate_aligned(1, bytes, stack!(), caller), kept)
            }
        }
    }

    @outside(outside::posix_memalign)
    fn windtunnel_posix_memalign(
        out: *mut *mut c_void, alignment: usize, bytes: usize, caller: usize
    ) -> c_int {
        if !valid(alignment) {
            return libc::EINVAL;
        }
        match allocate(Request { bytes, alignment, stack: stack!() }, caller) {
            Some(given) => {
                *out = given.address as *mut c_void;
                0
            }
            None => libc::ENOMEM,
        }
    }

    /// glibc takes the next power of two where the alignment is none (malloc/malloc.c, `_mid_memalign`).
    @outside(outside::memalign)
    fn windtunnel_memalign(alignment: usize, bytes: usize, caller: usize) -> *mut c_void {
        match alignment.checked_next_power_of_two() {
            Some(alignment) => allocate_aligned(alignment, bytes, stack!(), caller),
            None => out_of_memory(),
        }
    }

    fn malloc_usable_size(address: *mut c_void) -> usize {
        match heap::owns(address.addr()) {
            true => heap::usable_bytes(address.addr()),
            false => genuine_usable_size(address),
        }
    }
}

/// A symbol of libc's that hands its caller's address on, as one more argument.
macro_rules! with_caller {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty, $register:literal, $to:ident;)*) => {
        $(
            #[doc(hidden)]
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $ty),*) -> $ret {
                // At a function's first instruction its return address is on top of the stack (System V AMD64 ABI,
                // §3.2.2).
                core::arch::naked_asm!(concat!("mov ", $register, ", [rsp]"), "jmp {to}", to = sym $to)
            }
        )*

        /// Refers to these symbols, so that linking this crate means linking them.
        pub(crate) fn kept() -> usize { 0 $(.max($name as *const () as usize))* }
    };
}

with_caller! {
    malloc(_bytes: usize) -> *mut c_void, "rsi", windtunnel_malloc;
    calloc(_count: usize, _bytes: usize) -> *mut c_void, "rdx", windtunnel_calloc;
    realloc(_address: *mut c_void, _bytes: usize) -> *mut c_void, "rdx", windtunnel_realloc;
    posix_memalign(_out: *mut *mut c_void, _alignment: usize, _bytes: usize) -> c_int, "rcx", windtunnel_posix_memalign;
    memalign(_alignment: usize, _bytes: usize) -> *mut c_void, "rdx", windtunnel_memalign;
    aligned_alloc(_alignment: usize, _bytes: usize) -> *mut c_void, "rdx", windtunnel_memalign;
}

unsafe fn genuine_usable_size(address: *mut c_void) -> usize {
    // SAFETY: a block of libc's, or null.
    unsafe { crate::carrier::real::malloc_usable_size(address) }
}
