//! What the member counts, under etcd's names where the meaning is etcd's.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::process::ProcessUsage;

type Level = Gauge<i64, AtomicI64>;

/// One member's metrics: a value, not a global.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) has_leader: Level,
    pub(crate) is_leader: Level,
    pub(crate) leader_changes: Counter,
    pub(crate) committed: Level,
    pub(crate) applied: Level,
    pub(crate) pending: Level,
    pub(crate) failed: Counter,
    pub(crate) fsync_seconds: Histogram,
    pub(crate) batch_entries: Histogram,
    pub(crate) snapshot_seconds: Histogram,
    pub(crate) ranges: Counter,
    pub(crate) puts: Counter,
    pub(crate) deletes: Counter,
    pub(crate) txns: Counter,
    pub(crate) revision: Level,
    pub(crate) compact_revision: Level,
    pub(crate) keys: Level,
    pub(crate) state_bytes: Level,
    pub(crate) log_bytes: Level,
    pub(crate) watchers: Level,
    pub(crate) watch_streams: Level,
    pub(crate) events_sent: Counter,
    pub(crate) leases_granted: Counter,
    pub(crate) leases_revoked: Counter,
    pub(crate) leases_expired: Counter,
    pub(crate) leases: Level,
    process: ProcessMetrics,
}

#[derive(Default)]
struct ProcessMetrics {
    resident_bytes: Level,
    virtual_bytes: Level,
    cpu_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    open_files: Level,
    max_files: Level,
    start_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
}

/// Shortest bucket of times in seconds, growth, and count: as etcd's fsync histogram, 1 ms to 8 s,
/// with finer ones below because a fast disk syncs in a fraction of a millisecond.
const SECONDS: (f64, f64, u16) = (0.000_125, 2.0, 17);

/// Buckets of batch sizes, in entries: 1 to 4,096.
const ENTRIES: (f64, f64, u16) = (1.0, 2.0, 13);

impl Metrics {
    /// Fresh metrics of a member.
    pub(crate) fn new(member_id: u64, version: &'static str) -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        constant(r, "etcd_server_id", "Member id", ("server_id", format!("{member_id:x}")));
        constant(r, "etcd_server_version", "Version", ("server_version", version.to_owned()));
        Self {
            has_leader: level(r, "etcd_server_has_leader", "1 when a leader is known"),
            is_leader: level(r, "etcd_server_is_leader", "1 when this member leads"),
            leader_changes: count(r, "etcd_server_leader_changes_seen", "Leader changes seen"),
            committed: level(r, "etcd_server_proposals_committed_total", "Committed log index"),
            applied: level(r, "etcd_server_proposals_applied_total", "Applied log index"),
            pending: level(r, "etcd_server_proposals_pending", "Proposals not answered yet"),
            failed: count(r, "etcd_server_proposals_failed", "Proposals refused or lost"),
            fsync_seconds: times(r, "etcd_disk_wal_fsync_duration_seconds", "Syncs of the log"),
            batch_entries: {
                let (first, factor, buckets) = ENTRIES;
                let sizes = Histogram::new(exponential_buckets(first, factor, buckets));
                r.register("skein_store_log_batch_entries", "Entries per sync", sizes.clone());
                sizes
            },
            snapshot_seconds: times(
                r,
                "etcd_debugging_snap_save_total_duration_seconds",
                "Writing snapshots",
            ),
            ranges: count(r, "etcd_mvcc_range", "Range requests served"),
            puts: count(r, "etcd_mvcc_put", "Put requests applied"),
            deletes: count(r, "etcd_mvcc_delete", "DeleteRange requests applied"),
            txns: count(r, "etcd_mvcc_txn", "Txn requests applied"),
            revision: level(r, "etcd_debugging_mvcc_current_revision", "Current revision"),
            compact_revision: level(r, "etcd_debugging_mvcc_compact_revision", "Last compaction"),
            keys: level(r, "etcd_debugging_mvcc_keys_total", "Keys"),
            state_bytes: level(r, "etcd_mvcc_db_total_size_in_bytes", "Keys and history, bytes"),
            log_bytes: level(r, "skein_store_log_size_bytes", "Segment files of the log, bytes"),
            watchers: level(r, "etcd_debugging_mvcc_watcher_total", "Open watchers"),
            watch_streams: level(r, "etcd_debugging_mvcc_watch_stream_total", "Watch streams"),
            events_sent: count(r, "etcd_debugging_mvcc_events", "Events sent to watchers"),
            leases_granted: count(r, "etcd_debugging_lease_granted", "Leases granted"),
            leases_revoked: count(r, "etcd_debugging_lease_revoked", "Leases revoked"),
            leases_expired: count(r, "etcd_debugging_server_lease_expired", "Leases expired"),
            leases: level(r, "skein_store_leases", "Live leases"),
            process: ProcessMetrics::register(r),
            registry,
        }
    }

    /// All metrics in the OpenMetrics text format.
    pub(crate) fn render(&self) -> String {
        self.process.refresh();
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl ProcessMetrics {
    fn register(r: &mut Registry) -> Self {
        let float = |r: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
            r.register(name, help, gauge.clone());
            gauge
        };
        Self {
            resident_bytes: level(r, "process_resident_memory_bytes", "Resident memory, bytes"),
            virtual_bytes: level(r, "process_virtual_memory_bytes", "Virtual memory, bytes"),
            cpu_seconds: float(r, "process_cpu_seconds_total", "User and system time, seconds"),
            open_files: level(r, "process_open_fds", "Open files"),
            max_files: level(r, "process_max_fds", "Files that may be open"),
            start_seconds: float(r, "process_start_time_seconds", "Start, seconds since 1970"),
        }
    }

    fn refresh(&self) {
        let usage = ProcessUsage::read();
        self.resident_bytes.set(usage.resident_bytes as i64);
        self.virtual_bytes.set(usage.virtual_bytes as i64);
        self.cpu_seconds.set(usage.cpu_seconds);
        self.open_files.set(usage.open_files as i64);
        self.max_files.set(usage.max_files as i64);
        self.start_seconds.set(usage.start_seconds);
    }
}

/// A level of 1 whose label is the news.
fn constant(registry: &mut Registry, name: &str, help: &str, label: (&'static str, String)) {
    let family = Family::<Vec<(&'static str, String)>, Level>::default();
    family.get_or_create(&vec![label]).set(1);
    registry.register(name, help, family);
}

fn level(registry: &mut Registry, name: &str, help: &str) -> Level {
    let gauge = Level::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// The text format adds `_total` to a counter's name.
fn count(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn times(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let (first, factor, buckets) = SECONDS;
    let histogram = Histogram::new(exponential_buckets(first, factor, buckets));
    registry.register(name, help, histogram.clone());
    histogram
}
