//! The routes. SQLite's calls block, so they run where blocking is allowed, over connections that are kept.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::task::spawn_blocking;

use crate::args::Args;
use crate::bank::Bank;
use crate::transfer::{Books, Transfer};

/// Connections that nobody uses now. As many are made as are used at the same time.
pub(crate) struct Pool {
    idle: Mutex<Vec<Bank>>,
    args: Args,
}

type Failed = (StatusCode, String);

/// All routes, over books that are open.
pub(crate) fn router(bank: Bank, args: Args) -> Router {
    Router::new()
        .route("/transfers", post(transfer))
        .route("/books", get(books))
        .with_state(Arc::new(Pool { idle: Mutex::new(vec![bank]), args }))
}

async fn transfer(State(pool): State<Arc<Pool>>, Json(transfer): Json<Transfer>) -> Result<StatusCode, Failed> {
    if transfer.amount <= 0 {
        return Err((StatusCode::BAD_REQUEST, format!("{} is no amount", transfer.amount)));
    }
    match with_bank(pool, move |bank| bank.transfer(&transfer)).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err((StatusCode::CONFLICT, "there is not money enough, or no such account".to_owned())),
    }
}

async fn books(State(pool): State<Arc<Pool>>) -> Result<Json<Books>, Failed> {
    with_bank(pool, Bank::books).await.map(Json)
}

/// Uses a connection to the books.
async fn with_bank<T: Send + 'static>(
    pool: Arc<Pool>,
    work: impl FnOnce(&mut Bank) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, Failed> {
    let failed = |error: &dyn std::fmt::Display| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let worked = spawn_blocking(move || {
        let idle = || pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle().pop();
        let mut bank = match waiting {
            Some(bank) => bank,
            None => Bank::connect(&pool.args)?,
        };
        let result = work(&mut bank).inspect_err(|error| println!("failed: {error}"))?;
        idle().push(bank);
        anyhow::Ok(result)
    });
    worked.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}
