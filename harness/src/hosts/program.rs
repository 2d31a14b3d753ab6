//! Functions that can be a host's program.
//!
//! A program runs in an image of its own, as a process would: it cannot capture anything of the test. Hence functions
//! are passed as pointers, and arguments as bytes.

use crate::duration::IntoDuration;
use crate::system::{Caller, Entry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{ExitCode, Termination};
use windtunnel_sim::world;

/// Which tokio runtime an `async` program gets. A `main` that builds its own (`#[tokio::main]`) is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Runtime {
    /// Everything on the main thread. The default: it is the cheapest.
    #[default]
    CurrentThread,
    /// Work-stealing threads, as `#[tokio::main]` makes them.
    MultiThread {
        /// How many.
        workers: usize,
    },
}

impl Runtime {
    fn build(self) -> std::io::Result<tokio::runtime::Runtime> {
        match self {
            Self::CurrentThread => tokio::runtime::Builder::new_current_thread().enable_all().build(),
            Self::MultiThread { workers } => {
                tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
            }
        }
    }
}

/// What happens when a host's program ends by itself: when it returns, exits, aborts or panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExit {
    /// The case fails. The default: a service that has ended is a service that is down.
    #[default]
    Fail,
    /// It is started again after this long; the delay doubles each time, up to 64 times the first.
    Restart {
        /// Delay before the first restart.
        backoff: std::time::Duration,
    },
    /// Nothing: the host stays down.
    Ignore,
}

impl OnExit {
    /// [`OnExit::Restart`] after a time that may be a text.
    ///
    /// # Panics
    /// The text is no duration.
    #[track_caller]
    pub fn restart_after(backoff: impl IntoDuration) -> Self {
        Self::Restart { backoff: crate::duration::expect(backoff) }
    }

    pub(super) fn to_sim(self) -> world::OnExit {
        match self {
            Self::Fail => world::OnExit::Fail,
            Self::Restart { backoff } => world::OnExit::Restart { backoff },
            Self::Ignore => world::OnExit::Ignore,
        }
    }
}

/// What a host's program may return: what a `main` may return, at once or from a future.
///
/// `K` tells the two apart and is never written.
#[diagnostic::on_unimplemented(
    message = "a host's program cannot return `{Self}`",
    label = "this program's return type",
    note = "a host's program returns what `main` may return (`()`, `ExitCode`, `Result<(), E>` with `E: Debug`), \
            or is an `async fn` that does"
)]
pub trait HostMain<K>: Sized {
    /// Runs it to its exit code.
    #[doc(hidden)]
    fn finish(self, runtime: Runtime) -> ExitCode;
}

/// Marks programs that return at once.
#[doc(hidden)]
pub struct Blocking;
/// Marks programs that return a future.
#[doc(hidden)]
pub struct Asynchronous;

impl<T: Termination> HostMain<Blocking> for T {
    fn finish(self, _: Runtime) -> ExitCode {
        self.report()
    }
}

impl<F: Future<Output: Termination>> HostMain<Asynchronous> for F {
    fn finish(self, runtime: Runtime) -> ExitCode {
        match runtime.build() {
            Ok(runtime) => runtime.block_on(self).report(),
            Err(error) => {
                eprintln!("failed to build the host's tokio runtime: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// A function with its arguments, as the kernel takes it.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) entry: Entry,
    /// Serialised `(Runtime, arguments)`.
    pub(super) payload: Vec<u8>,
}

/// Calls a program's function in the program's image; `K` as in [`HostMain`].
struct InImage<K>(PhantomData<K>);

impl<R: HostMain<K>, K> Caller<fn() -> R> for InImage<K> {
    fn call(function: fn() -> R, payload: &[u8]) -> i32 {
        as_process(payload, |runtime, ()| function().finish(runtime))
    }
}

impl<A: DeserializeOwned, R: HostMain<K>, K> Caller<fn(A) -> R> for InImage<K> {
    fn call(function: fn(A) -> R, payload: &[u8]) -> i32 {
        as_process(payload, |runtime, arguments| function(arguments).finish(runtime))
    }
}

impl Program {
    /// What a command has in place of a function: nobody calls it.
    pub(super) fn of_a_command() -> Self {
        let never: fn() = || unreachable!("a command is executed");
        Self { entry: Entry::new::<_, InImage<Blocking>>(never), payload: Vec::new() }
    }

    /// A `main` without arguments.
    pub(super) fn main<R: HostMain<K>, K>(function: fn() -> R, runtime: Runtime) -> Result<Self, serde_json::Error> {
        let payload = serde_json::to_vec(&(runtime, ()))?;
        Ok(Self { entry: Entry::new::<_, InImage<K>>(function), payload })
    }

    /// A function of one serialisable value.
    pub(super) fn run<A, R, K>(function: fn(A) -> R, arguments: &A, runtime: Runtime) -> Result<Self, serde_json::Error>
    where
        A: Serialize + DeserializeOwned,
        R: HostMain<K>,
    {
        let payload = serde_json::to_vec(&(runtime, arguments))?;
        Ok(Self { entry: Entry::new::<_, InImage<K>>(function), payload })
    }
}

/// What std does around a process's `main`: 101 after a panic, and output is flushed.
fn as_process<A: DeserializeOwned>(payload: &[u8], main: impl FnOnce(Runtime, A) -> ExitCode) -> i32 {
    const PANICKED: i32 = 101;
    let (runtime, arguments) = match serde_json::from_slice::<(Runtime, A)>(payload) {
        Ok(parts) => parts,
        Err(error) => {
            eprintln!("failed to read the arguments given with `.run(..)` back from JSON: {error}");
            return 1;
        }
    };
    // Unwind safety: the process ends.
    let code = match catch_unwind(AssertUnwindSafe(|| main(runtime, arguments))) {
        Ok(code) => number(code),
        Err(_panic) => PANICKED,
    };
    // As at a process's end, nobody is left to hear of an error.
    let _: std::io::Result<()> = std::io::stdout().flush();
    code
}

/// The number in an exit code: std has no stable way to read it, but codes can be compared.
fn number(code: ExitCode) -> i32 {
    (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).map_or(1, i32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &Program) -> i32 {
        program.entry.run_here(&program.payload)
    }

    fn fails() -> Result<(), String> {
        Err("no such thing".to_owned())
    }

    async fn sleeps() -> ExitCode {
        tokio::task::yield_now().await;
        ExitCode::from(7)
    }

    #[test]
    fn the_exit_code_is_that_of_a_process() {
        let runtime = Runtime::CurrentThread;
        assert_eq!(run(&Program::main(|| (), runtime).expect("no arguments")), 0);
        assert_eq!(run(&Program::main(fails, runtime).expect("no arguments")), 1);
        assert_eq!(run(&Program::main(sleeps, runtime).expect("no arguments")), 7);
        let panics: fn() = || panic!("on purpose");
        assert_eq!(run(&Program::main(panics, runtime).expect("no arguments")), 101);
    }

    #[test]
    fn arguments_arrive_by_value() {
        async fn check((name, ports): (String, Vec<u16>)) -> ExitCode {
            ExitCode::from(u8::from(name != "kv0" || ports != [1, 2]))
        }
        let arguments = ("kv0".to_owned(), vec![1, 2]);
        let program =
            Program::run(check, &arguments, Runtime::MultiThread { workers: 1 }).expect("they are serialisable");
        assert_eq!(run(&program), 0);
    }
}
