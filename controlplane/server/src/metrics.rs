//! Prometheus metrics of the control plane, all under `skein_controlplane_`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use skein_controlplane_core::plan::{Op, Write};

use crate::status::Status;

/// Seconds: planning small changes takes under a millisecond, planning a large cluster tens of them.
const SECONDS: [f64; 12] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    action: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Counters and histograms; gauges are read from the status when asked for.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    leader: Gauge,
    source_complete: Gauge,
    source_problems: Gauge,
    plan_waiting: Gauge,
    plan_problems: Gauge,
    blocks: Gauge,
    blocks_total: Gauge,
    identities: Gauge,
    services: Gauge,
    ips: Gauge,
    writes: Family<WriteLabels, Counter>,
    transactions: Family<Outcome, Counter>,
    plan_seconds: Histogram,
    write_seconds: Histogram,
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("skein_controlplane");
        let histogram = || Histogram::new(SECONDS);
        let (plan_seconds, write_seconds) = (histogram(), histogram());
        let (writes, transactions) = (Family::default(), Family::default());
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let leader = gauge("leader", "1 while this process leads");
        let source_complete = gauge("source_complete", "1 while the source knows all its objects");
        let source_problems = gauge("source_problems", "Invalid documents and unreadable files");
        let plan_waiting = gauge("plan_waiting", "Objects that wait for something");
        let plan_problems = gauge("plan_problems", "Conflicts, exhaustion, refused reports");
        let blocks = gauge("ipam_blocks", "Claimed blocks of pod addresses");
        let blocks_total = gauge("ipam_blocks_capacity", "Blocks that the pool has");
        let identities = gauge("identities", "Allocated identities");
        let services = gauge("services", "Published services");
        let ips = gauge("ips", "Published addresses");
        registry.register("writes", "Keys written, by action and reason", Family::clone(&writes));
        let help = "Transactions sent to the store, by outcome";
        registry.register("transactions", help, Family::clone(&transactions));
        registry.register("plan_seconds", "Duration of planning", plan_seconds.clone());
        registry.register("write_seconds", "Duration of writing a plan", write_seconds.clone());
        Metrics {
            registry,
            leader,
            source_complete,
            source_problems,
            plan_waiting,
            plan_problems,
            blocks,
            blocks_total,
            identities,
            services,
            ips,
            writes,
            transactions,
            plan_seconds,
            write_seconds,
        }
    }

    pub fn planned(&self, seconds: f64) {
        self.plan_seconds.observe(seconds);
    }

    pub fn wrote(&self, seconds: f64) {
        self.write_seconds.observe(seconds);
    }

    /// Counts one transaction and, if it took place, its writes.
    pub fn transaction(&self, outcome: &'static str, writes: &[&Write]) {
        self.transactions.get_or_create(&Outcome { outcome }).inc();
        for write in writes.iter().filter(|_| outcome == "ok") {
            let action = if write.op == Op::Delete { "delete" } else { "put" };
            let labels = WriteLabels { action, reason: write.reason.as_str() };
            self.writes.get_or_create(&labels).inc();
        }
    }

    /// The text that Prometheus reads.
    ///
    /// # Errors
    /// A label that cannot be written; none of ours.
    pub fn render(&self, status: &Status) -> Result<String, std::fmt::Error> {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.leader.set(i64::from(status.leader));
        self.source_complete.set(i64::from(status.source.complete));
        self.source_problems.set(count(status.source.problems.len()));
        self.plan_waiting.set(count(status.plan.waiting.len()));
        self.plan_problems.set(count(status.plan.problems.len()));
        self.blocks.set(count(status.store.blocks));
        self.blocks_total.set(i64::try_from(status.store.blocks_total).unwrap_or(i64::MAX));
        self.identities.set(count(status.store.identities));
        self.services.set(count(status.store.services));
        self.ips.set(count(status.store.ips));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
