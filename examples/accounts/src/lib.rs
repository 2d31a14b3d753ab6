//! Bank accounts in SQLite, served by axum.
//!
//! ```text
//! accounts --listen 10.0.0.1:8080 --journal wal
//! curl --json '{"id":"t1","debit":0,"credit":1,"amount":5,"purpose":"rent"}' 10.0.0.1:8080/transfers
//! curl 10.0.0.1:8080/books
//! ```
//!
//! # What it promises
//!
//! No money is made or lost, and a transfer that was answered outlives kills and losses of power. All of that is
//! SQLite's doing, and depends on two settings:
//!
//! | `--journal` | `--synchronous` | after a loss of power |
//! | --- | --- | --- |
//! | `wal` | `full`, `extra` | all that was answered is there |
//! | `delete` | `extra` | all that was answered is there |
//! | `delete` | `full` | the last transfer that was answered may be gone |
//! | any | `off` | transfers may be gone, and the database may be damaged |
//!
//! With a rollback journal a transaction is committed when the journal is removed. `full` does not sync that removal:
//! the journal may be back after the crash, and what it undoes is undone.

pub mod client;
pub mod transfer;

mod args;
mod bank;
mod http;

pub use crate::bank::OPENING_BALANCE;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;

use crate::args::Args;
use crate::bank::Bank;

/// The service: reads its arguments, looks whether the database is whole, and serves.
///
/// # Errors
///
/// When it cannot listen.
///
/// # Panics
///
/// When the database is damaged: nothing that it says is to be relied on.
#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let bank = match Bank::open(&args) {
        Ok(bank) => bank,
        Err(error) => panic!("failed to open the books: {error:#}"),
    };
    let listener =
        TcpListener::bind(&args.listen).await.with_context(|| format!("failed to listen on {}", args.listen))?;
    axum::serve(listener, http::router(bank, args)).await.context("failed to serve")
}
