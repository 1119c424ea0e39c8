//! The history: what clients asked and were told, what watchers received, what members applied.
//!
//! Times are microseconds of one clock, whichever; the
//! simulator's or the machine's monotonic one. Keys and values are text, and every value is written
//! once, so that a value names its write.

use serde::{Deserialize, Serialize};

/// One key as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kv {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Revision of its creation.
    pub create: i64,
    /// Revision of its last change.
    pub modified: i64,
    /// Puts since its creation.
    pub version: i64,
    /// The lease it is attached to, 0 for none.
    pub lease: i64,
}

/// Keys from `key` to before `end`; only `key` without an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First key.
    pub key: String,
    /// The key behind the last.
    pub end: Option<String>,
}

impl Span {
    /// One key.
    pub fn of(key: impl Into<String>) -> Self {
        Self { key: key.into(), end: None }
    }

    /// Whether `key` lies in it.
    pub fn contains(&self, key: &str) -> bool {
        match &self.end {
            None => key == self.key,
            Some(end) => key >= self.key.as_str() && key < end.as_str(),
        }
    }
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compare {
    /// The key was last changed in this revision; 0 means that it does not exist.
    Modified(String, i64),
    /// The key exists with this value.
    Value(String, String),
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Write a key.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Remove keys.
    Delete(Span),
    /// Read keys as they are at this step.
    Get(Span),
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Read keys; `revision` 0 is the newest.
    Range {
        /// Which keys.
        span: Span,
        /// As of when.
        revision: i64,
        /// Whether a member may answer from what it has.
        serializable: bool,
    },
    /// Write a key.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// The lease to attach it to, 0 for none.
        lease: i64,
    },
    /// Remove keys.
    Delete(Span),
    /// If all of `compares` hold do `then`, else `otherwise`, in one revision.
    Txn {
        /// The conditions.
        compares: Vec<Compare>,
        /// When they hold.
        then: Vec<Op>,
        /// When one does not.
        otherwise: Vec<Op>,
    },
    /// Create a lease of that id.
    Grant {
        /// Its id.
        id: i64,
        /// Its time to live in seconds.
        ttl: i64,
    },
    /// Remove a lease and its keys.
    Revoke {
        /// Its id.
        id: i64,
    },
    /// Let a lease live on.
    KeepAlive {
        /// Its id.
        id: i64,
    },
    /// Forget history before this revision.
    Compact {
        /// The revision.
        revision: i64,
    },
}

/// The answer to one step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpAnswer {
    /// To a put.
    Put,
    /// To a delete: how many keys.
    Deleted(i64),
    /// To a get.
    Got(Vec<Kv>),
}

/// What a client was told, with the revision of the answer's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To a range.
    Range {
        /// Header.
        revision: i64,
        /// The keys in order.
        kvs: Vec<Kv>,
    },
    /// To a put.
    Put {
        /// Header: the revision of the write.
        revision: i64,
    },
    /// To a delete.
    Delete {
        /// Header.
        revision: i64,
        /// How many keys.
        deleted: i64,
    },
    /// To a transaction.
    Txn {
        /// Header.
        revision: i64,
        /// Whether the conditions held.
        succeeded: bool,
        /// The answers of the steps taken.
        answers: Vec<OpAnswer>,
    },
    /// To a grant.
    Granted {
        /// Header.
        revision: i64,
    },
    /// To a revoke.
    Revoked {
        /// Header.
        revision: i64,
    },
    /// To a keep-alive; 0 when there is no such lease any more.
    KeptAlive {
        /// The time to live in seconds.
        ttl: i64,
    },
    /// To a compaction.
    Compacted {
        /// Header.
        revision: i64,
    },
    /// The state forbids it, which is an answer about the state like any other.
    Refused(Refusal),
}

/// Why a state forbids a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no such lease.
    LeaseNotFound,
    /// There is such a lease already.
    LeaseExists,
    /// The revision was compacted.
    Compacted,
    /// The revision is not reached yet.
    FutureRevision,
}

impl Answer {
    /// The revision of the header, when the answer has one.
    pub fn revision(&self) -> Option<i64> {
        match self {
            Answer::Range { revision, .. }
            | Answer::Put { revision }
            | Answer::Delete { revision, .. }
            | Answer::Txn { revision, .. }
            | Answer::Granted { revision }
            | Answer::Revoked { revision }
            | Answer::Compacted { revision } => Some(*revision),
            Answer::KeptAlive { .. } | Answer::Refused(_) => None,
        }
    }
}

/// How an operation ended, as its client knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// With an answer at a time.
    Done {
        /// When.
        at: u64,
        /// The answer.
        answer: Answer,
    },
    /// It certainly did not happen and never will.
    Failed,
    /// It may have happened, may happen later, or never.
    Unknown,
}

/// One operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who asked.
    pub client: u32,
    /// Which member was asked.
    pub member: u64,
    /// Which life of that member, counted from its first start.
    pub life: u64,
    /// When it was asked.
    pub called: u64,
    /// What was asked.
    pub request: Request,
    /// What came of it.
    pub outcome: Outcome,
}

impl Operation {
    /// When and what it was answered.
    pub fn answer(&self) -> Option<(u64, &Answer)> {
        match &self.outcome {
            Outcome::Done { at, answer } => Some((*at, answer)),
            Outcome::Failed | Outcome::Unknown => None,
        }
    }

    /// Whether it may be answered from an old state.
    pub fn is_serializable(&self) -> bool {
        matches!(self.request, Request::Range { serializable: true, .. })
    }
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub revision: i64,
    /// The key.
    pub key: String,
    /// What it holds since then; nothing after a delete.
    pub kv: Option<Kv>,
    /// What it held before, where that was asked for and is still known.
    pub prev: Option<Kv>,
}

/// What a watcher received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Received {
    /// The watch begins with what happens from this revision on. Once at its start and again each
    /// time the client resumes it.
    From {
        /// The first revision of interest.
        revision: i64,
    },
    /// Events, in one message.
    Events(Vec<Event>),
    /// A bookmark: everything up to here was delivered.
    Progress {
        /// Up to here.
        revision: i64,
    },
    /// The watch ended, because compaction overtook it.
    Compacted {
        /// The oldest revision it could start from.
        revision: i64,
    },
}

/// One watch of a client, resumed as often as it broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Its number.
    pub id: u32,
    /// What it watches.
    pub span: Span,
    /// Whether previous values were asked for.
    pub prev_kv: bool,
    /// Everything it received, in order.
    pub received: Vec<Received>,
    /// Everything up to this revision must have been delivered, because the watch was given all the
    /// time it could want. 0 when nothing is known.
    pub complete_through: i64,
}

/// What one member says that its state is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashSeen {
    /// Which member.
    pub member: u64,
    /// At which revision.
    pub revision: i64,
    /// After which compaction.
    pub compact_revision: i64,
    /// The hash.
    pub hash: u32,
}

/// Everything that one member holds at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    /// Which member.
    pub member: u64,
    /// At which revision.
    pub revision: i64,
    /// The keys in order.
    pub kvs: Vec<Kv>,
}

/// All changes of one revision, as one member applied or told them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Which member.
    pub member: u64,
    /// When it did.
    pub at: u64,
    /// Its changes; all of one revision.
    pub events: Vec<Event>,
}

/// When faults ended and how soon clients must be served then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healed {
    /// When the last fault ended.
    pub at: u64,
    /// Operations called this much later must be answered.
    pub grace: u64,
}

/// Everything that is judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// In order of their calls.
    pub operations: Vec<Operation>,
    /// All watches.
    pub watches: Vec<Watch>,
    /// All hashes.
    pub hashes: Vec<HashSeen>,
    /// What was applied, by whom, each revision at least once.
    pub commits: Vec<Commit>,
    /// Final states.
    pub dumps: Vec<Dump>,
    /// When faults ended, if they did.
    pub healed: Option<Healed>,
}
