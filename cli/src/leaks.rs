//! Instructions that reach past libc, in machine code.
//!
//! The simulated kernel lies beneath libc's symbols. What a program does by an instruction of its own it does not see:
//! a system call reaches the real kernel, and RDRAND gives other bytes in every run. RDTSC is no leak: it is made a
//! fault, and answered by the simulated clock. A running case notices system calls as well, in its checking runs; this
//! also finds what no test has called yet.

use anyhow::Context as _;
use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `syscall`, `sysenter`, `int 0x80`.
    SystemCall,
    /// `rdrand`, `rdseed`.
    Random,
    /// `rdtsc`, `rdtscp`.
    Time,
}

/// A function with such instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leak {
    pub(crate) kind: Kind,
    pub(crate) function: String,
    pub(crate) count: usize,
    /// Why it does no harm.
    pub(crate) harmless: Option<&'static str>,
}

impl Leak {
    /// Whether it makes a case depend on the machine.
    pub(crate) fn escapes(&self) -> bool {
        self.harmless.is_none()
    }
}

/// Functions that are known, by a part of their name.
const KNOWN: [(Kind, &str, &str); 6] = [
    (Kind::SystemCall, "wt_syscall", "windtunnel's own"),
    (Kind::SystemCall, "wt_enter_prctl", "windtunnel's own"),
    (Kind::SystemCall, "wt_run_prctl", "windtunnel's own"),
    (Kind::Random, "rdrand", "OpenSSL and aws-lc: hidden from them by OPENSSL_ia32cap"),
    (Kind::Random, "rdseed", "OpenSSL and aws-lc: hidden from them by OPENSSL_ia32cap"),
    (Kind::Time, "", "answered by the host's clock"),
];

/// Looks through all functions of a binary.
///
/// # Errors
/// It cannot be read, or is no x86-64 ELF file with symbols.
pub(crate) fn scan(binary: &Path) -> anyhow::Result<Vec<Leak>> {
    let bytes = std::fs::read(binary).with_context(|| format!("{} cannot be read", binary.display()))?;
    let file = object::File::parse(&*bytes).with_context(|| format!("{} is no object file", binary.display()))?;
    anyhow::ensure!(file.architecture() == object::Architecture::X86_64, "{} is not for x86-64", binary.display());
    let mut functions = BTreeMap::new();
    // Labels of assembly have no type.
    let code = |kind| matches!(kind, SymbolKind::Text | SymbolKind::Label | SymbolKind::Unknown);
    for symbol in file.symbols().filter(|symbol| code(symbol.kind())) {
        functions.entry(symbol.address()).or_insert_with(|| symbol.name().unwrap_or("?"));
    }
    anyhow::ensure!(!functions.is_empty(), "{} has no symbols: build it without `strip`", binary.display());
    let mut found: BTreeMap<(Kind, String), usize> = BTreeMap::new();
    for section in file.sections().filter(|section| section.kind() == object::SectionKind::Text) {
        let (base, code) = (section.address(), section.data()?);
        let end = base + code.len() as u64;
        let mut starts: Vec<(u64, &str)> = functions.range(base..end).map(|(at, name)| (*at, *name)).collect();
        if starts.first().is_none_or(|(at, _)| *at > base) {
            starts.insert(0, (base, "?"));
        }
        for (at, (start, name)) in starts.iter().enumerate() {
            let next = starts.get(at + 1).map_or(end, |(next, _)| *next);
            let body = &code[(start - base) as usize..(next - base) as usize];
            for kind in Decoder::with_ip(64, body, *start, DecoderOptions::NONE).iter().filter_map(|one| kind(&one)) {
                *found.entry((kind, format!("{:#}", rustc_demangle::demangle(name)))).or_default() += 1;
            }
        }
    }
    Ok(found.into_iter().map(|((kind, function), count)| leak(kind, function, count)).collect())
}

fn leak(kind: Kind, function: String, count: usize) -> Leak {
    let known = KNOWN.iter().find(|(of, part, _)| *of == kind && function.contains(part));
    Leak { kind, harmless: known.map(|(.., why)| *why), function, count }
}

fn kind(instruction: &iced_x86::Instruction) -> Option<Kind> {
    match instruction.mnemonic() {
        Mnemonic::Syscall | Mnemonic::Sysenter => Some(Kind::SystemCall),
        Mnemonic::Int if instruction.immediate8() == 0x80 => Some(Kind::SystemCall),
        Mnemonic::Rdrand | Mnemonic::Rdseed => Some(Kind::Random),
        Mnemonic::Rdtsc | Mnemonic::Rdtscp => Some(Kind::Time),
        _ => None,
    }
}

/// What was found, for people.
pub(crate) fn tell(binary: &Path, found: &[Leak]) -> String {
    let mut text = String::new();
    let name = binary.file_name().unwrap_or(binary.as_os_str()).to_string_lossy();
    let escapes = found.iter().filter(|leak| leak.escapes()).count();
    let verdict = match escapes {
        0 => "nothing escapes".to_owned(),
        1 => "1 function escapes".to_owned(),
        count => format!("{count} functions escape"),
    };
    let _ = writeln!(text, "{name}: {verdict}");
    for leak in found.iter().filter(|leak| leak.escapes()) {
        let what = match leak.kind {
            Kind::SystemCall => "makes system calls without libc: use its crate's feature for libc, or another crate",
            Kind::Random => "asks the processor for random numbers: use its crate's feature for getrandom(2)",
            Kind::Time => "reads the time-stamp counter",
        };
        let _ = writeln!(text, "  {} {what}", leak.function);
    }
    let mut known: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for leak in found {
        leak.harmless.into_iter().for_each(|why| known.entry(why).or_default().push(&leak.function));
    }
    for (why, functions) in known {
        let _ = writeln!(text, "  known: {} ({why})", functions.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(code: &[u8]) -> Vec<Kind> {
        Decoder::with_ip(64, code, 0, DecoderOptions::NONE).iter().filter_map(|one| kind(&one)).collect()
    }

    #[test]
    fn instructions_are_told_apart() {
        assert_eq!(kinds(&[0x0f, 0x05, 0x90, 0x0f, 0x34]), [Kind::SystemCall; 2]);
        assert_eq!(kinds(&[0xcd, 0x80, 0xcd, 0x03]), [Kind::SystemCall]);
        assert_eq!(kinds(&[0x48, 0x0f, 0xc7, 0xf0, 0x0f, 0xc7, 0xf9]), [Kind::Random; 2]);
        assert_eq!(kinds(&[0x0f, 0x31, 0x0f, 0x01, 0xf9]), [Kind::Time; 2]);
        // The same bytes as a part of another instruction: mov eax, 0x050f.
        assert_eq!(kinds(&[0xb8, 0x0f, 0x05, 0x00, 0x00]), []);
    }

    #[test]
    fn an_inline_system_call_is_found_in_this_very_binary() {
        #[inline(never)]
        fn inline_getpid() -> isize {
            let pid: isize;
            // SAFETY: asks for a number.
            unsafe {
                std::arch::asm!(
                    "syscall",
                    inlateout("rax") 39_isize => pid,
                    out("rcx") _, out("r11") _,
                );
            }
            pid
        }
        assert_eq!(inline_getpid(), std::process::id() as isize);
        let this = std::env::current_exe().expect("a path");
        let found = scan(&this).expect("a binary with symbols");
        let escapes: Vec<&Leak> = found.iter().filter(|leak| leak.escapes()).collect();
        assert!(escapes.iter().any(|leak| leak.function.contains("inline_getpid")), "{found:?}");
        assert!(tell(&this, &found).contains("makes system calls without libc"));
    }
}
