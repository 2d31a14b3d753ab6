//! Storms: the part of a case in which faults blow.

use crate::blackbox::Verdict;
use crate::chaos::Chaos;
use crate::duration::IntoDuration;
use crate::eventually::Observation;
use std::fmt::{self, Debug, Formatter};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::sleep;
use windtunnel_sim::world::HostId;

/// A storm that begins when it is awaited; made by [`Chaos::storm`].
///
/// ```no_run
/// # use windtunnel::prelude::*;
/// # async fn workload() {}
/// # async fn healthy() -> bool { true }
/// # async fn load_fixtures() {}
/// # async fn example(cx: Chaos) {
/// cx.storm(async || workload().await)
///     .lasting("60s")
///     .before(async || load_fixtures().await)
///     .steady("1s", async || healthy().await) // breaks: the storm ends at once, and the case fails
///     .recovered(async || println!("everything is healed"))
///     .await;
/// # }
/// ```
#[must_use = "a storm does nothing until it is awaited"]
pub struct Storm<'c, F> {
    cx: &'c Chaos,
    workload: F,
    lasting: Option<Duration>,
    steady: Vec<Check<'c>>,
    before: Vec<Hook<'c>>,
    recovered: Vec<Hook<'c>>,
}

type BoxFuture<'c, T> = Pin<Box<dyn Future<Output = T> + 'c>>;
type Hook<'c> = Box<dyn FnOnce() -> BoxFuture<'c, ()> + 'c>;
/// Ends when the steady state is broken, saying how.
type Check<'c> = BoxFuture<'c, String>;

impl<'c, F> Storm<'c, F> {
    pub(crate) fn new(cx: &'c Chaos, workload: F) -> Self {
        Self { cx, workload, lasting: None, steady: Vec::new(), before: Vec::new(), recovered: Vec::new() }
    }

    /// Makes the storm last this long instead of as long as its workload. A workload that ends sooner waits for it; one
    /// that takes longer goes on in good weather.
    ///
    /// # Panics
    /// The text is no duration.
    #[track_caller]
    pub fn lasting(mut self, length: impl IntoDuration) -> Self {
        self.lasting = Some(crate::duration::expect(length));
        self
    }

    /// Adds a stop condition: while the storm blows, the check is made again and again, this long after its last
    /// answer. When it does not hold, the storm is over at once: the workload is dropped, every fault is healed, and
    /// the case fails with what the check said. A check is a `bool`, or a `Result` of `()` or `bool`.
    ///
    /// # Panics
    /// The text is no duration.
    #[track_caller]
    pub fn steady<O, C>(mut self, interval: impl IntoDuration, mut check: C) -> Self
    where
        O: Observation,
        C: AsyncFnMut() -> O + 'c,
    {
        let interval = crate::duration::expect(interval);
        self.steady.push(Box::pin(async move {
            loop {
                if let Err(broken) = check().await.holds() {
                    return broken;
                }
                sleep(interval).await;
            }
        }));
        self
    }

    /// Does this before the faults begin, after what was added before it.
    pub fn before(mut self, hook: impl AsyncFnOnce() + 'c) -> Self {
        self.before.push(Box::new(move || Box::pin(hook())));
        self
    }

    /// Does this when every fault is healed and every host is ready again, after what was added before it.
    pub fn recovered(mut self, hook: impl AsyncFnOnce() + 'c) -> Self {
        self.recovered.push(Box::new(move || Box::pin(hook())));
        self
    }
}

impl<'c, F, R> IntoFuture for Storm<'c, F>
where
    F: AsyncFnOnce() -> R + 'c,
    R: 'c,
{
    type Output = R;
    type IntoFuture = Pin<Box<dyn Future<Output = R> + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.blow())
    }
}

impl<F> Storm<'_, F> {
    async fn blow<R>(self) -> R
    where
        F: AsyncFnOnce() -> R,
    {
        let Self { cx, workload, lasting, steady, before, recovered } = self;
        let nested = std::mem::replace(&mut cx.shared().state().storm, true);
        assert!(!nested, "a storm is blowing already: storms do not nest");
        for hook in before {
            hook().await;
        }
        if let Err(reason) = cx.shared().begin_weather() {
            cx.give_up(Verdict::Impossible(reason.into()));
        }
        cx.mark("phase inject");
        let value = match lasting {
            None => {
                let value = unless_broken(cx, steady, workload()).await;
                recover(cx).await;
                value
            }
            Some(length) => {
                let weather = async {
                    unless_broken(cx, steady, sleep(length)).await;
                    recover(cx).await;
                };
                let (value, ()) = tokio::join!(workload(), weather);
                value
            }
        };
        for hook in recovered {
            hook().await;
        }
        cx.mark("phase verify");
        value
    }
}

/// Waits for a future while every check holds. When one does not, the storm is over, and so is the case.
async fn unless_broken<T>(cx: &Chaos, mut checks: Vec<Check<'_>>, future: impl Future<Output = T>) -> T {
    let broken = poll_fn(|context| {
        let first = checks.iter_mut().find_map(|check| match check.as_mut().poll(context) {
            Poll::Ready(broken) => Some(broken),
            Poll::Pending => None,
        });
        first.map_or(Poll::Pending, Poll::Ready)
    });
    tokio::select! {
        biased;
        value = future => value,
        broken = broken => {
            cx.mark("steady state broken");
            // First, since the case's first verdict counts: a host that does not come back would hide this one.
            crate::world::conclude(cx.shared().blackbox, Verdict::Unsteady(broken.into()));
            recover(cx).await;
            crate::world::finish()
        }
    }
}

/// Heals every fault in force and waits until the hosts that were down are ready again.
async fn recover(cx: &Chaos) {
    cx.mark("phase recover");
    let (mut felled, shaken) = cx.shared().end_weather();
    {
        let mut state = cx.shared().state();
        state.storm = false;
        felled.extend(state.faults.heal(cx.shared().blackbox.progress()));
    }
    let mut restarted: Vec<HostId> = Vec::new();
    for host in felled {
        // By hand and by the plan: once is enough.
        if restarted.contains(&host.id()) {
            continue;
        }
        restarted.push(host.id());
        if let Err(error) = host.restart().await {
            cx.give_up(Verdict::NotRecovered(format!("after the storm, {error}").into()));
        }
    }
    for host in shaken.iter().filter(|host| !restarted.contains(&host.id())) {
        if let Err(error) = host.wait_ready().await {
            cx.give_up(Verdict::NotRecovered(format!("after the storm, {error}").into()));
        }
    }
}

impl<F> Debug for Storm<'_, F> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storm").field("lasting", &self.lasting).finish_non_exhaustive()
    }
}
