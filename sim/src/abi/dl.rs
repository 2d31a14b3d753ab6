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

/// Bounds of the mapping that holds an address, from `/proc/self/maps`, read in pieces: this allocates nothing.
fn mapping_around(address: usize) -> Option<(usize, usize)> {
    // SAFETY: plain reads of a real file by raw system calls, into our own buffer.
    unsafe {
        let path = c"/proc/self/maps".as_ptr() as usize;
        let fd = real::raw_syscall(libc::SYS_openat, [libc::AT_FDCWD as usize, path, 0, 0, 0, 0]);
        if fd < 0 {
            return None;
        }
        let (mut block, mut bounds, mut found) = ([0u8; 4096], Bounds::default(), None);
        while found.is_none() {
            let count = real::raw_syscall(libc::SYS_read, [fd as usize, block.as_mut_ptr() as usize, 4096, 0, 0, 0]);
            if count <= 0 {
                break;
            }
            let mut mappings = block[..count as usize].iter().filter_map(|byte| bounds.after(*byte));
            found = mappings.find(|(low, high)| (*low..*high).contains(&address));
        }
        real::raw_syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]);
        found
    }
}

/// The beginning of a line of `/proc/self/maps` (proc_pid_maps(5)), as far as it has been read: `low-high …`.
#[derive(Default)]
struct Bounds {
    low: usize,
    /// From the dash on.
    high: Option<usize>,
    /// What follows them on the line is skipped.
    known: bool,
}

impl Bounds {
    /// Takes the next byte; answers the bounds when it ends them.
    fn after(&mut self, byte: u8) -> Option<(usize, usize)> {
        let digit = char::from(byte).to_digit(16).map(|digit| digit as usize);
        match (byte, digit, self.high) {
            (b'\n', ..) => *self = Bounds::default(),
            _ if self.known => {}
            (b' ', _, Some(high)) => {
                self.known = true;
                return Some((self.low, high));
            }
            (b'-', ..) => self.high = Some(0),
            (_, Some(digit), None) => self.low = self.low << 4 | digit,
            (_, Some(digit), Some(high)) => self.high = Some(high << 4 | digit),
            _ => self.known = true,
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, mapping_around};

    #[test]
    fn bounds_are_read_from_each_line() {
        let mut bounds = Bounds::default();
        let text = b"555-5a0 r--p 0-0 00:1d 7\n7ffff7d0-7ffff7df rw-p 00000000 00:00 0 [stack]\n";
        let found: Vec<_> = text.iter().filter_map(|byte| bounds.after(*byte)).collect();
        assert_eq!(found, [(0x555, 0x5a0), (0x7fff_f7d0, 0x7fff_f7df)]);
    }

    #[test]
    fn a_variable_lies_in_the_mapping_around_it() {
        let here = 0u8;
        let address = (&raw const here).addr();
        let (low, high) = mapping_around(address).expect("the stack is mapped");
        assert!((low..high).contains(&address) && low % 4096 == 0);
        assert_eq!(mapping_around(8), None);
    }
}
