//! What is left when somebody was struck: nothing, however long it takes; with two excuses.

use crate::look::{Look, is_as_before, loops};
use crate::run::{Run, signal};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use windtunnel_inject::process::proc;

/// How long a run may take to end when it was struck: a case may be run a second time, to see what comes of it.
pub const ENDS_WITHIN: Duration = Duration::from_secs(40);

/// Who was struck.
pub struct Struck {
    pub pid: u32,
    /// Whoever guards is not there any more, or cannot.
    pub is_unguarded: bool,
    pub stays_stopped: bool,
}

/// Waits until a run has ended and all is as it was before; how long it took from the end to that. Removes what is
/// left otherwise.
pub fn gone_after(run: &mut Run, struck: Option<&Struck>, before: &Look) -> Result<Duration, String> {
    afterwards(run, struck, before).map_err(|reason| {
        let journals = run.clear();
        format!("{reason}\njournals:\n{journals}\nit had printed:\n{}", run.text)
    })
}

fn afterwards(run: &mut Run, struck: Option<&Struck>, before: &Look) -> Result<Duration, String> {
    let began = Instant::now();
    if !run.ends_within(ENDS_WITHIN) {
        return Err(format!("it has not ended after {:?}:\n{}", began.elapsed(), Look::take().diff(before)));
    }
    if let Some(Struck { pid, is_unguarded: true, stays_stopped }) = struck {
        // Nobody is left who could; this is what `cargo chaos recover` is for.
        if *stays_stopped {
            signal(*pid, Signal::KILL);
        }
        let settled = Instant::now();
        while settled.elapsed() < Duration::from_millis(300) {
            run.look();
            std::thread::sleep(Duration::from_millis(10));
        }
        let report = windtunnel_inject::recover::recover().map_err(|error| error.to_string())?;
        if !report.is_clean() {
            return Err(format!("it cannot be recovered: {report}"));
        }
    }
    let gone = is_as_before(before);
    match (gone, struck) {
        (Err(diff), Some(Struck { pid, stays_stopped: true, .. })) if is_newborn(*pid) => {
            // Whoever is stopped between fork(2) and asking to die with its parent, prctl(2), does not hear of that,
            // and nobody else knows of it. When whoever stopped it lets it go on, it ends.
            signal(*pid, Signal::CONT);
            let after = is_as_before(before).map_err(|_| diff.clone())?;
            eprintln!("who was stopped at its very beginning had to go on first:\n{diff}");
            Ok(after)
        }
        (gone, _) => gone,
    }
}

/// Whether a process that is stopped has not done anything yet: it is still in the call that made it, fork(2), clone(2)
/// or clone3(2) of x86-64 (proc_pid_syscall(5)).
fn is_newborn(pid: u32) -> bool {
    let call = proc::read(pid, "syscall").unwrap_or_default();
    ["56 ", "57 ", "435 "].iter().any(|number| call.starts_with(number))
}

/// Loop devices that were seen meanwhile. Those of others that run at the same time come and go.
#[derive(Default)]
pub struct SeenLoops(BTreeSet<String>);

impl SeenLoops {
    pub fn look(&mut self) {
        self.0.extend(loops());
    }

    /// Those that stay.
    pub fn left(&self) -> Vec<String> {
        let since = Instant::now();
        loop {
            let left: Vec<String> = loops().intersection(&self.0).cloned().collect();
            if left.is_empty() || since.elapsed() > Duration::from_secs(20) {
                return left;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
