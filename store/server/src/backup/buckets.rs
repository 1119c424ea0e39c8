//! What etcd 3.7 calls its buckets and how it writes keys into them. (Facts: files written by
//! etcd 3.7.1.)

use prost::Message;

/// The history: revisions and what each did.
pub(crate) const KEY: &str = "key";
pub(crate) const ALARM: &str = "alarm";
pub(crate) const LEASE: &str = "lease";
pub(crate) const META: &str = "meta";
pub(crate) const CLUSTER: &str = "cluster";
pub(crate) const MEMBERS: &str = "members";
pub(crate) const AUTH: &str = "auth";
pub(crate) const AUTH_USERS: &str = "authUsers";
pub(crate) const AUTH_ROLES: &str = "authRoles";

/// Every bucket of a file, in order of their names. etcd expects all of them to be there.
pub(crate) const ALL: [&str; 10] =
    [ALARM, AUTH, AUTH_ROLES, AUTH_USERS, CLUSTER, KEY, LEASE, MEMBERS, "members_removed", META];

/// Keys of `meta`. The revisions of the compactions that were begun and finished:
pub(crate) const SCHEDULED_COMPACT: &str = "scheduledCompactRev";
pub(crate) const FINISHED_COMPACT: &str = "finishedCompactRev";
/// Index and term of the last log entry that the file contains.
pub(crate) const CONSISTENT_INDEX: &str = "consistent_index";
pub(crate) const TERM: &str = "term";
pub(crate) const CONF_STATE: &str = "confState";
pub(crate) const STORAGE_VERSION: &str = "storageVersion";

/// Keys of `auth`.
pub(crate) const AUTH_ENABLED: &str = "authEnabled";
pub(crate) const AUTH_REVISION: &str = "authRevision";

/// Key of `cluster`.
pub(crate) const CLUSTER_VERSION: &str = "clusterVersion";

/// Length of a revision: two numbers and what divides them.
const REVISION: usize = 17;
const DIVIDER: u8 = b'_';
const TOMBSTONE: u8 = b't';

/// A key of the bucket `key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RevisionKey {
    pub(crate) main: i64,
    pub(crate) sub: u32,
    pub(crate) tombstone: bool,
}

impl RevisionKey {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(REVISION + 1);
        out.extend_from_slice(&self.main.to_be_bytes());
        out.push(DIVIDER);
        out.extend_from_slice(&u64::from(self.sub).to_be_bytes());
        if self.tombstone {
            out.push(TOMBSTONE);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (main, rest) = bytes.split_first_chunk::<8>()?;
        let (&[divider], rest) = rest.split_first_chunk::<1>()?;
        let (sub, rest) = rest.split_first_chunk::<8>()?;
        let tombstone = match rest {
            [] => false,
            [TOMBSTONE] => true,
            _ => return None,
        };
        let sub = u32::try_from(u64::from_be_bytes(*sub)).ok()?;
        let main = i64::from_be_bytes(*main);
        (divider == DIVIDER).then_some(Self { main, sub, tombstone })
    }
}

/// A value of the bucket `lease` (etcd's `leasepb.Lease`); its key is the id, big-endian.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaseValue {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
    #[prost(int64, tag = "2")]
    pub(crate) ttl_seconds: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order() {
        assert!(ALL.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn revisions_are_written_as_etcd_writes_them() {
        let put = RevisionKey { main: 5, sub: 258, tombstone: false };
        let bytes = b"\0\0\0\0\0\0\0\x05_\0\0\0\0\0\0\x01\x02";
        assert_eq!(put.encode(), bytes);
        let delete = RevisionKey { tombstone: true, ..put };
        assert_eq!(delete.encode(), [bytes.as_slice(), b"t"].concat());
        for key in [put, delete] {
            assert_eq!(RevisionKey::decode(&key.encode()), Some(key));
        }
    }

    #[test]
    fn what_is_no_revision_is_not_read() {
        let good = RevisionKey { main: 5, sub: 1, tombstone: false }.encode();
        let mut divided = good.clone();
        divided[8] = b'-';
        let mut large = good.clone();
        large[9] = 1;
        for bad in [&good[..16], &divided, &large, &[&good[..], b"x"].concat(), b""] {
            assert_eq!(RevisionKey::decode(bad), None, "{bad:?}");
        }
    }
}
