//! Storms: the part of a case in which faults blow.

use crate::blackbox::Verdict;
use crate::chaos::Chaos;
use crate::duration::IntoDuration;
use std::fmt::{self, Debug, Formatter};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::sleep;
use windtunnel_sim::world::HostId;

/// A storm that begins when it is awaited; made by [`Chaos::storm`].
#[must_use = "a storm does nothing until it is awaited"]
pub struct Storm<'c, F> {
    cx: &'c Chaos,
    workload: F,
    lasting: Option<Duration>,
}

impl<'c, F> Storm<'c, F> {
    pub(crate) fn new(cx: &'c Chaos, workload: F) -> Self {
        Self { cx, workload, lasting: None }
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
        let Self { cx, workload, lasting } = self;
        let nested = std::mem::replace(&mut cx.shared().state().storm, true);
        assert!(!nested, "a storm is blowing already: storms do not nest");
        if let Err(reason) = cx.shared().begin_weather() {
            cx.give_up(Verdict::Impossible(reason.into()));
        }
        cx.mark("phase inject");
        let value = match lasting {
            None => {
                let value = workload().await;
                recover(cx).await;
                value
            }
            Some(length) => {
                let weather = async {
                    sleep(length).await;
                    recover(cx).await;
                };
                let (value, ()) = tokio::join!(workload(), weather);
                value
            }
        };
        cx.mark("phase verify");
        value
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
