//! Bounds of one consensus node.

/// Largest run of entries in one append message, in bytes: as etcd, so that one lost message costs
/// little and a heartbeat is never far behind data.
pub const MAX_MESSAGE_BYTES: u64 = 1 << 20;

/// Proposed but not committed bytes before proposals are refused. It bounds memory when a disk
/// stalls: 64 MiB is over forty requests of the largest size.
pub const MAX_UNCOMMITTED_BYTES: u64 = 64 << 20;

/// Committed entries handed out at once, in bytes, so that applying a long backlog never takes one
/// unbounded step.
pub const MAX_COMMITTED_BYTES_PER_STEP: u64 = 16 << 20;

/// Append messages in flight to one peer.
pub const MAX_INFLIGHT_MESSAGES: usize = 512;

/// Applied entries kept in memory for peers that are slightly behind, in entries (etcd keeps the
/// same number).
pub const CATCH_UP_ENTRIES: u64 = 5_000;

/// Bytes of applied entries kept in memory for such peers, whichever bound is met first.
pub const CATCH_UP_BYTES: u64 = 16 << 20;
