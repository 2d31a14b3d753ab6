//! A case that takes too long says where it stands, wherever it stands.

mod common;
use common::config;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, RawFd};
use windtunnel_sim::worker::DUMP_SIGNAL;
use windtunnel_sim::world::{Config, Console, EventLine, KERNEL, Position, Sink, ThreadStack, run};

/// Asks its own process where it stands, in the midst of the kernel: that is what writes to it.
struct Asks(File);

impl Sink for Asks {
    fn console(&mut self, _: Console<'_>) {
        // SAFETY: no pointers.
        unsafe { libc::raise(DUMP_SIGNAL) };
    }
    fn stack(&mut self, stack: &ThreadStack<'_>) {
        let of_kernel = stack.host == KERNEL && stack.frames.len() > 3;
        self.0.write_all(if of_kernel { b"stack of the kernel, " } else { b"another stack, " }).expect("write");
    }
    fn fatal(&mut self, _: Position, text: &str) {
        self.0.write_all(text.as_bytes()).expect("write");
    }
    fn note(&mut self, _: Position, _: &str, _: &str) {}
    fn event(&mut self, _: &EventLine<'_>) {}
    fn progress(&mut self, _: Position, _: &str, _: &str) {}
}

#[test]
fn the_kernel_says_where_it_stands_itself() {
    let mut ends: [RawFd; 2] = [0; 2];
    // SAFETY: room for two descriptors, each of which gets one owner.
    let (mut reader, writer) = unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
    };
    // Another thread of libtest's that prints just now would leave the child a lock that nobody ever releases.
    let output = (io::stdout().lock(), io::stderr().lock());
    // SAFETY: the child has one thread and leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    drop(output);
    if pid == 0 {
        run(Config { sink: Box::new(Asks(writer)), ..config(1) }, Box::new(|| println!("on a simulated thread")));
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    let (mut told, mut status) = (String::new(), 0);
    reader.read_to_string(&mut told).expect("read what was told");
    // SAFETY: waits for our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(libc::WEXITSTATUS(status), 124, "{told}");
    assert_eq!(told, "stack of the kernel, the wall-clock limit was reached inside the simulated kernel");
}
