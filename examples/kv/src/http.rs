//! The routes: clients' under `/kv`, peers' under `/internal`, and what operators look at.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Json, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::trace::TraceLayer;
use tracing::warn;

use crate::membership::Phase;
use crate::metrics;
use crate::peer::Status;
use crate::replica::{Refusal, Replica};
use crate::version::{Entry, Versioned};

type Shared = State<Arc<Replica>>;

/// All routes of `replica`.
pub(crate) fn router(replica: Arc<Replica>) -> Router {
    // The peers' batches are bounded by what clients stored, each value of which passed the limit
    // below.
    let internal = Router::new()
        .route("/status", get(status))
        .route("/get", post(get_here))
        .route("/entries", get(snapshot).post(merge))
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/kv/{key}", get(read).put(write))
        .nest("/internal", internal)
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics_text))
        .layer(TraceLayer::new_for_http())
        .with_state(replica)
}

async fn read(State(replica): Shared, Path(key): Path<String>) -> Result<Response, Refusal> {
    let value = measured("read", replica.read(&key)).await?;
    Ok(value.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response))
}

async fn write(State(replica): Shared, Path(key): Path<String>, value: String) -> Result<StatusCode, Refusal> {
    measured("write", replica.write(key, value)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn status(State(replica): Shared) -> Json<Status> {
    Json(Status { phase: replica.phase() })
}

async fn get_here(State(replica): Shared, Json(key): Json<String>) -> Result<Json<Option<Versioned>>, Refusal> {
    replica.get_here(&key).map(Json)
}

async fn snapshot(State(replica): Shared) -> Result<Json<Vec<Entry>>, Refusal> {
    replica.snapshot().map(Json)
}

async fn merge(State(replica): Shared, Json(entries): Json<Vec<Entry>>) -> Result<StatusCode, Refusal> {
    replica.merge(entries).map(|()| StatusCode::NO_CONTENT)
}

async fn healthz(State(replica): Shared) -> Response {
    match replica.phase() {
        Phase::Ready => "ready".into_response(),
        unready @ (Phase::Fresh | Phase::Founding) => Refusal::NotReady(unready).into_response(),
    }
}

async fn metrics_text() -> Response {
    metrics::render().unwrap_or_else(|error| error.to_string()).into_response()
}

/// Runs a client's operation and records how long it took and how it ended.
async fn measured<T>(operation: &str, run: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let started = std::time::Instant::now();
    let result = run.await;
    let outcome = match &result {
        Ok(_) => "ok",
        Err(Refusal::NotReady(_)) => "not_ready",
        Err(Refusal::NoMajority) => "no_majority",
    };
    metrics::REQUEST_SECONDS.with_label_values(&[operation, outcome]).observe(started.elapsed().as_secs_f64());
    if let Err(refusal) = &result {
        warn!(operation, %refusal, "refused");
    }
    result
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoMajority => StatusCode::GATEWAY_TIMEOUT,
        };
        (status, self.to_string()).into_response()
    }
}
