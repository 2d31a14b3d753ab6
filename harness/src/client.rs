//! Clients: hosts whose program is part of the test.

use crate::chaos::Shared;
use crate::hosts::HostError;
use crate::worker::panics;
use std::fmt::{self, Debug, Formatter};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// Describes a client, until [`run`](Self::run).
#[must_use = "a client does nothing until `.run(..)`"]
pub struct ClientBuilder {
    shared: Arc<Shared>,
    name: String,
}

impl ClientBuilder {
    pub(crate) fn new(shared: &Arc<Shared>, name: &str) -> Self {
        Self { shared: Arc::clone(shared), name: name.to_owned() }
    }

    /// Runs this on a host of the client's own, with a tokio runtime of its own. It may capture and share what the test
    /// has, statics among it; threads that it has started and files that it has opened outlive it. A panic in it fails
    /// the case at once.
    ///
    /// ```no_run
    /// # use windtunnel::prelude::*;
    /// # async fn example(cx: Chaos, kv: Host) {
    /// let addr = kv.addr(8080);
    /// let reader = cx.client("c1").run(async move || tokio::net::TcpStream::connect(addr).await.is_ok());
    /// assert!(reader.await);
    /// # }
    /// ```
    ///
    /// # Panics
    /// The name is taken, or is no host name.
    #[track_caller]
    pub fn run<F, T>(self, client: F) -> Client<T>
    where
        F: AsyncFnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.run_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(client()),
                Err(error) => panic!("failed to build the client's tokio runtime: {error}"),
            }
        })
    }

    /// Runs this on a host of the client's own, without a runtime: for blocking code.
    ///
    /// # Panics
    /// The name is taken, or is no host name.
    #[track_caller]
    pub fn run_blocking<T: Send + 'static>(self, client: impl FnOnce() -> T + Send + 'static) -> Client<T> {
        let (sender, value) = oneshot::channel();
        let blackbox = self.shared.blackbox;
        let main = move || match panics::catch(client) {
            // Nobody listens when the handle was dropped.
            Ok(value) => drop(sender.send(value)),
            Err(panic) => {
                crate::world::conclude(blackbox, panic.into_verdict());
                crate::world::finish();
            }
        };
        if let Err(error) = self.start(Box::new(main)) {
            panic!("{error}");
        }
        Client { name: self.name, value }
    }

    fn start(&self, main: Box<dyn FnOnce() + Send>) -> Result<(), HostError> {
        let id = self.shared.add_host(&self.name)?;
        let mut state = self.shared.state();
        state.clients.push((self.name.clone(), id));
        state.topology.add_client(&self.name);
        drop(state);
        crate::world::start_client(id, main).map_err(|reason| HostError::Start { host: self.name.clone(), reason })
    }
}

impl Debug for ClientBuilder {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientBuilder").field(&self.name).finish()
    }
}

/// A client at work: a future of what it returns. Dropping it does not end the client.
pub struct Client<T> {
    name: String,
    value: oneshot::Receiver<T>,
}

impl<T> Client<T> {
    /// The name of its host.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<T> Future for Client<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.value).poll(context) {
            Poll::Ready(Ok(value)) => Poll::Ready(value),
            Poll::Ready(Err(_gone)) => panic!("client {} was ended before it returned", self.name),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> Debug for Client<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.name).finish()
    }
}
