//! Run real, unmodified services in a storm that can be repeated.
//!
//! A [`chaos_test`] runs on a simulated kernel, where one seed decides everything: time, scheduling, the network,
//! chance. Hosts run a service's own `main`, with its own runtime, arguments and statics. A failure comes back with the
//! seed that repeats it exactly.
//!
//! ```no_run
//! use windtunnel::prelude::*;
//!
//! // The service: anything with a `main`. It knows nothing of the test.
//! async fn serve() -> std::io::Result<()> {
//!     let listener = tokio::net::TcpListener::bind("0.0.0.0:7").await?;
//!     loop {
//!         let (mut stream, _) = listener.accept().await?;
//!         tokio::spawn(async move {
//!             let (mut reader, mut writer) = stream.split();
//!             tokio::io::copy(&mut reader, &mut writer).await
//!         });
//!     }
//! }
//!
//! #[chaos_test]
//! async fn answers_after_a_partition(cx: Chaos) -> Result<()> {
//!     let echo = cx.host("echo").main(serve).ready(tcp(7)).start().await?;
//!     cx.storm(async || {
//!         cx.partition("test", &echo).keep();
//!         tokio::time::sleep(std::time::Duration::from_secs(3)).await;
//!     })
//!     .await;
//!     eventually!(within = "30s", tokio::net::TcpStream::connect(echo.addr(7)).await.is_ok());
//!     Ok(())
//! }
//! # fn main() {}
//! ```
//!
//! # What runs
//!
//! First a *calm rehearsal*: the test in good weather. Then the cases that are saved in `chaos-regressions/`. Then one
//! case for each seed, 64 unless the test or the environment says otherwise; on CI the seeds are the same in every run,
//! elsewhere they are fresh. A case that fails is run again to confirm it, made smaller, and reported; of those that
//! pass, each sixteenth is run again, and the two runs have to be equal.
//!
//! | variable | value | meaning |
//! | --- | --- | --- |
//! | `CHAOS_SEED` | `0x5f1d`, `24349` | run the case of this seed and nothing else: an exact replay |
//! | | `1-1000` | run the cases of these seeds |
//! | | `calm:0x5f1d` | run the rehearsal of this seed |
//! | `CHAOS_REPLAY` | `c1_02p9…` | run the case of this token, with its plan, and nothing else: an exact replay |
//! | | a path | run each case of this regression file once, or this plan under many seeds |
//! | `CHAOS_CASES` | `500`, `x10` | run this many cases, or this many times as many as the test says |
//! | `CHAOS_TIME` | `10m` | begin no further case of a test after this much real time |
//! | `CHAOS_JOBS` | `4` | run this many cases of one test at the same time; 1 unless set, since tests run in parallel |
//! | `CHAOS_SHRINK` | `60s`, `500`, `off` | spend this much real time, or this many runs, on making a failing plan smaller |
//! | `CHAOS_SAVE` | `auto`, `always`, `never` | write what fails to `chaos-regressions/`; `auto`: on CI print it instead; `never`: neither |
//! | `CHAOS_CHECK` | `determinism`, `default` | run every case twice and compare, or each sixteenth |
//! | `CHAOS_REQUIRE` | `real` | fail where a test of the real world would be skipped, because the machine lacks something |
//! | `CHAOS_PROFILE` | `nightly` | use the settings of this profile of `chaos.toml` (see below) |
//! | `CHAOS_LOG` | `failed`, `none` | show the last lines of each host of a failed case (the default), or not |
//! | | `all`, `kv0,c*` | show what hosts write, of all or some, while cases run |
//! | `CHAOS_DEBUG` | `1` | with `CHAOS_REPLAY` or `CHAOS_SEED`: run the case in this process, for a debugger (see below) |
//! | `CHAOS_OUT` | `target/chaos` | where log files and `cases.jsonl` go |
//! | `CHAOS_EVENTS` | `1` | with `CHAOS_REPLAY` or `CHAOS_SEED`: write every event of the case to `events.txt`, to compare runs |
//! | `CHAOS_DISKS` | `1` | with `CHAOS_REPLAY` or `CHAOS_SEED`: copy what the hosts have on their disks to `disks/` |
//! | `CHAOS_SWEEP` | `1`, `50` | crash each host after every event of one run's storm, or after each fiftieth, instead of the test's faults |
//! | `CHAOS_PERTURB` | `1204` | disturb this event in second runs, to see that the difference is found |
//! | | `weather` | let the faults of plans do nothing, to see that a test notices |
//! | | `fsync` | let no fsync keep anything, to see that a test notices |
//!
//! Any other `CHAOS_*` is an error, and so are two that contradict each other. `RUST_LOG` and `RUST_BACKTRACE` reach
//! the hosts; nothing else of the environment does.
//!
//! A project keeps settings in `chaos.toml`, beside the package's manifest or the workspace's. The profile `ci` is used
//! where `CI` is set; the environment wins over a profile, a profile over the attribute.
//!
//! ```toml
//! [profile.ci]
//! cases = 200
//! time = "2m"
//!
//! [profile.nightly]
//! cases = "x100"
//! check = "determinism"    # the other keys: shrink, jobs, save
//! ```
//!
//! # What is left of a run
//!
//! In `target/chaos/PACKAGE.TARGET/TEST/`: `cases.jsonl`, with seed, outcome, digest, number of events and virtual time
//! of each case of the last run, one JSON object a line; when a case failed, a log file for each of its hosts, and
//! `arguments.txt` if it has arguments; `events.txt` and `disks/` when they were asked for. What failed is kept in
//! `chaos-regressions/`.
//! Equal digests mean equal runs: in all that any program was given, in the same order at the same time.
//!
//! # Under a debugger
//!
//! With `CHAOS_DEBUG=1` the test process executes itself in its own place, with the layout that every case has, and
//! runs the case without forks:
//!
//! ```text
//! CHAOS_DEBUG=1 CHAOS_SEED=0x5f1d gdb --args target/debug/deps/kv-0123456789abcdef --exact linearizable
//! ```

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod arguments;
mod blackbox;
mod cases;
mod chaos;
mod client;
mod definition;
mod document;
mod duration;
mod error;
mod eventually;
mod fault;
mod hosts;
mod leaks;
mod package;
pub mod prelude;
mod regressions;
mod report;
mod settings;
mod storm;
mod supervisor;
mod system;
mod timestamp;
mod token;
pub mod wan;
mod weather;
mod worker;
mod world;

pub use chaos::{Chaos, Random};
pub use client::{Client, ClientBuilder};
pub use duration::{DurationError, IntoDuration};
pub use error::{Error, Result};
pub use fault::Fault;
pub use hosts::{
    CrashStates, Host, HostBuilder, HostError, HostMain, HostState, Hosts, Member, NotReady, OnExit, Probe, Runtime,
    Started, Targets, Usage, http, probe, tcp,
};
pub use leaks::Leaks;
/// The strategies that parameters of a test are drawn from: the crate, in the version that windtunnel uses.
#[doc(no_inline)]
pub use proptest;
pub use storm::Storm;
/// What can go wrong: faults, plans, and the vocabulary that `faults = …` takes.
#[doc(inline)]
pub use windtunnel_faults as faults;
pub use windtunnel_macros::{chaos_test, test};
