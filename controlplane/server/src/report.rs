//! `skein-controlplane status`: what a running control plane says of itself, for people.

use std::fmt::{self, Display, Write as _};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::cli::{Output, StatusArgs};

/// Time for connecting, and between two pieces of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines of one list; the whole is in the JSON.
const LISTED_MAX: usize = 50;

/// Asks and prints.
///
/// # Errors
/// No control plane answers there, or something else does.
pub fn run(args: &StatusArgs) -> Result<()> {
    let addr = args.metrics_addr;
    let body = fetch(addr).with_context(|| format!("no status from {addr}"))?;
    let text = match args.output {
        Output::Table => {
            let status: Status = serde_json::from_str(&body)
                .with_context(|| format!("{addr} answers, but not as a control plane does"))?;
            status.to_string()
        }
        Output::Json => {
            let status: serde_json::Value =
                serde_json::from_str(&body).context("the answer is not JSON")?;
            format!("{status:#}\n")
        }
    };
    std::io::stdout().lock().write_all(text.as_bytes()).context("cannot print")
}

/// HTTP/1.0, so that the answer ends with the connection and is sent in one piece.
fn fetch(addr: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE).context("cannot connect")?;
    stream.set_read_timeout(Some(PATIENCE)).context("socket")?;
    stream.set_write_timeout(Some(PATIENCE)).context("socket")?;
    write!(stream, "GET /status HTTP/1.0\r\nHost: {addr}\r\n\r\n").context("cannot ask")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no whole answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP server")?;
    let line = head.lines().next().unwrap_or_default();
    ensure!(line.split(' ').nth(1) == Some("200"), "it answers {line:?}");
    Ok(body.to_owned())
}

/// What is printed of `/status`.
#[derive(Debug, Deserialize)]
struct Status {
    version: String,
    leader: bool,
    phase: String,
    error: String,
    source: Source,
    plan: Plan,
    store: Store,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    name: String,
    read: bool,
    complete: bool,
    namespaces: usize,
    nodes: usize,
    pods: usize,
    services: usize,
    endpoint_slices: usize,
    problems: Vec<Problem>,
    foreign_count: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    rounds: u64,
    last_plan_ms: f64,
    waiting: Vec<Note>,
    problems: Vec<Note>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Store {
    endpoints: Vec<String>,
    embedded: bool,
    in_sync: bool,
    written_revision: i64,
    services: usize,
    slices: usize,
    pods: usize,
    identities: usize,
    ips: usize,
    nodes: usize,
    blocks: usize,
    blocks_total: u64,
}

#[derive(Debug, Deserialize)]
struct Problem {
    origin: Origin,
    object: Option<String>,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Origin {
    file: String,
    line: u32,
}

#[derive(Debug, Deserialize)]
struct Note {
    subject: String,
    reason: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { file, line } = &self.origin;
        match line {
            0 => write!(f, "{file}: ")?,
            line => write!(f, "{file}:{line}: ")?,
        }
        // Many reasons name the object already.
        if let Some(object) = self.object.as_ref().filter(|o| !self.reason.contains(o.as_str())) {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.reason)
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { source, plan, store, .. } = self;
        let role = if self.leader { "leader" } else { self.phase.as_str() };
        writeln!(f, "Control plane  {role}, version {}", self.version)?;
        if !self.error.is_empty() {
            writeln!(f, "Error          {}", self.error)?;
        }
        let state = match (source.read, source.complete) {
            (false, _) => "not read yet",
            (true, true) => "all read",
            (true, false) => "not all could be read: nothing is deleted for being absent",
        };
        writeln!(f, "Source         {}, {state}", source.name)?;
        writeln!(
            f,
            "  objects      {} namespaces, {} nodes, {} pods, {} services, {} endpoint slices, \
             {} of other kinds",
            source.namespaces,
            source.nodes,
            source.pods,
            source.services,
            source.endpoint_slices,
            source.foreign_count
        )?;
        let kind = if store.embedded { "embedded" } else { "external" };
        let sync = match (store.in_sync, self.leader) {
            (true, _) => "in sync",
            (false, true) => "not in sync",
            (false, false) => "not followed while another leads",
        };
        writeln!(f, "Store          {kind}, {}, {sync}", store.endpoints.join(", "))?;
        if self.leader {
            writeln!(
                f,
                "  keys         {} nodes, {} of {} blocks, {} pods, {} identities, {} addresses, \
                 {} services, {} slices",
                store.nodes,
                store.blocks,
                store.blocks_total,
                store.pods,
                store.identities,
                store.ips,
                store.services,
                store.slices
            )?;
            writeln!(
                f,
                "Plans          {}, the last took {:.1} ms; last revision written {}",
                plan.rounds, plan.last_plan_ms, store.written_revision
            )?;
        }
        list(f, "Problems in the source", &source.problems)?;
        list(f, "Problems of the plan", &plan.problems)?;
        list(f, "Waiting", &plan.waiting)
    }
}

fn list<T: Display>(f: &mut fmt::Formatter<'_>, title: &str, items: &[T]) -> fmt::Result {
    if items.is_empty() {
        return writeln!(f, "\n{title}: none");
    }
    writeln!(f, "\n{title} ({}):", items.len())?;
    for item in items.iter().take(LISTED_MAX) {
        // Texts of others' making stay on their line.
        let mut line = String::new();
        write!(line, "{item}")?;
        writeln!(f, "  {}", line.replace(|c: char| c.is_control(), " "))?;
    }
    match items.len().saturating_sub(LISTED_MAX) {
        0 => Ok(()),
        more => writeln!(f, "  … and {more} more, see -o json"),
    }
}
