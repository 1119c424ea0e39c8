//! The HTTP endpoints that probes and dashboards of etcd use.

use std::fmt::Write;
use std::sync::Arc;

use http::{Method, Response, StatusCode, Uri, header};
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::AlarmType;
use skein_store_mvcc::Versions;
use tonic::body::Body;

use crate::ETCD_VERSION;
use crate::core::Core;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// The text format that every version of Prometheus reads; etcd offers no other.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers one request.
pub(crate) async fn answer(core: &Arc<Core>, method: &Method, uri: &Uri) -> Response<Body> {
    let query = Query(uri.query().unwrap_or_default());
    if uri.path() == "/metrics" {
        return reply(StatusCode::OK, METRICS, core.render_metrics());
    }
    let checks = probe(uri.path());
    let known = checks.is_some() || matches!(uri.path(), "/health" | "/version");
    if known && method != Method::GET {
        let mut refusal =
            reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed\n".into());
        refusal.headers_mut().insert(header::ALLOW, http::HeaderValue::from_static("GET"));
        return refusal;
    }
    match (uri.path(), checks) {
        ("/health", _) => health(core, &query).await,
        ("/version", _) => reply(StatusCode::OK, JSON, version(&core.versions())),
        (_, Some(checks)) => run_checks(core, checks, &query).await,
        (_, None) => reply(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".into()),
    }
}

async fn health(core: &Arc<Core>, query: &Query<'_>) -> Response<Body> {
    match trouble(core, query).await {
        None => reply(StatusCode::OK, TEXT, r#"{"health":"true","reason":""}"#.to_owned()),
        Some(reason) => {
            // The order of the fields and the line's end are etcd's.
            let reason = serde_json::Value::from(reason);
            let text = format!("{{\"health\":\"false\",\"reason\":{reason}}}\n");
            reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
        }
    }
}

/// What keeps a member from being healthy, in etcd's words.
async fn trouble(core: &Arc<Core>, query: &Query<'_>) -> Option<String> {
    let alarms = core.alarms();
    let heard = |name: &&str| !query.is("exclude", name);
    let mut names = alarms.iter().map(|alarm| alarm.alarm().as_str_name());
    if let Some(name) = names.find(heard) {
        return Some(format!("ALARM {name}"));
    }
    if query.is("serializable", "true") {
        return None;
    }
    if !core.state.has_leader() {
        return Some("RAFT NO LEADER".to_owned());
    }
    core.linearizable().await.err().map(|error| format!("QGET ERROR:{error}"))
}

fn version(versions: &Versions) -> String {
    let cluster = versions.cluster;
    format!(r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{cluster}","storage":"{cluster}"}}"#)
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

    async fn run(self, core: &Arc<Core>) -> Result<(), String> {
        match self {
            Check::LinearizableRead => core.linearizable().await.map_err(text),
            Check::DataCorruption => {
                let corrupt = core.alarms().iter().any(|alarm| alarm.alarm() == AlarmType::Corrupt);
                if corrupt { Err("alarm activated: CORRUPT".to_owned()) } else { Ok(()) }
            }
            Check::NonLearner if core.is_learner() => Err(text(ApiError::NotSupportedForLearner)),
            // A member that serves at all can read its memory.
            Check::SerializableRead | Check::NonLearner => Ok(()),
        }
    }
}

fn text(error: ApiError) -> String {
    error.to_string()
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
        None => Some(all),
        Some(name) => {
            let at = all.iter().position(|check| check.name() == name)?;
            Some(&all[at..=at])
        }
    }
}

async fn run_checks(core: &Arc<Core>, checks: &[Check], query: &Query<'_>) -> Response<Body> {
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
        return reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{lines}\n"));
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
        assert_eq!(probe("/readyz"), Some(READY));
        assert_eq!(probe("/readyz/non_learner"), Some(&[Check::NonLearner][..]));
        for wrong in ["/livez/linearizable_read", "/readyz/", "/readyzz", "/", "/v3/kv/range"] {
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
