//! `eventually!`: what must become true within some virtual time.

use crate::duration::IntoDuration;
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// First and longest pause between two looks. Virtual time is free, but each look is work.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Waits until a condition holds, in virtual time, and panics when it does not hold in time.
///
/// The condition is an expression that is evaluated again and again, and may `.await`: a `bool`, or a `Result` of
/// `()` or `bool`, whose error then counts as "not yet". What follows it goes into the message, as in `assert!`.
///
/// ```no_run
/// # use windtunnel::prelude::*;
/// # async fn leaders() -> usize { 1 }
/// # async fn check() -> Result<()> { Ok(()) }
/// # async fn example() {
/// eventually!(within = "30s", leaders().await == 1);
/// eventually!(within = "30s", check().await, "the replicas disagree");
/// # }
/// ```
///
/// # Panics
/// The condition did not hold in time. The message has its text, and what came of the last look.
#[macro_export]
macro_rules! eventually {
    (within = $within:expr, $condition:expr $(,)?) => {{
        let within = $crate::__private::within($within);
        let condition = ::core::stringify!($condition);
        if let ::core::result::Result::Err(last) = $crate::__private::eventually(within, async || $condition).await {
            ::core::panic!("never held within {within:?}: {condition}\n  at last {last}");
        }
    }};
    (within = $within:expr, $condition:expr, $($message:tt)+) => {{
        let within = $crate::__private::within($within);
        let condition = ::core::stringify!($condition);
        if let ::core::result::Result::Err(last) = $crate::__private::eventually(within, async || $condition).await {
            ::core::panic!(
                "never held within {within:?}: {}\n  condition {condition}\n  at last {last}",
                ::core::format_args!($($message)+)
            );
        }
    }};
    ($condition:expr $(, $($rest:tt)*)?) => {
        ::core::compile_error!("say how long it may take: `eventually!(within = \"30s\", condition)`")
    };
}

/// What one look at a condition gives.
#[diagnostic::on_unimplemented(
    message = "`eventually!` cannot tell whether `{Self}` holds",
    note = "a condition is a `bool`, or a `Result` of `()` or `bool` whose error implements `Debug`"
)]
pub trait Observation {
    /// Whether it holds, or what is in the way.
    fn holds(self) -> Result<(), String>;
}

impl Observation for bool {
    fn holds(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("it was false".to_owned()) }
    }
}

impl Observation for () {
    fn holds(self) -> Result<(), String> {
        Ok(())
    }
}

impl<T: Observation, E: Debug> Observation for Result<T, E> {
    fn holds(self) -> Result<(), String> {
        match self {
            Ok(observation) => observation.holds(),
            Err(error) => Err(format!("it was Err({error:?})")),
        }
    }
}

/// The time in `within = …`.
#[track_caller]
pub fn within(within: impl IntoDuration) -> Duration {
    crate::duration::expect(within)
}

/// Looks until the condition holds or the time is over; then says what came of the last look.
pub async fn eventually<O: Observation>(within: Duration, mut condition: impl AsyncFnMut() -> O) -> Result<(), String> {
    let deadline = Instant::now() + within;
    let mut last = None;
    let mut pause = PAUSE_MIN;
    let looking = async {
        loop {
            match condition().await.holds() {
                Ok(()) => return,
                Err(reason) => last = Some(reason),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    };
    match timeout_at(deadline, looking).await {
        Ok(()) => Ok(()),
        Err(_elapsed) => Err(last.unwrap_or_else(|| "the first look had not come back".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime without threads can be built").block_on(future)
    }

    #[test]
    fn it_looks_again_until_the_condition_holds() {
        let mut looks = 0;
        block_on(async {
            eventually!(within = "10s", {
                looks += 1;
                looks == 3
            });
        });
        assert_eq!(looks, 3);
    }

    #[test]
    #[should_panic = "never held within 2ms: 1 > 2\n  at last it was false"]
    fn what_never_holds_is_told_with_its_text() {
        block_on(async { eventually!(within = "2ms", 1 > 2) });
    }

    #[test]
    #[should_panic = "4 replicas disagree\n  condition lost()\n  at last it was Err(\"no leader\")"]
    fn the_last_error_is_told() {
        fn lost() -> Result<(), &'static str> {
            Err("no leader")
        }
        block_on(async { eventually!(within = "2ms", lost(), "{} replicas disagree", 4) });
    }

    #[test]
    #[should_panic = "at last the first look had not come back"]
    fn a_condition_that_hangs_does_not_hang_the_test() {
        block_on(async {
            eventually!(within = "2ms", {
                std::future::pending::<()>().await;
                true
            });
        });
    }
}
