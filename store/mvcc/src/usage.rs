//! How much memory the state takes.

use crate::history::Version;

/// Bytes that one version takes beside its record: its entry in the history, its entry among the
/// changes and the allocator's bookkeeping. With 31-byte keys and 256-byte values `machine-bench`
/// finds 619 bytes resident and 501 counted for a key with one version, 2,511 and 2,509 with five.
pub(crate) const VERSION_OVERHEAD_BYTES: usize = 160;

/// Bytes that a lease takes beside its keys: its entry here, the leader's entry for its expiry, and
/// the allocator's bookkeeping of both.
pub(crate) const LEASE_BYTES: usize = 256;

/// Memory of the replicated state. The same on every member at the same revision once freed
/// versions are gone, and close to what the process really takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Versions in memory, tombstones and those that a compaction is about to free included.
    pub versions: usize,
    /// Bytes of keys, values, leases and their bookkeeping.
    pub bytes: usize,
}

impl Usage {
    pub(crate) fn version_added(&mut self, key: &[u8], version: &Version) {
        self.versions += 1;
        self.bytes += cost(key, version);
    }

    pub(crate) fn version_removed(&mut self, key: &[u8], version: &Version) {
        self.versions -= 1;
        self.bytes -= cost(key, version);
    }
}

/// The key is counted with every version: records carry it, and the index shares one more copy.
fn cost(key: &[u8], version: &Version) -> usize {
    key.len() + version.event.len() + VERSION_OVERHEAD_BYTES
}
