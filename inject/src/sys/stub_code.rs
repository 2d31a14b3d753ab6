//! The machine code that answers for a vDSO whose clock is wrong: vdso(7), position independent.
//!
//! It stands in another process and has nothing but a page of words (`clock/layout.rs`): what is added to the wall
//! clock, and until when. It asks the kernel itself for the time, so it is right without anybody's help once the lease
//! has run out. It keeps no address of its own on the stack, by which one can tell whether a thread is inside it: its
//! functions share their middle part, and what comes after that is a number.

use std::slice;

std::arch::global_asm!(
    ".pushsection .rodata.wt_stub, \"a\", @progbits",
    ".globl wt_stub_begin, wt_stub_clock_gettime, wt_stub_gettimeofday, wt_stub_time, wt_stub_end",
    ".balign 16",
    "wt_stub_begin:",
    // The address of the page: filled in when the code is copied.
    "2: .quad 0",
    // int clock_gettime(clockid_t edi, struct timespec *rsi). CLOCK_REALTIME and its coarse relative are ours.
    "wt_stub_clock_gettime:",
    "test edi, edi",
    "jz 3f",
    "cmp edi, 5",
    "je 3f",
    "mov eax, 228; syscall; ret",
    "3: push rsi; push 0; jmp 10f",
    // int gettimeofday(struct timeval *rdi, struct timezone *rsi): the zone is the kernel's to tell.
    "wt_stub_gettimeofday:",
    "test rsi, rsi",
    "jz 3f",
    "mov rdx, rdi; xor edi, edi; mov eax, 96; syscall; mov rdi, rdx",
    "3: test rdi, rdi",
    "jnz 3f",
    "xor eax, eax; ret",
    "3: push rdi; push 1; jmp 10f",
    // time_t time(time_t *rdi)
    "wt_stub_time:",
    "push rdi; push 2",
    // clock_gettime (228): CLOCK_MONOTONIC, CLOCK_REALTIME between, CLOCK_MONOTONIC.
    "10: sub rsp, 48",
    "mov rsi, rsp; mov edi, 1; mov eax, 228; syscall",
    "lea rsi, [rsp + 16]; xor edi, edi; mov eax, 228; syscall",
    "lea rsi, [rsp + 32]; mov edi, 1; mov eax, 228; syscall",
    "imul r8, [rsp], 1000000000; add r8, [rsp + 8]",
    "imul r9, [rsp + 16], 1000000000; add r9, [rsp + 24]",
    "imul rdx, [rsp + 32], 1000000000; add rdx, [rsp + 40]",
    "add rsp, 48",
    "mov r10, [rip + 2b]",
    // What the wall clock is ahead of the monotonic one by: kept, as long as the bounds allow it with a microsecond to
    // spare, so that the one goes forwards as the other does wherever the thread was preempted.
    "mov rax, [r10 + {tie}]",
    "mov rcx, r9; sub rcx, rdx; sub rcx, 1000",
    "cmp rax, rcx; cmovl rax, rcx",
    "mov rcx, r9; sub rcx, r8; add rcx, 1000",
    "cmp rax, rcx; cmovg rax, rcx",
    "cmp rax, [r10 + {tie}]",
    "je 11f",
    "mov [r10 + {tie}], rax",
    "11: lea r9, [rax + r8]",
    // The slot that holds. Expired, it adds nothing.
    "12: mov r11, [r10 + {turn}]",
    "mov eax, r11d; and eax, 1; imul eax, eax, {slot_bytes}",
    "lea rcx, [r10 + rax + {slots}]",
    "xor eax, eax",
    "cmp r8, [rcx + {until}]",
    "jge 16f",
    "mov rdx, [rcx + {wall}]",
    "lea rcx, [rcx + {wall} + 8]",
    "test rdx, rdx",
    "jz 16f",
    // The last line that has begun.
    "13: cmp rdx, 1",
    "jbe 14f",
    "cmp r8, [rcx + {line_bytes}]",
    "jl 14f",
    "add rcx, {line_bytes}; dec rdx; jmp 13b",
    "14: mov rax, r8; sub rax, [rcx]",
    "jns 15f",
    "xor eax, eax",
    "15: imul qword ptr [rcx + 16]",
    "mov esi, 1000000; idiv rsi; add rax, [rcx + 8]",
    "16: cmp r11, [r10 + {turn}]",
    "jne 12b",
    "test rax, rax",
    "jz 17f",
    "lock inc qword ptr [r10 + {reads}]",
    "mov [r10 + {read_at}], r8",
    "17: add rax, r9",
    "cqo; mov esi, 1000000000; idiv rsi",
    "test rdx, rdx",
    "jns 18f",
    "add rdx, 1000000000; dec rax",
    // rax seconds, rdx nanoseconds; which function it was, and its pointer.
    "18: pop rcx; pop rdi",
    "cmp ecx, 1",
    "je 19f",
    "ja 20f",
    "mov [rdi], rax; mov [rdi + 8], rdx; xor eax, eax; ret",
    "19: mov [rdi], rax; mov rax, rdx; xor edx, edx; mov ecx, 1000; div rcx",
    "mov [rdi + 8], rax; xor eax, eax; ret",
    "20: test rdi, rdi",
    "jz 21f",
    "mov [rdi], rax",
    "21: ret",
    "wt_stub_end:",
    ".popsection",
    tie = const words::TIE * 8,
    turn = const words::TURN * 8,
    reads = const words::WALL_READS * 8,
    read_at = const words::READ_AT * 8,
    slots = const words::SLOTS * 8,
    slot_bytes = const words::SLOT * 8,
    until = const words::UNTIL * 8,
    wall = const words::WALL * 8,
    line_bytes = const words::LINE * 8,
);

/// Where the words are that the code reads; `clock/layout.rs` takes them from here and says what they mean.
pub mod words {
    /// Which slot holds.
    pub const TURN: usize = 1;
    /// How often it was read.
    pub const WALL_READS: usize = 2;
    /// When it was last read.
    pub const READ_AT: usize = 4;
    /// What wall and monotonic clock differ by.
    pub const TIE: usize = 5;
    /// Where slots begin.
    pub const SLOTS: usize = 8;
    /// In a slot: its lease.
    pub const UNTIL: usize = 0;
    /// In a slot: the wall clock's curve.
    pub const WALL: usize = 13;
    /// Of a line.
    pub const LINE: usize = 3;
    /// Of a curve.
    pub const CURVE: usize = 1 + 16 * LINE;
    /// Of a slot.
    pub const SLOT: usize = WALL + 2 * CURVE;
}

unsafe extern "C" {
    static wt_stub_begin: u8;
    static wt_stub_clock_gettime: u8;
    static wt_stub_gettimeofday: u8;
    static wt_stub_time: u8;
    static wt_stub_end: u8;
}

/// The code, and where the vDSO's functions begin in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StubCode {
    /// With the address of its page.
    pub bytes: Vec<u8>,
    /// `__vdso_clock_gettime`.
    pub clock_gettime: usize,
    /// `__vdso_gettimeofday`.
    pub gettimeofday: usize,
    /// `__vdso_time`.
    pub time: usize,
}

/// The code for a page that is at this address in the other process.
pub fn stub_code(page: u64) -> StubCode {
    let at = |symbol: *const u8| symbol.addr() - (&raw const wt_stub_begin).addr();
    // SAFETY: read-only bytes between two symbols of this program, which the lines above put there in this order.
    let code = unsafe { slice::from_raw_parts(&raw const wt_stub_begin, at(&raw const wt_stub_end)) };
    let mut bytes = code.to_vec();
    bytes[..8].copy_from_slice(&page.to_le_bytes());
    StubCode {
        bytes,
        clock_gettime: at(&raw const wt_stub_clock_gettime),
        gettimeofday: at(&raw const wt_stub_gettimeofday),
        time: at(&raw const wt_stub_time),
    }
}
