//! The server: what mini-redis's own `src/bin/server.rs` does.

use clap::Parser;
use mini_redis::{DEFAULT_PORT, server};
use tokio::net::TcpListener;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A Redis server.
///
/// mini-redis's own program listens on the loopback only and stops on SIGINT; this one listens
/// where it is told, and stops on SIGTERM too, as a supervisor expects.
#[derive(Debug, Parser)]
struct Args {
    /// The address to serve on.
    #[arg(long, default_value_t = format!("0.0.0.0:{DEFAULT_PORT}"))]
    listen: String,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
///
/// When it cannot listen or set up logging.
#[tokio::main]
pub async fn server_main() -> mini_redis::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).try_init()?;

    let args = Args::parse();
    let listener = TcpListener::bind(&args.listen).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    server::run(listener, stop).await
}
