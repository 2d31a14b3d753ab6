//! A kernel in a box: Debian's kernel in QEMU, for tests of what this machine's kernel lacks.
//!
//! | file | what it does |
//! | --- | --- |
//! | `packages` | fetches QEMU, a kernel and busybox from Debian's packages, without installing them |
//! | `tree` | how a program is started from a tree of unpacked packages |
//! | `kernel` | the kernel's modules: which are needed to boot, in which order, and which are kept |
//! | `initramfs` | the archive the kernel starts from |
//! | `init.sh`, `second.sh` | the first process in the box, before and after it sees this machine's files |
//! | `as-nobody.sh`, `modprobe.sh` | run a command there without privileges, and load a module |
//! | `command` | what runs in the box, as a script |
//! | `machine` | QEMU's command line, its life and its death |
//! | `suites` | `cargo xtask test --vm`: test binaries built here, run there |
//! | `suites.sh` | runs them there, one test a process |
//!
//! The box sees this machine's file system as it is, through 9p, read-only, so a program runs there at the same path,
//! with the same libraries. What programs write goes to a disk of the box's own in the place for temporary files, which
//! ends with it.
//! The processor is emulated, so it works in any container and without privileges, some ten times slower.

mod command;
mod initramfs;
mod kernel;
mod machine;
mod packages;
mod suites;
mod tree;

pub use command::User;
pub use packages::Unpacked;
pub use suites::{Which, test};

use anyhow::{Result, ensure};
use command::Command;
use machine::Machine;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs a command in the box, in the current directory, and answers its exit code.
///
/// With a terminal on both sides the command has one; otherwise its standard input is empty.
///
/// # Errors
/// There is no box and none can be made, or it did not run the command to its end.
pub fn run(root: &Path, user: User, deadline: Option<Duration>, words: &[String]) -> Result<i32> {
    ensure!(!words.is_empty(), "no command; as in `cargo xtask vm -- uname -a`");
    let unpacked = prepare(root)?;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut command = Command::new(std::env::current_dir()?, words);
    command.user = user;
    let machine = Machine { terminal, deadline, ..Machine::default() };
    Ok(machine.run(&unpacked, &command, |_| {})?.code)
}

/// Fetches and unpacks what the box is made of, unless that has been done.
///
/// # Errors
/// This is no Debian system, or the packages cannot be fetched; the message says what would help.
pub fn prepare(root: &Path) -> Result<Unpacked> {
    packages::prepare(&place(root))
}

/// Where everything of the box is kept; may be removed at any time.
fn place(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("vm")
}
