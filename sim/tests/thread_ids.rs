//! What number the real kernel happens to give to a thread makes no difference.

mod common;
use common::{Run, world};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The upper half of the addresses that threads and the loader have here: a thread id like any other.
fn half_of_an_address() -> i32 {
    // SAFETY: asks for the calling thread's descriptor, whose address it is (pthread_self(3), on Linux).
    let descriptor = unsafe { libc::pthread_self() };
    (descriptor >> 32) as i32
}

/// Threads that start and end, one after the other and two at once.
fn threads() -> Run {
    world(1, || {
        for round in 0..3 {
            let other = std::thread::spawn(move || round);
            println!("{:?}", std::thread::spawn(move || round * 2).join());
            println!("{:?}", other.join());
        }
    })
}

/// Runs something in a process id namespace of its own (pid_namespaces(7)), such that the next process gets the number
/// after `last`; whether it went well. None where nobody may make such a namespace, or choose a number in it.
fn with_last_pid(last: i32, run: impl FnOnce() -> bool) -> Option<bool> {
    const REFUSED: i32 = 77;
    // Another thread of libtest's that prints just now would leave the children a lock that nobody ever releases.
    let output = (io::stdout().lock(), io::stderr().lock());
    // SAFETY: the children have one thread each and leave by `_exit`.
    let pid = unsafe { libc::fork() };
    drop(output);
    if pid == 0 {
        // SAFETY: no pointers.
        if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) } != 0 {
            // SAFETY: ends the child.
            unsafe { libc::_exit(REFUSED) };
        }
        // The first process of the namespace; those after it get the numbers that follow `last`.
        // SAFETY: as above.
        let first = unsafe { libc::fork() };
        if first == 0 {
            let code = match std::fs::write("/proc/sys/kernel/ns_last_pid", last.to_string()) {
                Err(_) => REFUSED,
                Ok(()) => i32::from(!catch_unwind(AssertUnwindSafe(run)).unwrap_or(false)),
            };
            // SAFETY: as above.
            unsafe { libc::_exit(code) };
        }
        // SAFETY: as above.
        unsafe { libc::_exit(code_of(first)) };
    }
    match code_of(pid) {
        REFUSED => None,
        code => Some(code == 0),
    }
}

/// Waits for a child of ours; its exit code, or -1.
fn code_of(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: room for a status.
    let ended = unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid;
    if ended && libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 }
}

#[test]
fn a_thread_may_have_the_number_of_half_an_address() {
    let expected = threads();
    assert_eq!(expected.output, "Ok(0)\nOk(0)\nOk(2)\nOk(1)\nOk(4)\nOk(2)\n");
    // The case's process is the first after that, and the first thread of its world the second.
    match with_last_pid(half_of_an_address() - 2, || threads() == expected) {
        Some(went_well) => assert!(went_well, "the world did not end, or as another run"),
        None => println!("nothing was tested: this machine allows no process id namespace"),
    }
}
