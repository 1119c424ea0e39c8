//! What the member counts, under etcd's names where the meaning is etcd's.

pub(crate) mod grpc;
mod text;

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use skein_store_api::pb::etcdserverpb::AlarmMember;
use skein_store_mvcc::ClusterVersion;

use crate::process::ProcessUsage;
use grpc::GrpcMetrics;

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
    pub(crate) quota_bytes: Level,
    in_use_bytes: Level,
    /// Applying entries to the state in memory, which is this store's backend.
    commit_seconds: Histogram,
    slow_applies: Counter,
    pub(crate) slow_reads: Counter,
    pub(crate) failed_reads: Counter,
    pub(crate) grpc: GrpcMetrics,
    cluster_version: Labelled,
    alarms: Labelled,
    process: ProcessMetrics,
}

type Labelled = Family<Vec<(&'static str, String)>, Level>;

#[derive(Default)]
struct ProcessMetrics {
    resident_bytes: Level,
    virtual_bytes: Level,
    cpu_seconds: Counter<f64, std::sync::atomic::AtomicU64>,
    open_files: Level,
    max_files: Level,
    used_files: Level,
    files_limit: Level,
    start_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
}

/// Shortest bucket of times in seconds, growth, and count: as etcd's fsync histogram, 1 ms to 8 s,
/// with finer ones below because a fast disk syncs in a fraction of a millisecond.
const SECONDS: (f64, f64, u16) = (0.000_125, 2.0, 17);

/// Buckets of batch sizes, in entries: 1 to 4,096.
const ENTRIES: (f64, f64, u16) = (1.0, 2.0, 13);

/// A batch that takes longer to apply is called slow; etcd's `--warning-apply-duration`.
const SLOW_APPLY: Duration = Duration::from_millis(100);

impl Metrics {
    /// Fresh metrics of a member.
    pub(crate) fn new(member_id: u64, version: &'static str) -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        level(r, "etcd_server_is_learner", "1 when this member does not vote");
        level(r, "etcd_server_snapshot_apply_in_progress_total", "1 while a snapshot is applied");
        count(r, "etcd_server_heartbeat_send_failures", "Heartbeats that could not be sent");
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
            quota_bytes: level(r, "etcd_server_quota_backend_bytes", "Quota, bytes; -1 is none"),
            in_use_bytes: level(
                r,
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "The same as the total size: freed memory is free at once",
            ),
            commit_seconds: times(
                r,
                "etcd_disk_backend_commit_duration_seconds",
                "Applying a batch to the state in memory, which is the backend",
            ),
            slow_applies: count(r, "etcd_server_slow_apply", "Batches that took long to apply"),
            slow_reads: count(r, "etcd_server_slow_read_indexes", "Reads not confirmed in time"),
            failed_reads: count(r, "etcd_server_read_indexes_failed", "Reads not confirmed"),
            grpc: GrpcMetrics::register(r),
            cluster_version: labelled(r, "etcd_cluster_version", "The cluster's version"),
            alarms: labelled(r, "etcd_debugging_server_alarms", "1 for each active alarm"),
            process: ProcessMetrics::register(r),
            registry,
        }
    }

    /// A batch of entries was applied.
    pub(crate) fn applied_in(&self, took: Duration) {
        self.commit_seconds.observe(took.as_secs_f64());
        if took > SLOW_APPLY {
            self.slow_applies.inc();
            tracing::warn!(took_ms = took.as_millis() as u64, "applying a batch took long");
        }
    }

    /// What the cluster has agreed on.
    pub(crate) fn show_cluster(&self, version: ClusterVersion, alarms: &[AlarmMember]) {
        self.cluster_version.clear();
        self.cluster_version.get_or_create(&vec![("cluster_version", version.short())]).set(1);
        self.alarms.clear();
        for alarm in alarms {
            let labels = vec![
                ("alarm_type", alarm.alarm().as_str_name().to_owned()),
                ("server_id", format!("{:x}", alarm.member_id)),
            ];
            self.alarms.get_or_create(&labels).set(1);
        }
    }

    /// All metrics in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        self.process.refresh();
        self.in_use_bytes.set(self.state_bytes.get());
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut page, &self.registry);
        text::from_open_metrics(&page)
    }
}

impl ProcessMetrics {
    fn register(r: &mut Registry) -> Self {
        Self {
            resident_bytes: level(r, "process_resident_memory_bytes", "Resident memory, bytes"),
            virtual_bytes: level(r, "process_virtual_memory_bytes", "Virtual memory, bytes"),
            cpu_seconds: {
                let seconds = Counter::default();
                r.register("process_cpu_seconds", "User and system time, seconds", seconds.clone());
                seconds
            },
            open_files: level(r, "process_open_fds", "Open files"),
            max_files: level(r, "process_max_fds", "Files that may be open"),
            used_files: level(r, "os_fd_used", "Open files"),
            files_limit: level(r, "os_fd_limit", "Files that may be open"),
            start_seconds: {
                let seconds = Gauge::default();
                r.register("process_start_time_seconds", "Start, since 1970", seconds.clone());
                seconds
            },
        }
    }

    fn refresh(&self) {
        let usage = ProcessUsage::read();
        self.resident_bytes.set(usage.resident_bytes as i64);
        self.virtual_bytes.set(usage.virtual_bytes as i64);
        let more = usage.cpu_seconds - self.cpu_seconds.get();
        self.cpu_seconds.inc_by(more.max(0.0));
        self.used_files.set(usage.open_files as i64);
        self.files_limit.set(usage.max_files as i64);
        self.open_files.set(usage.open_files as i64);
        self.max_files.set(usage.max_files as i64);
        self.start_seconds.set(usage.start_seconds);
    }
}

/// A level of 1 whose label is the news.
fn constant(registry: &mut Registry, name: &str, help: &str, label: (&'static str, String)) {
    labelled(registry, name, help).get_or_create(&vec![label]).set(1);
}

fn labelled(registry: &mut Registry, name: &str, help: &str) -> Labelled {
    let family = Labelled::default();
    registry.register(name, help, family.clone());
    family
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
