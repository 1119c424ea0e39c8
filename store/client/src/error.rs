//! What can go wrong between us and the store.

use std::error::Error as _;

use skein_store_schema::SchemaError;
use skein_store_table::RangesError;
use thiserror::Error;
use tonic::Code;

/// A failed call.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Endpoints, certificates or arguments that cannot work.
    #[error("{0}")]
    Config(String),
    /// No endpoint answered, or none of those that did could serve.
    #[error("cannot {what}: {reason}")]
    Unavailable {
        /// What was being done.
        what: &'static str,
        /// The last reason, with its causes.
        reason: String,
        /// True when a write was sent and its fate is unknown.
        maybe_applied: bool,
    },
    /// The revision asked for was compacted away.
    #[error("cannot {what}: the revision has been compacted")]
    Compacted {
        /// What was being done.
        what: &'static str,
    },
    /// The lease does not exist (any more).
    #[error("cannot {what}: the lease does not exist")]
    LeaseNotFound {
        /// What was being done.
        what: &'static str,
    },
    /// A member, user or role of this name does not exist.
    #[error("cannot {what}: {reason}")]
    NotFound {
        /// What was being done.
        what: &'static str,
        /// The store's words.
        reason: String,
    },
    /// The store demands a user, another user, or more rights.
    #[error("cannot {what}: {reason}")]
    Denied {
        /// What was being done.
        what: &'static str,
        /// The store's words.
        reason: String,
    },
    /// The store understood and refused.
    #[error("cannot {what}: {reason}")]
    Refused {
        /// What was being done.
        what: &'static str,
        /// The store's words.
        reason: String,
    },
    /// The writer is not the leader any more; nothing was written.
    #[error("not the leader any more: {key} is gone or of another candidate")]
    Fenced {
        /// The leadership key.
        key: String,
    },
    /// These ranges cannot be watched.
    #[error(transparent)]
    Ranges(#[from] RangesError),
    /// A stored value is not what its kind says.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again later.
    Unavailable,
    /// Read anew, then decide.
    Conflict,
    /// It is not there.
    NotFound,
    /// The call can never succeed as it is.
    Invalid,
    /// More rights are needed.
    Denied,
}

impl ClientError {
    pub(crate) fn config(reason: impl Into<String>) -> Self {
        Self::Config(reason.into())
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Compacted { .. } | Self::Fenced { .. } => ErrorKind::Conflict,
            Self::LeaseNotFound { .. } | Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Config(_) | Self::Refused { .. } | Self::Ranges(_) | Self::Schema(_) => {
                ErrorKind::Invalid
            }
        }
    }

    /// True when the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// True when a write was sent and its fate is unknown.
    pub fn maybe_applied(&self) -> bool {
        matches!(self, Self::Unavailable { maybe_applied: true, .. })
    }

    pub(crate) fn from_etcd(what: &'static str, error: &etcd_client::Error) -> Self {
        let reason = reason(error);
        match answered(error) {
            Some(Code::OutOfRange) if reason.contains("compacted") => Self::Compacted { what },
            Some(Code::NotFound) if reason.contains("lease not found") => {
                Self::LeaseNotFound { what }
            }
            Some(Code::PermissionDenied | Code::Unauthenticated) => Self::Denied { what, reason },
            Some(Code::InvalidArgument) if is_about_login(&reason) => Self::Denied { what, reason },
            Some(Code::NotFound | Code::FailedPrecondition) if reason.ends_with("not found") => {
                Self::NotFound { what, reason }
            }
            Some(code) if !is_transient(code, &reason) => Self::Refused { what, reason },
            Some(_) => {
                let maybe_applied = !is_refused_at_the_door(&reason);
                Self::Unavailable { what, reason, maybe_applied }
            }
            None => Self::Unavailable { what, reason, maybe_applied: !never_sent(error) },
        }
    }
}

/// Whether another try, perhaps at another endpoint, may succeed.
pub(crate) fn is_worth_retrying(error: &etcd_client::Error) -> bool {
    answered(error).is_none_or(|code| is_transient(code, &reason(error)))
}

/// "Not now" that a member says before it passes the request on: for the load, or because a change of
/// members would now put the majority at risk.
fn is_refused_at_the_door(reason: &str) -> bool {
    reason.contains("too many requests") || reason.contains("unhealthy cluster")
}

/// Whether the store refused because of who we say we are, in words that it gives no code of their own.
fn is_about_login(reason: &str) -> bool {
    ["authentication failed", "user name is empty", "revision of auth store is old"]
        .iter()
        .any(|words| reason.contains(words))
}

/// Whether a new login may help: the token has run out, is older than the last change of users and roles,
/// or was not needed when we connected. The request was refused before it did anything.
pub(crate) fn wants_login(error: &etcd_client::Error) -> bool {
    let words = ["invalid auth token", "user name is empty", "revision of auth store is old"];
    answered(error).is_some() && words.iter().any(|words| reason(error).contains(words))
}

/// Whether the store says that it knows no users, so that we cannot log in and need not.
pub(crate) fn needs_no_login(error: &etcd_client::Error) -> bool {
    answered(error).is_some() && reason(error).contains("authentication is not enabled")
}

/// Whether the request certainly did not reach a server: the connection itself was refused.
pub(crate) fn never_sent(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else { return false };
    let mut source = status.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        source = cause.source();
    }
    false
}

/// The code of a server's answer. None when there was no answer: a status that tonic made of a broken
/// connection has a cause, one that a server sent has none.
fn answered(error: &etcd_client::Error) -> Option<Code> {
    match error {
        etcd_client::Error::GRpcStatus(status) if status.source().is_none() => Some(status.code()),
        _ => None,
    }
}

/// Codes by which a server, or a proxy before it, says "not now". Exhaustion is of either kind: etcd means
/// "not now" by too many requests, and "never" by a full disk.
fn is_transient(code: Code, reason: &str) -> bool {
    match code {
        Code::Unavailable
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted => true,
        Code::ResourceExhausted => reason.contains("too many requests"),
        _ => false,
    }
}

/// The server's words without the frame that the client crate puts around them; for broken connections
/// the whole chain of causes, since "transport error" says nothing.
pub(crate) fn reason(error: &etcd_client::Error) -> String {
    match error {
        etcd_client::Error::GRpcStatus(status) => {
            chain(status.message().to_owned(), status.source())
        }
        other => chain(other.to_string(), other.source()),
    }
}

pub(crate) fn chain(
    mut text: String,
    mut source: Option<&(dyn std::error::Error + 'static)>,
) -> String {
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = if text.is_empty() { words } else { format!("{text}: {words}") };
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Status;

    fn error(status: Status) -> ClientError {
        ClientError::from_etcd("write", &etcd_client::Error::GRpcStatus(status))
    }

    #[test]
    fn the_store_s_words_decide_the_kind() {
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        let lease = "etcdserver: requested lease not found";
        for (status, kind) in [
            (Status::unavailable("etcdserver: leader changed"), ErrorKind::Unavailable),
            (Status::resource_exhausted("etcdserver: too many requests"), ErrorKind::Unavailable),
            (
                Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
                ErrorKind::Invalid,
            ),
            (Status::out_of_range(compacted), ErrorKind::Conflict),
            (Status::not_found(lease), ErrorKind::NotFound),
            (Status::not_found("etcdserver: member not found"), ErrorKind::NotFound),
            (Status::failed_precondition("etcdserver: user name not found"), ErrorKind::NotFound),
            (Status::permission_denied("etcdserver: permission denied"), ErrorKind::Denied),
            (Status::invalid_argument("etcdserver: key is not provided"), ErrorKind::Invalid),
        ] {
            let said = status.message().to_owned();
            let error = error(status);
            assert_eq!(error.kind(), kind, "{said}");
            let unknown = kind == ErrorKind::Unavailable && !said.contains("too many requests");
            assert_eq!(error.maybe_applied(), unknown, "{said}");
        }
    }

    #[test]
    fn a_cause_is_told_once() {
        let inner = std::io::Error::other("connection refused");
        let outer = std::io::Error::other(inner);
        assert_eq!(
            chain("transport error".to_owned(), Some(&outer)),
            "transport error: connection refused"
        );
    }
}
