//! Hashes by which members compare their state.

use prost::Message;
use skein_store_api::ApiError;

use crate::history::Version;
use crate::machine::Machine;
use crate::view::View;

/// A hash over keys and their history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C over every retained version up to `revision`, in order of keys.
    pub hash: u32,
    /// The last compaction, which decides what is retained; -1 when there was none.
    pub compact_revision: i64,
    /// The revision up to which versions count.
    pub revision: i64,
}

impl View {
    /// Hashes the history up to `revision`, 0 for all of it. Reads every version: for a large
    /// store call it on a clone, away from the machine.
    ///
    /// Members with equal `compact_revision` and `revision` must have equal hashes, however far
    /// each is with freeing what compaction left.
    ///
    /// # Errors
    /// [`ApiError::FutureRevision`], [`ApiError::Compacted`].
    pub fn hash_kv(&self, revision: i64) -> Result<HashKv, ApiError> {
        let revision = self.read_revision(revision)?;
        let compact_revision = self.compact_revision;
        let mut hash = 0;
        for (_, history) in self.index.iter() {
            let retained = history.retained(compact_revision);
            for version in retained.take_while(|version| version.rev.main <= revision) {
                hash = hash_version(hash, version);
            }
        }
        Ok(HashKv { hash, compact_revision, revision })
    }
}

impl Machine {
    /// Hashes everything that is replicated: history, leases, members, revisions.
    pub fn hash(&self) -> u32 {
        // A read of the newest revision cannot fail.
        let kv = self.view.hash_kv(0).map_or(0, |hash| hash.hash);
        let mut hash = kv;
        for (id, lease) in self.leases.iter() {
            hash = append(hash, &[id, lease.granted_ttl(), lease.keys().count() as i64]);
        }
        for member in self.members.iter() {
            hash = crc32c::crc32c_append(hash, &member.encode_to_vec());
        }
        append(hash, &[self.view.revision, self.view.compact_revision])
    }
}

/// The event's bytes hold key, value and every counter; its place tells a put from a delete of the
/// same revision.
fn hash_version(hash: u32, version: &Version) -> u32 {
    let hash = append(hash, &[version.rev.main, i64::from(version.rev.sub)]);
    crc32c::crc32c_append(hash, &version.event)
}

fn append(hash: u32, numbers: &[i64]) -> u32 {
    numbers.iter().fold(hash, |hash, number| crc32c::crc32c_append(hash, &number.to_le_bytes()))
}
