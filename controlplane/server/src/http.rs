//! `/healthz`, `/status` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::status::Board;

/// Content type of the OpenMetrics text format.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Shared {
    board: Arc<Board>,
    metrics: Arc<Metrics>,
}

/// Serves until `stop`.
///
/// # Errors
/// The listener broke.
pub async fn serve(
    listener: TcpListener,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/status", get(status))
        .route("/metrics", get(metrics_text))
        .with_state(Shared { board, metrics });
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Healthy: connected to the store and, if leading, in sync with store and source. Problems of
/// single objects do not make the process unhealthy.
async fn health(State(shared): State<Shared>) -> Response {
    let status = shared.board.get();
    if status.error.is_empty() && matches!(status.phase, "leading" | "standby") {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let text = format!("{}: {}\n", status.phase, status.error);
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn status(State(shared): State<Shared>) -> Response {
    Json(shared.board.get()).into_response()
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    match shared.metrics.render(&shared.board.get()) {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
