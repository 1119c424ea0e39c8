//! HTTP/1.1 as a probe speaks it.

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
    Ok(format!(
        "{status} | {} | {} | {:?}",
        header("content-type"),
        header("allow"),
        lines.concat()
    ))
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
