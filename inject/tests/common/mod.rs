//! Running tests in namespaces that end with them.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its part")]

use rustix::thread::UnshareFlags;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use windtunnel_inject::Injection;
use windtunnel_inject::namespace::leave_for_new;
use windtunnel_inject::sys::{Forked, end_now, fork, wait};

/// Within what time a fault is to be in force, and to be gone. An emulated processor takes longer for everything.
pub fn tenth_of_a_second() -> Duration {
    on_this_processor(Duration::from_millis(100))
}

/// As long, or longer on a processor that is emulated.
pub fn on_this_processor(time: Duration) -> Duration {
    let is_emulated = std::env::var_os("WINDTUNNEL_EMULATED").is_some();
    time * if is_emulated { 20 } else { 1 }
}

/// Begins a fault, reads it back and heals it, some times over: it has to be in force, and gone, within 100 ms. Once at
/// least, as a machine that is busy with other tests may take any one of them longer.
pub fn is_in_force_and_gone_at_once<F: Injection>(mut begin: impl FnMut() -> F) {
    let at_once = tenth_of_a_second();
    let rounds: [_; 7] = std::array::from_fn(|_| {
        let asked = Instant::now();
        let mut fault = begin();
        fault.read_back().expect("in force");
        let in_force = asked.elapsed();
        let asked = Instant::now();
        fault.heal().expect("gone");
        (in_force, asked.elapsed())
    });
    let [mut in_force, mut gone] = [rounds.map(|(in_force, _)| in_force), rounds.map(|(_, gone)| gone)];
    in_force.sort();
    gone.sort();
    println!("in force and read back in {:?}, healed and read back in {:?} (medians of 7)", in_force[3], gone[3]);
    assert!(in_force[0] < at_once, "{in_force:?}");
    assert!(gone[0] < at_once, "{gone:?}");
}

/// What the child exits with when it has no namespaces.
const SKIPPED: i32 = 77;

/// Runs this in a process with network and mount namespaces of its own, as root of a user namespace if need be. Where
/// the machine does not allow that, the test is skipped with the reason, or fails if `CHAOS_REQUIRE=real` is set.
#[track_caller]
pub fn in_namespaces(test: impl FnOnce()) {
    match fork().expect("a process") {
        Forked::Child => {
            if let Err(error) = leave_for_new(UnshareFlags::NEWNET | UnshareFlags::NEWNS) {
                eprintln!("skipped: {error}");
                end_now(SKIPPED);
            }
            // The panic's message has been printed.
            end_now(i32::from(catch_unwind(AssertUnwindSafe(test)).is_err()));
        }
        Forked::Parent(pid) => judge(pid),
    }
}

#[track_caller]
fn judge(pid: u32) {
    match wait(pid).expect("a child").code() {
        0 => {}
        SKIPPED => assert!(std::env::var_os("CHAOS_REQUIRE").is_none(), "required, and not possible here"),
        code => panic!("failed in its namespaces (code {code}); the reason is above"),
    }
}

/// Runs this as the case of a world of its own.
#[track_caller]
pub fn in_world(test: impl FnOnce(&windtunnel_inject::keeper::Keeper)) {
    let Forked::Parent(pid) = fork().expect("a process") else {
        let case = |keeper, _disk| i32::from(catch_unwind(AssertUnwindSafe(|| test(&keeper))).is_err());
        end_now(match windtunnel_inject::keeper::run_world(case) {
            Ok(end) => end.code(),
            Err(error) => {
                eprintln!("skipped: {error}");
                SKIPPED
            }
        });
    };
    judge(pid);
}
