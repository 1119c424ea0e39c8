//! `skein/election/<name>/<lease hex>`: a candidate, the oldest being the leader.

use serde::{Deserialize, Serialize};

use crate::envelope::{OwnValue, own_value};
use crate::path::{self, key_text};
use crate::{Doc, ElectionName, KeyRange, KeyReason, LeaseId, Lifetime, StoreKey, Writer};

/// A candidate. Sorts by election and lease number; who leads is decided by create revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElectionKey {
    /// What is led.
    pub election: ElectionName,
    /// The candidate's lease.
    pub lease: LeaseId,
}

key_text!(ElectionKey);

impl ElectionKey {
    /// The candidates of one election.
    pub fn election_range(election: &ElectionName) -> KeyRange {
        KeyRange::prefix(Self::election_prefix(election))
    }

    /// The folder of one election, with its slash.
    pub fn election_prefix(election: &ElectionName) -> String {
        format!("{}{election}/", Self::PREFIX)
    }
}

impl StoreKey for ElectionKey {
    type Value = Candidate;
    const PREFIX: &'static str = "skein/election/";
    const DOC: Doc = Doc {
        kind: "Candidate",
        layout: "skein/election/<name>/<lease in hex>",
        scope: "one process that would lead; the one with the lowest create revision does",
        cardinality: "1 to 5",
        writer: Writer::Candidates,
        readers: "candidates; skeinctl. Every write of the leader compares this key's create revision (the fence)",
        lifetime: Lifetime::Lease,
        value: "who the candidate is",
        absence: "without any candidate nothing is planned; agents go on with what they have",
    };

    fn encode(&self) -> String {
        format!("{}{}/{}", Self::PREFIX, self.election, self.lease)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        let [election, lease] = path::split(text, Self::PREFIX, Self::DOC.layout)?;
        Ok(Self { election: election.parse()?, lease: LeaseId::parse_hex(lease)? })
    }

    fn example() -> (Self, Candidate) {
        let key = Self {
            election: ElectionName::new("controlplane").expect("a label"),
            lease: LeaseId::new(0x694d_9b2c_4f5e_7a01).expect("not zero"),
        };
        (key, Candidate { holder: "cp-1".to_owned() })
    }
}

/// Who would lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// A name that tells an operator where to look: host and process.
    pub holder: String,
}

impl OwnValue for Candidate {}
own_value!(Candidate);
