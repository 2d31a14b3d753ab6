//! What `/metrics` shows: the process-wide prometheus registry.

use std::sync::LazyLock;

use prometheus::{
    HistogramVec, IntCounterVec, IntGauge, TextEncoder, register_histogram_vec, register_int_counter_vec,
    register_int_gauge,
};

/// Clients' requests and how long they took, by operation and outcome.
pub(crate) static REQUEST_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    register_histogram_vec!("kv_request_seconds", "Duration of clients' requests.", &["operation", "outcome"])
        .expect("the name is registered once")
});

/// Requests to peers that failed.
pub(crate) static PEER_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!("kv_peer_failures_total", "Failed requests to peers.", &["peer", "operation"])
        .expect("the name is registered once")
});

/// Keys that this replica holds.
pub(crate) static KEYS: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!("kv_keys", "Keys held.").expect("the name is registered once"));

/// 1 when this replica is ready, 0 before.
pub(crate) static READY: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!("kv_ready", "Whether ready.").expect("the name is registered once"));

/// Everything that has been measured, in the text form that Prometheus scrapes.
///
/// # Errors
///
/// When a metric is malformed.
pub(crate) fn render() -> prometheus::Result<String> {
    TextEncoder::new().encode_to_string(&prometheus::gather())
}
