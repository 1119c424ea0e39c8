//! The agent's socket: one JSON object per line each way. Only root may connect.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use skein_bpf_abi::maps::control::{self, Control, TRACE_FORWARD, TRACE_SOCKET};
use skein_nodeagent_cni::error;
use skein_nodeagent_cni::messages::{ErrorReply, REQUEST_BYTES_MAX, Request, Response};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;

use crate::maps::MapError;
use crate::node::Node;
use crate::{cni, decide, dumps, monitor, status};

/// Longest wait that `wait_revision` grants, so that a forgotten caller does not stay for ever.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Opens the socket; a stale one of a dead agent is replaced (the lock on the state directory says
/// that it is dead).
pub fn listen(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves callers for ever.
pub async fn serve(node: Arc<Node>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let node = Arc::clone(&node);
                tokio::spawn(async move {
                    if let Err(error) = converse(&node, stream).await {
                        tracing::debug!(%error, "a caller hung up");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: do not spin.
                tracing::warn!(%error, "cannot accept a caller");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(node: &Arc<Node>, stream: UnixStream) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    loop {
        let mut line = String::new();
        let mut bounded = (&mut lines).take(REQUEST_BYTES_MAX as u64);
        if bounded.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        match serde_json::from_str(&line) {
            Ok(Request::Monitor { trace }) => return stream_events(node, trace, write).await,
            Ok(request) => {
                let response = answer(node, request).await;
                send(&mut write, &response).await?;
            }
            Err(error) => {
                let message = format!("not a request: {error}");
                let reply = ErrorReply { code: error::DECODING_FAILURE, message };
                send(&mut write, &Response::Error(reply)).await?;
            }
        }
    }
}

async fn send(write: &mut OwnedWriteHalf, response: &Response) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    write.write_all(&line).await
}

async fn answer(node: &Arc<Node>, request: Request) -> Response {
    let outcome = match request {
        Request::CniAdd(request) => {
            counted(node, "add", cni::add(node, request).await).and_then(to_json)
        }
        Request::CniDel(request) => {
            counted(node, "del", cni::del(node, &request).await).and_then(to_json)
        }
        Request::CniCheck(request) => {
            counted(node, "check", cni::check(node, &request).await).and_then(to_json)
        }
        Request::CniGc { valid } => {
            let removed = counted(node, "gc", cni::gc(node, &valid).await);
            removed.map(|removed| serde_json::json!({"removed": removed}))
        }
        Request::CniStatus => counted(node, "status", cni::status(node)).and_then(to_json),
        Request::Status => to_json(status::status(node)),
        Request::BpfLbList => dump(node, |maps, node| dumps::lb(maps, &node.engine())),
        Request::BpfCtList => dump(node, |maps, _| dumps::ct(maps)),
        Request::BpfIpcacheList => dump(node, |maps, _| dumps::ipcache(maps)),
        Request::BpfMetricsList => dump(node, |maps, _| dumps::metrics(maps)),
        Request::BpfEndpointList => dump(node, |maps, node| dumps::endpoints(maps, &node.engine())),
        Request::Decide(question) => decide::decide(node, &question).and_then(to_json),
        Request::WaitRevision { revision, timeout_ms } => {
            wait_revision(node, revision, timeout_ms).await
        }
        // Answered by a stream before it comes here.
        Request::Monitor { .. } => Ok(serde_json::Value::Null),
    };
    outcome.map_or_else(Response::Error, Response::Ok)
}

fn counted<T>(
    node: &Node,
    command: &'static str,
    outcome: Result<T, ErrorReply>,
) -> Result<T, ErrorReply> {
    node.metrics.cni(command, outcome.is_ok());
    outcome
}

fn internal(message: String) -> ErrorReply {
    ErrorReply { code: error::INTERNAL, message }
}

fn to_json(value: impl Serialize) -> Result<serde_json::Value, ErrorReply> {
    serde_json::to_value(value).map_err(|error| internal(error.to_string()))
}

fn dump<T: Serialize>(
    node: &Node,
    read: impl FnOnce(&dyn crate::maps::Maps, &Node) -> Result<T, MapError>,
) -> Result<serde_json::Value, ErrorReply> {
    let maps = node.engine().maps();
    let missing = || internal("the datapath is not in place yet".to_owned());
    let maps = maps.ok_or_else(missing)?;
    to_json(read(&*maps, node).map_err(|error| internal(crate::chain(&error)))?)
}

async fn wait_revision(
    node: &Node,
    revision: i64,
    timeout_ms: u64,
) -> Result<serde_json::Value, ErrorReply> {
    let longest = Duration::from_millis(timeout_ms).min(WAIT_MAX);
    let reached = node
        .wait(longest, |engine| {
            let progress = engine.progress();
            progress.datapath_ready && progress.applied_revision >= revision
        })
        .await;
    let applied = node.engine().progress().applied_revision;
    if reached {
        return Ok(
            serde_json::json!({"applied_revision": applied, "unix_ms": crate::node::unix_ms()}),
        );
    }
    let message = format!("the maps stand at revision {applied}, not yet at {revision}");
    Err(ErrorReply { code: error::TRY_AGAIN_LATER, message })
}

async fn stream_events(
    node: &Arc<Node>,
    trace: bool,
    mut write: OwnedWriteHalf,
) -> std::io::Result<()> {
    let mut events = node.events.subscribe();
    let _tracing = trace.then(|| Tracing::start(Arc::clone(node)));
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(lost)) => {
                node.metrics.lost_events(lost);
                let lost = serde_json::json!({"kind": "lost", "events": lost});
                send(&mut write, &Response::Ok(lost)).await?;
                continue;
            }
            Err(RecvError::Closed) => return Ok(()),
        };
        if !trace && !monitor::is_loss(&event) {
            continue;
        }
        let shown = monitor::show(node, &event);
        let line = serde_json::to_value(shown)?;
        send(&mut write, &Response::Ok(line)).await?;
    }
}

/// Keeps the programs reporting forwarded packets while anybody wants them.
struct Tracing(Arc<Node>);

impl Tracing {
    fn start(node: Arc<Node>) -> Tracing {
        if node.tracers.fetch_add(1, Ordering::SeqCst) == 0 {
            set_trace(&node, TRACE_FORWARD | TRACE_SOCKET);
        }
        Tracing(node)
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        if self.0.tracers.fetch_sub(1, Ordering::SeqCst) == 1 {
            set_trace(&self.0, 0);
        }
    }
}

fn set_trace(node: &Node, events: u32) {
    let Some(maps) = node.engine().maps() else { return };
    let value = Control { events, reserved: 0 };
    if let Err(error) = maps.write(&control::SPEC, &0u32.to_ne_bytes(), &value.to_bytes()) {
        tracing::warn!(error = %crate::chain(&error), "cannot switch the trace of forwarded packets");
    }
}
