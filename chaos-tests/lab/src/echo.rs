//! The echo server that runs in every pod: HTTP, raw TCP and UDP on the same port numbers. Every reply names the pod.
//!
//! * HTTP (the first bytes look like a request line): `GET /` answers a JSON object; `GET /bytes/N` answers N bytes;
//!   a `POST` answers how many bytes it got.
//! * Raw TCP: one line `pod <namespace>/<name> node <node>`, then everything that comes in goes back out.
//! * UDP: one datagram back, `pod <namespace>/<name> client <address>`, a newline and the datagram that came.
//!
//! The ports are read from a file and read again when it changes, so that a new service port needs no restart.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::workload::Protocol;

/// How often the file of ports is looked at.
const PORTS_POLL: Duration = Duration::from_millis(100);
/// Copy buffer; also the largest datagram there can be.
const BUFFER_BYTES: usize = 65_535;
/// A header block longer than this is no request of ours.
const HEAD_LINES_MAX: usize = 100;
/// What a body repeats, so that a receiver can check every byte.
pub const PATTERN: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n";

/// The file the server is started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EchoConfig {
    /// `<namespace>/<name>`.
    pub pod: String,
    /// The node it runs on.
    pub node: String,
    /// What to listen on.
    pub ports: Vec<(Protocol, u16)>,
    /// Where to listen: all addresses, or the node's own for pods on the host network.
    pub bind: Ipv4Addr,
}

/// Serves until the process is ended.
///
/// # Errors
/// The configuration cannot be read at start.
pub async fn run(path: PathBuf) -> Result<()> {
    let mut servers: BTreeMap<(Protocol, u16), JoinHandle<()>> = BTreeMap::new();
    let mut current = None;
    read_config(&path)?;
    loop {
        if let Ok(config) = read_config(&path)
            && current.as_ref() != Some(&config)
        {
            servers.retain(|port, task| {
                let keep = config.ports.contains(port);
                if !keep {
                    task.abort();
                }
                keep
            });
            for port in &config.ports {
                if !servers.contains_key(port)
                    && let Some(task) = listen(*port, &config).await
                {
                    servers.insert(*port, task);
                }
            }
            current = Some(config);
        }
        tokio::time::sleep(PORTS_POLL).await;
    }
}

fn read_config(path: &Path) -> Result<EchoConfig> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("parse {}", path.display()))
}

async fn listen(port: (Protocol, u16), config: &EchoConfig) -> Option<JoinHandle<()>> {
    let config = Arc::new(config.clone());
    let at = SocketAddr::from((config.bind, port.1));
    let bound = match port.0 {
        Protocol::Tcp => TcpListener::bind(at).await.map(|l| tokio::spawn(serve_tcp(l, config))),
        Protocol::Udp => UdpSocket::bind(at).await.map(|s| tokio::spawn(serve_udp(s, config))),
    };
    bound.inspect_err(|error| eprintln!("cannot listen on {at} ({:?}): {error}", port.0)).ok()
}

async fn serve_udp(socket: UdpSocket, config: Arc<EchoConfig>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let Ok((size, from)) = socket.recv_from(&mut buffer).await else { continue };
        let mut reply = format!("pod {} client {from}\n", config.pod).into_bytes();
        reply.extend_from_slice(&buffer[..size]);
        if let Err(error) = socket.send_to(&reply, from).await {
            eprintln!("reply to {from}: {error}");
        }
    }
}

async fn serve_tcp(listener: TcpListener, config: Arc<EchoConfig>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let config = Arc::clone(&config);
                tokio::spawn(async move {
                    // A client that leaves early is not the server's failure.
                    let _ = serve_connection(stream, from, &config).await;
                });
            }
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(PORTS_POLL).await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    from: SocketAddr,
    config: &EchoConfig,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let first = read.fill_buf().await?;
    if !looks_like_http(first) {
        let hello = format!("pod {} node {}\n", config.pod, config.node);
        write.write_all(hello.as_bytes()).await?;
        tokio::io::copy_buf(&mut read, &mut write).await?;
        return Ok(());
    }
    while let Some(request) = read_request(&mut read).await? {
        let about = json!({
            "pod": config.pod, "node": config.node, "client": from.to_string(),
            "server": local.to_string(), "path": request.path, "received": request.body,
        });
        respond(&mut write, &request, &about.to_string()).await?;
        if request.close {
            break;
        }
    }
    write.shutdown().await
}

fn looks_like_http(first: &[u8]) -> bool {
    const METHODS: [&[u8]; 7] =
        [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH "];
    METHODS.iter().any(|m| first.starts_with(&m[..m.len().min(first.len())]) && !first.is_empty())
}

struct Request {
    path: String,
    /// Bytes of the body, all read.
    body: u64,
    close: bool,
}

async fn read_request(
    read: &mut (impl AsyncBufReadExt + Unpin),
) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if read.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace();
    let path = words.nth(1).unwrap_or("/").to_owned();
    let mut request = Request { path, body: 0, close: line.contains("HTTP/1.0") };
    for _ in 0..HEAD_LINES_MAX {
        line.clear();
        if read.read_line(&mut line).await? == 0 || line.trim().is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            request.body = value.trim().parse().unwrap_or(0);
        }
        if lower.starts_with("connection:") {
            request.close = lower.contains("close");
        }
    }
    let mut body = read.take(request.body);
    request.body = tokio::io::copy_buf(&mut body, &mut tokio::io::sink()).await?;
    Ok(Some(request))
}

async fn respond(
    write: &mut (impl AsyncWriteExt + Unpin),
    request: &Request,
    about: &str,
) -> std::io::Result<()> {
    let wanted = request.path.strip_prefix("/bytes/").and_then(|n| n.parse::<u64>().ok());
    let length = wanted.unwrap_or(about.len() as u64 + 1);
    let kind = if wanted.is_some() { "application/octet-stream" } else { "application/json" };
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
    let Some(mut left) = wanted else {
        return write.write_all(format!("{head}{about}\n").as_bytes()).await;
    };
    write.write_all(head.as_bytes()).await?;
    let chunk = PATTERN.repeat(1024);
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        write.write_all(&chunk[..part]).await?;
        left -= part as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_is_told_from_raw_bytes_by_its_first_bytes() {
        assert!(looks_like_http(b"GET / HTTP/1.1\r\n"));
        assert!(looks_like_http(b"GE"));
        assert!(!looks_like_http(b"hello"));
        assert!(!looks_like_http(b""));
    }

    #[tokio::test]
    async fn one_port_answers_http_and_raw_tcp_and_both_name_the_pod() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let config = EchoConfig {
            pod: "shop/web".into(),
            node: "node1".into(),
            ports: vec![],
            bind: Ipv4Addr::LOCALHOST,
        };
        tokio::spawn(serve_tcp(listener, Arc::new(config)));

        let mut http = TcpStream::connect(at).await.unwrap();
        http.write_all(b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        http.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("\"pod\":\"shop/web\""), "{text}");

        let mut raw = TcpStream::connect(at).await.unwrap();
        raw.write_all(b"hello").await.unwrap();
        raw.shutdown().await.unwrap();
        text.clear();
        raw.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "pod shop/web node node1\nhello");
    }
}
