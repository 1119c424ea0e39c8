//! Answers, decoded and comparable.

use std::fmt;

/// The header of an answer. A member's messages all carry one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    pub cluster_id: u64,
    pub member_id: u64,
    pub revision: i64,
    pub raft_term: u64,
}

impl Header {
    /// The header without what differs between two clusters that hold the same keys.
    pub fn anonymous(self) -> Self {
        Self { revision: self.revision, ..Self::default() }
    }
}

/// Bytes that print as text where they are text, so that failures can be read.
#[derive(Clone, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct Text(pub Vec<u8>);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 40;
        let shown = self.0.get(..SHOWN_MAX).unwrap_or(&self.0);
        write!(f, "{:?}", String::from_utf8_lossy(shown))?;
        match self.0.len() > shown.len() {
            true => write!(f, "…{} B", self.0.len()),
            false => Ok(()),
        }
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

/// One key as a range or an event shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kv {
    pub key: Text,
    pub value: Text,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranged {
    pub header: Header,
    pub kvs: Vec<Kv>,
    pub more: bool,
    pub count: i64,
}

impl Ranged {
    /// The keys, as text, in the order in which they came.
    pub fn keys(&self) -> Vec<String> {
        self.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key.0).into_owned()).collect()
    }
}

/// The answer to a put.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    pub header: Header,
    pub prev_kv: Option<Kv>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deleted {
    pub header: Header,
    pub deleted: i64,
    pub prev_kvs: Vec<Kv>,
}

/// The answer to one operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Range(Ranged),
    Put(Written),
    Delete(Deleted),
    Txn(Txned),
    /// The oneof was not set.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txned {
    pub header: Header,
    pub succeeded: bool,
    pub ops: Vec<Op>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Put,
    Delete,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub kv: Kv,
    pub prev_kv: Option<Kv>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchFrame {
    pub header: Header,
    pub watch_id: i64,
    pub created: bool,
    pub canceled: bool,
    pub compact_revision: i64,
    pub cancel_reason: String,
    pub fragment: bool,
    pub events: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Granted {
    pub header: Header,
    pub id: i64,
    pub ttl: i64,
    pub error: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeptAlive {
    pub header: Header,
    pub id: i64,
    pub ttl: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TimeToLive {
    pub header: Header,
    pub id: i64,
    pub ttl: i64,
    pub granted_ttl: i64,
    pub keys: Vec<Text>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leases {
    pub header: Header,
    pub ids: Vec<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    pub id: u64,
    pub name: String,
    pub peer_urls: Vec<String>,
    pub client_urls: Vec<String>,
    pub is_learner: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    pub header: Header,
    pub members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    pub header: Header,
    pub version: String,
    pub db_size: i64,
    pub db_size_in_use: i64,
    pub leader: u64,
    pub raft_index: u64,
    pub raft_term: u64,
    pub raft_applied_index: u64,
    pub errors: Vec<String>,
    pub is_learner: bool,
    pub storage_version: String,
}

/// The answer to both hash calls; the plain one leaves the revisions at zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hashed {
    pub header: Header,
    pub hash: u32,
    pub compact_revision: i64,
    pub hash_revision: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Alarms {
    pub header: Header,
    pub count: usize,
}

/// An answer whose header can be made free of what differs between two equal stores.
pub trait Headed {
    fn header_mut(&mut self) -> &mut Header;
}

macro_rules! headed {
    ($($answer:ident),+ $(,)?) => {
        $(impl Headed for $answer {
            fn header_mut(&mut self) -> &mut Header {
                &mut self.header
            }
        })+
    };
}

headed!(
    Ranged, Written, Deleted, Txned, WatchFrame, Granted, KeptAlive, TimeToLive, Leases, Members,
    Status, Hashed, Alarms,
);

impl Headed for Header {
    fn header_mut(&mut self) -> &mut Header {
        self
    }
}
