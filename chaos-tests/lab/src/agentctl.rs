//! Speaking to a node agent over its socket: one JSON object per line each way.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An open connection to one agent.
#[derive(Debug)]
pub struct AgentSocket {
    reader: BufReader<UnixStream>,
}

impl AgentSocket {
    /// Connects to the agent behind `path`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("connect to the agent at {}", path.display()))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Sends one request and returns the answer's object.
    ///
    /// # Errors
    /// The connection broke, or the agent answered with an error.
    pub fn ask(&mut self, request: &Value) -> Result<Value> {
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.reader.get_mut().write_all(line.as_bytes())?;
        line.clear();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("the agent closed the connection instead of answering {request}");
        }
        let answer: Value = serde_json::from_str(&line)
            .with_context(|| format!("the agent's answer to {request}: {line}"))?;
        match answer.get("ok") {
            Some(ok) => Ok(ok.clone()),
            None => bail!("the agent refused {request}: {}", answer["error"]["message"]),
        }
    }

    /// Waits until everything up to `revision` is in the agent's maps.
    ///
    /// # Errors
    /// It is not, within the time the agent waits.
    pub fn wait_revision(&mut self, revision: i64) -> Result<Value> {
        let timeout_ms = u64::try_from(ANSWER_TIMEOUT.as_millis()).unwrap_or(u64::MAX) / 2;
        self.ask(&json!({"op": "wait_revision", "revision": revision, "timeout_ms": timeout_ms}))
    }
}
