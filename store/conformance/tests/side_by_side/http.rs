//! HTTP/1.1 as a probe speaks it.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The body of a page.
pub(crate) async fn page(address: &str, path: &str) -> anyhow::Result<String> {
    let answer = raw(address, "GET", path).await?;
    Ok(answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

/// Status line, content type, and body with its lines in order: etcd's come in any.
pub(crate) async fn ask(address: &str, method: &str, path: &str) -> anyhow::Result<String> {
    let answer = raw(address, method, path).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
        line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value).to_owned()
    };
    let mut lines: Vec<&str> = body.split_inclusive('\n').collect();
    lines.sort_unstable();
    // Go's JSON varies its spaces on purpose.
    let body = lines.concat().replace(", \"", ",\"");
    Ok(format!("{status} | {} | {} | {:?}", header("content-type"), header("allow"), body))
}

/// How long a stream may take to say what it has to say.
const LISTEN: Duration = Duration::from_secs(2);

/// A call of the JSON gateway: status, and each text of the answer with what differs taken out. A
/// stream is listened to for a while.
pub(crate) async fn call(address: &str, path: &str, body: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let head = format!("POST {path} HTTP/1.0\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    // Silence ends what does not end by itself.
    let _ = tokio::time::timeout(LISTEN, stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    let mut texts = Vec::new();
    for text in serde_json::Deserializer::from_str(body).into_iter::<Value>() {
        let mut text = text?;
        mask(&mut text);
        texts.push(text.to_string());
    }
    Ok(format!("{status}: {}", texts.join(" | ")))
}

/// What one store chooses or measures and another chooses otherwise.
const OWN: &[&str] = &[
    "cluster_id",
    "member_id",
    "raft_term",
    "raftTerm",
    "raftIndex",
    "raftAppliedIndex",
    "leader",
    "dbSize",
    "dbSizeInUse",
    "hash",
    "blob",
    "remaining_bytes",
    "peerURLs",
    "clientURLs",
];

fn mask(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(_) | Value::Number(_) if OWN.contains(&name.as_str()) => {
                        *value = "own".into();
                    }
                    Value::Array(_) if OWN.contains(&name.as_str()) => *value = "own".into(),
                    _ => mask(value),
                }
            }
        }
        _ => {}
    }
}

async fn raw(address: &str, method: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // The older protocol, in which nothing is sent in chunks.
    let request = format!("{method} {path} HTTP/1.0\r\nHost: h\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
