//! Bounds of a request, with etcd's defaults (etcd 3.7, server/embed/config.go and
//! server/lease/lessor.go).

/// Largest encoded request, in bytes. Flag `--max-request-bytes`.
pub const MAX_REQUEST_BYTES: usize = 1_572_864;

/// What a gRPC message may exceed [`MAX_REQUEST_BYTES`] by: room for the envelope around the
/// request, in bytes.
pub const GRPC_OVERHEAD_BYTES: usize = 512 * 1024;

/// Most operations in each list of a transaction. Flag `--max-txn-ops`.
pub const MAX_TXN_OPS: usize = 128;

/// Longest time to live of a lease, in seconds.
pub const MAX_LEASE_TTL_SECONDS: i64 = 9_000_000_000;

/// Size of one blob of a Maintenance.Snapshot stream, in bytes.
pub const SNAPSHOT_BLOB_BYTES: usize = 32 * 1024;

/// Members in a cluster, voters and learners together, that are advised at most.
pub const MAX_MEMBERS: usize = 7;

// An envelope must never be able to hide a second request.
const _: () = assert!(GRPC_OVERHEAD_BYTES < MAX_REQUEST_BYTES);
