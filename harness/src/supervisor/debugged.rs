//! One case under a debugger: this process executes itself in its own place.

use super::Context;
use super::environment::arguments;
use super::process::{Worker, WorkerError};
use super::search::rehearse;
use crate::blackbox::{BlackBox, Orders};
use crate::cases::Case;
use crate::system::ExecPlan;
use crate::worker::Role;
use crate::worker::protocol::{ANSWERS_FD, BLACKBOX_FD, EXECUTABLE_FD, ORDERS_FD};
use std::io;
use std::os::fd::AsRawFd as _;

/// Executes the binary in this process's place, to run one case. Returns only when that failed.
pub(super) fn become_debugged(context: &Context<'_>, case: Case) -> WorkerError {
    let failed = |what: &'static str| move |source: io::Error| WorkerError::Io { what, source };
    let (blackbox, file) = match BlackBox::create() {
        Ok(created) => created,
        Err(error) => return failed("make the flight recorder")(error),
    };
    let mut orders = context.orders(case);
    if context.plans.need_rehearsal() {
        // Its plan is drawn for what the rehearsal shows.
        let rehearsed = Worker::start(context.definition).and_then(|mut worker| rehearse(context, &mut worker));
        match rehearsed {
            Ok(report) => {
                if let Some(failure) = &report.failure {
                    let sentence = failure.sentence(&report.log);
                    eprintln!("chaos: the rehearsal failed, so this case has no faults of a plan: {sentence}");
                }
                orders = context.orders(case);
            }
            Err(error) => return error,
        }
    }
    // Nobody has kept a record of addresses that could be followed.
    blackbox.prepare(&Orders { in_debugger: true, ..context.logged(&orders) });
    let arguments = match arguments(context.definition.name(), Role::Debugged) {
        Ok(arguments) => arguments,
        Err(error) => return failed("name the test")(error.into()),
    };
    // The pipes' numbers are taken too, so that descriptors opened later have the numbers that they have in a worker.
    let recorder = file.as_raw_fd();
    let fds = vec![(0, 0), (1, 1), (2, 2), (recorder, BLACKBOX_FD), (recorder, ORDERS_FD), (recorder, ANSWERS_FD)];
    match ExecPlan::new(arguments, fds, EXECUTABLE_FD, blackbox.progress().refusals()) {
        Ok(plan) => plan.execute(),
        Err(error) => return failed("open the test binary")(error),
    }
    WorkerError::NotExecuted {
        source: blackbox.progress().execution_refusal().unwrap_or_else(io::Error::last_os_error),
    }
}
