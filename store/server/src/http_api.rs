//! The HTTP endpoints that probes and dashboards of etcd use.

use std::fmt::Write;
use std::sync::Arc;

use http::{Method, Response, StatusCode, Uri, header};
use skein_store_api::ApiError;
use tonic::body::Body;

use crate::ETCD_VERSION;
use crate::core::{CLUSTER_VERSION, Core};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers one request.
pub(crate) async fn answer(core: &Arc<Core>, method: &Method, uri: &Uri) -> Response<Body> {
    let known = matches!(uri.path(), "/health" | "/version" | "/metrics");
    if known && method != Method::GET && method != Method::HEAD {
        return reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed\n".into());
    }
    let query = Query(uri.query().unwrap_or_default());
    match uri.path() {
        "/health" => health(core, &query).await,
        "/version" => reply(StatusCode::OK, JSON, version()),
        "/metrics" => reply(StatusCode::OK, OPEN_METRICS, core.render_metrics()),
        path => match probe(path) {
            Some(checks) => run_checks(core, path, checks, &query).await,
            None => reply(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".into()),
        },
    }
}

async fn health(core: &Arc<Core>, query: &Query<'_>) -> Response<Body> {
    let served = match query.is("serializable", "true") {
        true => Ok(()),
        false => core.linearizable().await,
    };
    let (status, text) = match served {
        Ok(()) => (StatusCode::OK, r#"{"health":"true","reason":""}"#.to_owned()),
        Err(error) => {
            let reason = match error {
                ApiError::NoLeader => "RAFT NO LEADER".to_owned(),
                other => format!("QGET ERROR:{other}"),
            };
            let text = serde_json::json!({ "health": "false", "reason": reason }).to_string();
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    };
    reply(status, JSON, text)
}

fn version() -> String {
    serde_json::json!({
        "etcdserver": ETCD_VERSION,
        "etcdcluster": CLUSTER_VERSION,
        "storage": CLUSTER_VERSION,
    })
    .to_string()
}

/// What a probe looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

const LIVE: &[Check] = &[Check::SerializableRead];
const READY: &[Check] =
    &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run(self, core: &Arc<Core>) -> Result<(), ApiError> {
        match self {
            Check::LinearizableRead => core.linearizable().await,
            Check::NonLearner if core.is_learner() => Err(ApiError::NotSupportedForLearner),
            // A member that serves at all has an undamaged state in memory.
            Check::DataCorruption | Check::SerializableRead | Check::NonLearner => Ok(()),
        }
    }
}

/// The checks of `/livez`, `/readyz`, or of one sub-path of them.
fn probe(path: &str) -> Option<&'static [Check]> {
    let mut parts = path.strip_prefix('/')?.splitn(2, '/');
    let all = match parts.next()? {
        "livez" => LIVE,
        "readyz" => READY,
        _ => return None,
    };
    match parts.next() {
        None | Some("") => Some(all),
        Some(name) => {
            let at = all.iter().position(|check| check.name() == name)?;
            Some(&all[at..=at])
        }
    }
}

async fn run_checks(
    core: &Arc<Core>,
    path: &str,
    checks: &[Check],
    query: &Query<'_>,
) -> Response<Body> {
    let mut lines = String::new();
    let mut healthy = true;
    for check in checks.iter().filter(|check| !query.is("exclude", check.name())) {
        // Writing to a string does not fail.
        let _ = match check.run(core).await {
            Ok(()) => writeln!(lines, "[+]{} ok", check.name()),
            Err(error) => {
                healthy = false;
                writeln!(lines, "[-]{} failed: {error}", check.name())
            }
        };
    }
    if !healthy {
        let text = format!("{lines}{path} check failed\n");
        return reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, text);
    }
    let text = if query.has("verbose") { format!("{lines}ok\n") } else { "ok\n".to_owned() };
    reply(StatusCode::OK, TEXT, text)
}

struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn has(&self, name: &str) -> bool {
        self.pairs().any(|(key, _)| key == name)
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.pairs().any(|pair| pair == (name, value))
    }
}

fn reply(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let body = Body::new(http_body_util::Full::from(text));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_have_sub_paths() {
        assert_eq!(probe("/livez"), Some(LIVE));
        assert_eq!(probe("/readyz/"), Some(READY));
        assert_eq!(probe("/readyz/non_learner"), Some(&[Check::NonLearner][..]));
        for wrong in ["/livez/linearizable_read", "/readyzz", "/", "/v3/kv/range"] {
            assert_eq!(probe(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn queries_are_read() {
        let query = Query("verbose&exclude=non_learner&exclude=x");
        assert!(query.has("verbose") && query.is("exclude", "x"));
        assert!(query.is("exclude", "non_learner") && !query.is("exclude", "y"));
    }
}
