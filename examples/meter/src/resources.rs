//! What a process can run out of: descriptors, threads, memory.

use crate::done::Done;
use std::fs::File;
use std::sync::{Arc, RwLock};
use std::thread;

/// So much memory is taken in one step.
pub const ALLOCATED_BYTES: u64 = 4 << 20;

/// Opens files, and closes them.
pub(crate) fn open(most: u64) -> Done {
    let mut files = Vec::new();
    Done::step_by_step(most, 1, || {
        files.push(File::open("/dev/null")?);
        Ok(())
    })
}

/// Starts threads, which end when there are enough of them.
pub(crate) fn start(most: u64) -> Done {
    let end = Arc::new(RwLock::new(()));
    let ends = end.write();
    let mut threads = Vec::new();
    let done = Done::step_by_step(most, 1, || {
        let end = Arc::clone(&end);
        threads.push(thread::Builder::new().spawn(move || drop(end.read()))?);
        Ok(())
    });
    drop(ends);
    // They have nothing to panic about.
    threads.into_iter().for_each(|thread| drop(thread.join()));
    done
}

/// Takes memory, says so after each step, and gives it back.
pub(crate) fn allocate(most_bytes: u64, say: impl Fn(Done)) -> Done {
    let mut taken = Vec::new();
    Done::step_by_step(most_bytes, ALLOCATED_BYTES, || {
        // Written to, for only then the kernel gives it.
        taken.push(vec![1_u8; ALLOCATED_BYTES as usize]);
        std::hint::black_box(&taken);
        say(Done::all(taken.len() as u64 * ALLOCATED_BYTES));
        Ok(())
    })
}
