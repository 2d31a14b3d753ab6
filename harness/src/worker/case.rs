//! The child: one case, from its orders to its ending.

use super::panics;
use super::recorder::Recorder;
use crate::__private::TestBody;
use crate::arguments::{ArgumentOrders, Paths};
use crate::blackbox::{BlackBox, Comparison, EndedAs, Ending, Finding, Kind, Orders, Verdict};
use crate::chaos::{Chaos, Planned};
use crate::world::real;
use std::io::PipeReader;
use std::sync::Arc;
use std::time::Duration;
use windtunnel_faults::Plan;
use windtunnel_inject::sys::End;
use windtunnel_sim::worker::CPUS;
use windtunnel_sim::world::{self, Config, Exit, HeapRecord, Outcome, Syncs};

/// `PATH` in the real world, as services have it (systemd.exec(5)): servers are often in a `sbin`.
const SERVICES_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A case that can begin.
struct Prepared {
    orders: Orders,
    cx: Chaos,
}

/// Reads the orders; nothing when they cannot be carried out, which has been said then.
fn prepare(blackbox: &'static BlackBox, path: &str) -> Option<Prepared> {
    let orders = blackbox.orders();
    panics::install();
    let impossible = |reason: String| {
        blackbox.findings().impossible(reason);
        None
    };
    let plan = match orders.plan.as_deref().unwrap_or_default().parse::<Plan>() {
        Ok(plan) => plan,
        Err(error) => return impossible(format!("the plan of faults cannot be read\n{error}")),
    };
    let paths = match orders.arguments.as_deref().unwrap_or_default().parse::<Paths>() {
        Ok(paths) => paths,
        Err(error) => return impossible(format!("the case's arguments cannot be made\n{error}")),
    };
    let arguments = ArgumentOrders { paths, known: orders.known_arguments };
    let plan = Planned { plan, is_drawn: orders.plan_is_drawn, becalmed: orders.becalmed };
    let cx = Chaos::new(orders.seed, orders.calm, environment(&orders, path), blackbox, plan, arguments);
    Some(Prepared { orders, cx })
}

/// Runs the case that the flight recorder orders, in the simulated world.
pub(super) fn run(blackbox: &'static BlackBox, body: TestBody) {
    let Some(Prepared { orders, cx }) = prepare(blackbox, "/usr/local/bin:/usr/bin:/bin") else { return };
    let config = Config {
        seed: orders.seed,
        start_unix_ns: orders.start_unix_ns,
        virtual_timeout: Duration::from_nanos(orders.virtual_timeout_ns),
        calm: orders.calm,
        quiet: orders.quiet,
        cpus: CPUS,
        test_env: cx.shared().environment.clone(),
        sink: Box::new(Recorder {
            blackbox,
            recording: orders.recording,
            comparison: Comparison::default(),
            in_debugger: orders.in_debugger,
        }),
        record: orders.recording != crate::blackbox::RecordingMode::Off,
        perturb: orders.perturb,
        guard: orders.guard,
        syncs: if orders.forgetful { Syncs::Ignored } else { Syncs::Kept },
        heap_record: orders.heap_record.map(|wanted| HeapRecord { wanted, words: blackbox.heap_record() }),
    };
    let shared = Arc::clone(cx.shared());
    let ending = world::run(config, Box::new(move || test_main(cx, body, blackbox)));
    if let Some(directory) = &orders.disks
        && let Err(error) = world::copy_disks(directory.as_ref())
    {
        eprintln!("failed to copy the hosts' disks to {directory}: {error}");
    }
    blackbox.progress().reached(ending.at.into(), "", "");
    if let Some(weather) = &ending.weather {
        shared.account_afterwards(weather, ending.at);
    }
    blackbox.findings().push(&Finding::Ending(Ending {
        digest: Some(((ending.digest >> 64) as u64, ending.digest as u64)),
        at: ending.at.into(),
        threads: ending.threads,
        outcome: ended_as(ending.outcome),
    }));
}

/// Runs the case that the flight recorder orders, in the real world: in processes of its own, below this one.
pub(super) fn run_real(blackbox: &'static BlackBox, body: TestBody) {
    let Some(Prepared { cx, .. }) = prepare(blackbox, SERVICES_PATH) else { return };
    let pipes = real::TestPipes::make().and_then(|pipes| Ok((pipes.readers()?, pipes)));
    let (readers, pipes) = match pipes {
        Ok(made) => made,
        Err(error) => return blackbox.findings().impossible(format!("no pipes for the test's output: {error}")),
    };
    let group = real::WorldGroup::make();
    let groups = group.directories();
    let case = |keeper, disk| {
        let shared = Arc::clone(cx.shared());
        let outside = real::Outside { keeper, disk, groups, pipes };
        real::run(outside, blackbox, shared, move || test_main(cx, body, blackbox))
    };
    match windtunnel_inject::keeper::run_world(case) {
        Ok(end) => ended_without_a_word(blackbox, end, readers),
        Err(error) => blackbox.findings().impossible(format!("there is no real world here: {error}")),
    }
    if let Err(error) = group.remove() {
        eprintln!("chaos: the world's control group is still there: {error}");
    }
}

/// Tells of the end of a case's process if it could not do so itself: it was killed, or left in the middle.
fn ended_without_a_word(blackbox: &BlackBox, end: End, written: [(Kind, PipeReader); 2]) {
    if blackbox.findings().read().iter().any(|finding| matches!(finding, Finding::Ending(_))) {
        return;
    }
    real::record_last_words(blackbox, written);
    let exit = match end {
        End::Code(code) => Exit::Code(code),
        End::Signal(signal) => Exit::Signal(signal),
    };
    let (at, outcome) = (blackbox.progress().at(), EndedAs::of_host("test".to_owned(), exit));
    blackbox.findings().push(&Finding::Ending(Ending { digest: None, at, threads: 0, outcome }));
}

/// The environment of the host `test`, and what other hosts start from.
fn environment(orders: &Orders, path: &str) -> Vec<(String, String)> {
    let fixed = [("PATH", path), ("HOME", "/"), ("LANG", "C.UTF-8")];
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let logging = orders.rust_log.clone().map(|value| ("RUST_LOG".to_owned(), value));
    let backtrace = orders.rust_backtrace.clone().map(|value| ("RUST_BACKTRACE".to_owned(), value));
    fixed.into_iter().chain(logging).chain(backtrace).collect()
}

/// The main thread of the host `test`: the test's body on a runtime of its own.
fn test_main(cx: Chaos, body: TestBody, blackbox: &'static BlackBox) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            blackbox.findings().impossible(format!("failed to build a runtime for the test body: {error}"));
            return;
        }
    };
    let verdict = match panics::catch(|| runtime.block_on(body(cx.clone()))) {
        Ok(Ok(())) => {
            // So that what was never healed has an account too.
            cx.shared().state().faults.heal_links(blackbox.progress());
            Verdict::Passed
        }
        Ok(Err(error)) => Verdict::Error(error.into()),
        Err(panic) => panic.into_verdict(),
    };
    crate::world::conclude(blackbox, verdict);
    // The verdict is spoken. Dropping the runtime would run what is left of the test's tasks, or wait for them.
    std::mem::forget(runtime);
}

fn ended_as(outcome: Outcome) -> EndedAs<'static> {
    match outcome {
        Outcome::Finished => EndedAs::Finished,
        Outcome::VirtualTimeout => EndedAs::VirtualTimeout,
        Outcome::Deadlock => EndedAs::Deadlock,
        Outcome::Livelock => EndedAs::Livelock,
        Outcome::Refused { host, call, remedy } => {
            EndedAs::Refused { host: host.into(), call: call.into(), remedy: remedy.into() }
        }
        Outcome::HostFailed { host, exit } => EndedAs::of_host(host, exit),
    }
}
