//! The service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::messages::{self, Tick, Total};
use super::stubs::counter_server::{Counter, CounterServer};
use crate::args;
use crate::fingerprint::fingerprint;

/// How far ticks are apart.
const TICK: Duration = Duration::from_millis(5);

/// Serves until it is killed.
///
/// # Errors
///
/// When it cannot listen, or what it was given is no address.
#[tokio::main]
pub async fn server_main() -> anyhow::Result<()> {
    let address = args::value_of("--listen", "0.0.0.0:7101")?.parse()?;
    let counter = Adder { began: Instant::now(), total: Arc::default() };
    let routes = Server::builder().add_service(CounterServer::new(counter));
    Ok(routes.serve(address).await?)
}

struct Adder {
    began: Instant,
    total: Arc<AtomicU64>,
}

#[tonic::async_trait]
impl Counter for Adder {
    async fn add(&self, request: Request<messages::Request>) -> Result<Response<Total>, Status> {
        let amount = request.into_inner().amount;
        if amount == 0 {
            return Err(Status::invalid_argument("nothing to add"));
        }
        let total = self.total.fetch_add(amount, Ordering::SeqCst) + amount;
        Ok(Response::new(Total { total, fingerprint: fingerprint(self.began).await }))
    }

    type WatchStream = ReceiverStream<Result<Tick, Status>>;

    async fn watch(&self, request: Request<messages::Request>) -> Result<Response<Self::WatchStream>, Status> {
        let total = self.total.clone();
        let (ticks, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            for number in 0..request.into_inner().amount {
                let tick = Tick { number, total: total.load(Ordering::SeqCst) };
                if ticks.send(Ok(tick)).await.is_err() {
                    break; // the client is gone
                }
                tokio::time::sleep(TICK).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
