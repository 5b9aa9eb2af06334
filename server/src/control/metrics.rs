//! The port for metrics: whether the process lives, whether it is ready, and a few gauges as Prometheus reads them.
//!
//! Plain HTTP, without a name or a secret in it, for this machine or a network that monitors.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use super::{Phase, State, each};
use crate::room::Place;

/// Connections at once.
const PLACES: usize = 64;
/// How long a connection may take to ask, and live at most.
const TO_ASK: Duration = Duration::from_secs(5);
const LIFE: Duration = Duration::from_secs(60);
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;

/// Answers, until the server ends.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    each(TcpListenerStream::new(listener), PLACES, |stream| {
        let state = state.clone();
        async move {
            let service = service_fn(|request| {
                let state = state.clone();
                async move { Ok::<_, Infallible>(answer(&request, &state).await) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(TO_ASK).max_buf_size(MAX_HEAD);
            // A connection that breaks is its own affair.
            let _ = tokio::time::timeout(LIFE, http.serve_connection(TokioIo::new(stream), service)).await;
        }
    })
    .await;
}

async fn answer(request: &Request<Incoming>, state: &State) -> Response<Full<Bytes>> {
    let phase = *state.phase.borrow();
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/live") => (StatusCode::OK, "live\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/ready") => match phase {
            Phase::Ready => (StatusCode::OK, "ready\n".to_owned()),
            Phase::Locked => (StatusCode::SERVICE_UNAVAILABLE, "locked\n".to_owned()),
            Phase::Opening => (StatusCode::SERVICE_UNAVAILABLE, "opening\n".to_owned()),
            Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
        },
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, gauges(state, phase).await),
        (_, "/live" | "/ready" | "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "there are /live, /ready and /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// How much room there is where the vault writes, one line a place; nothing where that cannot be told.
fn disks(places: &[Place]) -> String {
    let free = places.iter().filter_map(|place| Some((place.what, place.free()?)));
    let lines: String =
        free.map(|(what, free)| format!("strongroom_disk_free_bytes{{place=\"{what}\"}} {free}\n")).collect();
    match lines.is_empty() {
        true => lines,
        false => format!(
            "# HELP strongroom_disk_free_bytes Bytes that may still be written where the vault writes.\n\
             # TYPE strongroom_disk_free_bytes gauge\n{lines}"
        ),
    }
}

/// The gauges, in Prometheus's text format.
async fn gauges(state: &State, phase: Phase) -> String {
    let mut text = disks(&state.places);
    let mut gauge = |name: &str, help: &str, labels: &str, value: u64| {
        // A `String` takes everything.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{labels} {value}\n");
    };
    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    gauge("strongroom_build_info", "The version that runs.", &version, 1);
    gauge("strongroom_locked", "Whether the root key waits for a human.", "", (phase == Phase::Locked).into());
    gauge("strongroom_ready", "Whether calls are served.", "", (phase == Phase::Ready).into());
    let Some(vault) = state.vault.get().and_then(Weak::upgrade) else { return text };
    let stopped = vault.recorder.stopped_tenants() as u64;
    gauge("strongroom_tenants_stopped", "Tenants that this node has stopped: their ledgers do not fit.", "", stopped);
    if let Some(keys) = state.keys.get().and_then(Weak::upgrade) {
        let (sessions, cached) = keys.held();
        gauge("strongroom_sessions", "Sessions whose secrets this node holds.", "", sessions as u64);
        gauge("strongroom_tenant_keys", "Unwrapped keys of tenants that this node holds.", "", cached as u64);
    }
    // A database that does not answer has no lag to tell; what else is known is told.
    match vault.catalog.checkpoint_lag().await {
        Ok(lag) => {
            gauge("strongroom_checkpoint_lag_entries", "Entries of the ledger furthest from its checkpoint.", "", lag)
        }
        Err(error) => tracing::warn!(%error, "the lag of checkpoints is not known"),
    }
    text
}
