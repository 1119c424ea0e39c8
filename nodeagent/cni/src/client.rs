//! One call to the agent's socket, with the standard library.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::error::{self, CniError};
use crate::messages::{Request, Response};

/// Longest wait for an answer. An ADD takes milliseconds; this is for a machine that is busy, and
/// below the two minutes after which container runtimes give up themselves.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens: the agent is not there (yet).
    #[error("the agent does not answer at {path}")]
    Away {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// The connection broke off.
    #[error("the call to the agent broke off")]
    Broken(#[source] std::io::Error),
    /// Not an answer.
    #[error("the agent's answer is not valid")]
    Garbled(#[source] serde_json::Error),
    /// The agent refused.
    #[error("{}", .0.message)]
    Refused(crate::messages::ErrorReply),
}

impl From<CallError> for CniError {
    fn from(call: CallError) -> CniError {
        let message = call.to_string();
        match &call {
            CallError::Away { source, .. } | CallError::Broken(source) => {
                CniError::new(error::TRY_AGAIN_LATER, message).with_details(source.to_string())
            }
            CallError::Garbled(source) => {
                CniError::new(error::DECODING_FAILURE, message).with_details(source.to_string())
            }
            CallError::Refused(reply) => CniError::new(reply.code, message),
        }
    }
}

/// Asks the agent once.
pub fn call(socket: &Path, request: &Request) -> Result<serde_json::Value, CallError> {
    let mut lines = send(socket, request, Some(ANSWER_TIMEOUT))?;
    next_answer(&mut lines)?
        .ok_or_else(|| CallError::Broken(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)))
}

/// Sends a request and leaves the answers to be read one by one with [`next_answer`].
pub fn send(
    socket: &Path,
    request: &Request,
    timeout: Option<Duration>,
) -> Result<BufReader<UnixStream>, CallError> {
    let away = |source| CallError::Away { path: socket.display().to_string(), source };
    let mut stream = UnixStream::connect(socket).map_err(away)?;
    stream.set_read_timeout(timeout).map_err(CallError::Broken)?;
    let mut line = serde_json::to_vec(request).map_err(CallError::Garbled)?;
    line.push(b'\n');
    stream.write_all(&line).map_err(CallError::Broken)?;
    Ok(BufReader::new(stream))
}

/// The next answer; `None` when the agent hung up.
pub fn next_answer(
    lines: &mut BufReader<UnixStream>,
) -> Result<Option<serde_json::Value>, CallError> {
    let mut line = String::new();
    if lines.read_line(&mut line).map_err(CallError::Broken)? == 0 {
        return Ok(None);
    }
    match serde_json::from_str(&line).map_err(CallError::Garbled)? {
        Response::Ok(value) => Ok(Some(value)),
        Response::Error(reply) => Err(CallError::Refused(reply)),
    }
}
