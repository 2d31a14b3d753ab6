//! What the loader would say of images, for unwinders and symbolisers; and our own backtraces.

use super::hooks;
use crate::carrier::{image, real};
use libc::{c_int, c_void, dl_phdr_info};
use std::sync::atomic::{AtomicUsize, Ordering};

/// `struct dl_find_object`, dlfcn.h (glibc 2.35).
#[repr(C)]
pub struct DlFindObject {
    flags: u64,
    map_start: *mut c_void,
    map_end: *mut c_void,
    link_map: *mut c_void,
    eh_frame: *mut c_void,
    reserved: [u64; 7],
}

type Callback = Option<unsafe extern "C" fn(*mut dl_phdr_info, usize, *mut c_void) -> c_int>;

struct Forward {
    callback: unsafe extern "C" fn(*mut dl_phdr_info, usize, *mut c_void) -> c_int,
    argument: *mut c_void,
    /// Base, headers and their number of the image that stands in for the executable.
    image: Option<(usize, *const libc::Elf64_Phdr, u16)>,
    first: bool,
}

/// Passes loader entries on; the executable's is replaced by the process's own image.
unsafe extern "C" fn forward(info: *mut dl_phdr_info, size: usize, forward: *mut c_void) -> c_int {
    // SAFETY: `forward` is the struct of the hook's frame, `info` the loader's entry.
    unsafe {
        let state = &mut *forward.cast::<Forward>();
        let mut entry = *info;
        let (adds, subs) = image::changes();
        entry.dlpi_adds += adds;
        entry.dlpi_subs += subs;
        if std::mem::take(&mut state.first)
            && let Some((base, headers, count)) = state.image
        {
            entry.dlpi_addr = base as u64;
            entry.dlpi_phdr = headers;
            entry.dlpi_phnum = count;
        }
        (state.callback)(&mut entry, size, state.argument)
    }
}

/// The image of the calling thread's process.
fn own_image() -> Option<(usize, *const libc::Elf64_Phdr, u16)> {
    let mut found = None;
    super::look("own image", |k, me| {
        let process = k.threads[me].process;
        found = k.processes[process].image.map(|image| k.original.headers(&image));
        Ok(0)
    });
    found
}

hooks! {
    dl;

    /// libgcc's unwinder asks this for the unwind table of an address (since GCC 12 with glibc 2.35).
    fn _dl_find_object(address: *mut c_void, result: *mut DlFindObject) -> c_int {
        if let Some((start, end, eh_frame)) = image::find(address as usize) {
            *result = DlFindObject {
                flags: 0,
                map_start: start as *mut c_void,
                map_end: end as *mut c_void,
                link_map: std::ptr::null_mut(),
                eh_frame: eh_frame as *mut c_void,
                reserved: [0; 7],
            };
            return 0;
        }
        static GENUINE: std::sync::atomic::AtomicPtr<c_void> =
            std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());
        let f = real::lookup(c"_dl_find_object", &GENUINE);
        let f: unsafe extern "C" fn(*mut c_void, *mut DlFindObject) -> c_int = std::mem::transmute(f);
        f(address, result)
    }

    /// Symbolisers list objects with this; a host sees its own image as the executable.
    fn dl_iterate_phdr(callback: Callback, argument: *mut c_void) -> c_int {
        let Some(callback) = callback else { return 0 };
        let mut state = Forward { callback, argument, image: own_image(), first: true };
        real::dl_iterate_phdr(Some(forward), (&raw mut state).cast())
    }
}

type TraceFn = extern "C" fn(*mut c_void, *mut c_void) -> c_int;

unsafe extern "C" {
    fn _Unwind_Backtrace(trace: TraceFn, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

struct Frames<'a> {
    frames: &'a mut [usize],
    count: usize,
    /// Skip frames until this address is reached (of a signal's context).
    from: Option<usize>,
}

extern "C" fn record(context: *mut c_void, argument: *mut c_void) -> c_int {
    const CONTINUE: c_int = 0; // _URC_NO_REASON
    const STOP: c_int = 5; // _URC_END_OF_STACK
    // SAFETY: called by the unwinder with the argument below.
    let (state, ip) = unsafe { (&mut *argument.cast::<Frames<'_>>(), _Unwind_GetIP(context)) };
    if ip == 0 || state.count == state.frames.len() {
        return STOP;
    }
    if state.from.is_some_and(|from| from != ip) {
        return CONTINUE;
    }
    state.from = None;
    state.frames[state.count] = ip;
    state.count += 1;
    CONTINUE
}

/// The calling thread's return addresses, innermost first.
pub(super) fn backtrace(frames: &mut [usize]) -> usize {
    let mut state = Frames { frames, count: 0, from: None };
    // SAFETY: the callback writes into `state` only.
    unsafe { _Unwind_Backtrace(record, (&raw mut state).cast()) };
    state.count
}

/// The return addresses of what a signal interrupted.
///
/// # Safety
/// `context` is the handler's third argument.
pub(super) unsafe fn backtrace_of(context: *mut c_void, frames: &mut [usize]) -> usize {
    // SAFETY: a ucontext of x86-64.
    let ip = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] } as usize;
    let mut state = Frames { frames, count: 0, from: Some(ip) };
    // SAFETY: as above.
    unsafe { _Unwind_Backtrace(record, (&raw mut state).cast()) };
    if state.count == 0 {
        state.frames[0] = ip;
        state.count = 1;
    }
    state.count
}

/// Offset in glibc's `struct pthread` of the stack's lowest address, which its size follows (nptl/descr.h). Found once.
static STACK_OFFSET: AtomicUsize = AtomicUsize::new(0);

/// Bounds of a thread's stack, guard excluded.
///
/// The descriptor lies at the stack's upper end. libc keeps the bounds in it, at an offset that is found by looking for
/// what `/proc/self/maps` says of the first thread that is asked about.
pub(super) fn stack_of(pthread: usize) -> Option<(usize, usize)> {
    /// Words of `struct pthread` that are searched; it has about 290.
    const WORDS: usize = 280;
    let block = |offset: usize| {
        // SAFETY: inside the thread's descriptor, which is alive.
        let (low, bytes) =
            unsafe { (*((pthread + offset) as *const usize), *((pthread + offset + 8) as *const usize)) };
        (low, low.wrapping_add(bytes))
    };
    let known = STACK_OFFSET.load(Ordering::Relaxed);
    if known != 0 {
        return Some(block(known)).filter(|(low, high)| (*low..*high).contains(&pthread));
    }
    let (low, high) = mapping_around(pthread)?;
    let holds = |offset: &usize| {
        let (from, to) = block(*offset);
        // The block begins with the guard, whose size the default attributes make one page.
        from <= low && low - from <= 1 << 20 && from % 4096 == 0 && to > pthread && to <= high
    };
    if let Some(offset) = (64..WORDS * 8).step_by(8).find(holds) {
        STACK_OFFSET.store(offset, Ordering::Relaxed);
    }
    Some((low, high))
}

/// Bounds of the mapping that holds an address, from `/proc/self/maps`.
fn mapping_around(address: usize) -> Option<(usize, usize)> {
    let mut text = Vec::new();
    // SAFETY: plain reads of a real file by raw system calls, into our own buffer.
    unsafe {
        let path = c"/proc/self/maps".as_ptr() as usize;
        let fd = real::raw_syscall(libc::SYS_openat, [libc::AT_FDCWD as usize, path, 0, 0, 0, 0]);
        if fd < 0 {
            return None;
        }
        let mut block = [0u8; 4096];
        loop {
            let count = real::raw_syscall(libc::SYS_read, [fd as usize, block.as_mut_ptr() as usize, 4096, 0, 0, 0]);
            if count <= 0 {
                break;
            }
            text.extend_from_slice(&block[..count as usize]);
        }
        real::raw_syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]);
    }
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| {
        let (low, rest) = line.split_once('-')?;
        let high = rest.split(' ').next()?;
        let bounds = (usize::from_str_radix(low, 16).ok()?, usize::from_str_radix(high, 16).ok()?);
        (bounds.0..bounds.1).contains(&address).then_some(bounds)
    })
}
