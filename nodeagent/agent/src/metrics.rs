//! Prometheus metrics.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use skein_bpf_abi::maps::metrics::index;
use skein_bpf_abi::{Direction, Reason};

use crate::node::Node;

/// Bounds of the rounds' histogram, in seconds: a change of one key takes some 100 µs, a start with
/// 100,000 backends about a second.
const ROUND_BUCKETS: [f64; 12] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MapLabels {
    map: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    command: &'static str,
    outcome: &'static str,
}

/// The agent's metrics. Counters of the programs are read from their map when asked for.
pub struct Metrics {
    registry: Mutex<Registry>,
    rounds: Histogram,
    operations: Counter,
    revision: Gauge,
    entries: Family<MapLabels, Gauge>,
    pressure: Family<MapLabels, Gauge<f64, AtomicU64>>,
    cni: Family<RequestLabels, Counter>,
    connected: Gauge,
    addresses: Gauge,
    problems: Gauge,
    events_lost: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("skein_agent");
        let rounds = Histogram::new(ROUND_BUCKETS);
        let metrics = Metrics {
            operations: Counter::default(),
            revision: Gauge::default(),
            entries: Family::default(),
            pressure: Family::default(),
            cni: Family::default(),
            connected: Gauge::default(),
            addresses: Gauge::default(),
            problems: Gauge::default(),
            events_lost: AtomicU64::new(0),
            rounds: rounds.clone(),
            registry: Mutex::default(),
        };
        let m = &metrics;
        registry.register_with_unit(
            "map_round",
            "Time from a batch of store events to the maps that reflect it",
            Unit::Seconds,
            rounds,
        );
        registry.register("map_operations", "Map entries written or deleted", m.operations.clone());
        registry.register(
            "applied_revision",
            "Newest change of the store that the maps reflect",
            m.revision.clone(),
        );
        registry.register("map_entries", "Entries that the agent keeps", m.entries.clone());
        registry.register("map_pressure", "Entries over capacity, 0 to 1", m.pressure.clone());
        registry.register("cni_requests", "CNI requests by command and outcome", m.cni.clone());
        registry.register("store_connected", "1 while the store answers", m.connected.clone());
        registry.register("addresses_used", "Addresses of the block in use", m.addresses.clone());
        registry.register("problems", "Things that cannot be done now", m.problems.clone());
        Metrics { registry: Mutex::new(registry), ..metrics }
    }
}

impl Metrics {
    /// A round took so long and changed so many entries.
    pub fn round(&self, took: Duration, changed: usize) {
        if changed > 0 {
            self.rounds.observe(took.as_secs_f64());
            self.operations.inc_by(changed as u64);
        }
    }

    /// A CNI request ended.
    pub fn cni(&self, command: &'static str, is_ok: bool) {
        let outcome = if is_ok { "ok" } else { "error" };
        self.cni.get_or_create(&RequestLabels { command, outcome }).inc();
    }

    /// Events that a slow monitor lost.
    pub fn lost_events(&self, count: u64) {
        self.events_lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self, node: &Node) -> String {
        self.refresh(node);
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        let end = text.rfind("# EOF").unwrap_or(text.len());
        text.truncate(end);
        let _ = datapath_counters(node, &mut text);
        let lost = self.events_lost.load(Ordering::Relaxed);
        let _ = writeln!(text, "# TYPE skein_agent_monitor_events_lost counter");
        let _ = writeln!(text, "skein_agent_monitor_events_lost_total {lost}");
        text.push_str("# EOF\n");
        text
    }

    fn refresh(&self, node: &Node) {
        let engine = node.engine();
        let progress = engine.progress();
        self.revision.set(progress.applied_revision);
        self.connected.set(i64::from(progress.connected));
        self.problems.set(engine.problems().len() as i64);
        self.addresses.set(engine.endpoints().ipam().map_or(0, |ipam| ipam.used()) as i64);
        let Some(maps) = engine.maps() else { return };
        for (spec, used) in engine.sizes() {
            let labels = MapLabels { map: spec.name.to_owned() };
            self.entries.get_or_create(&labels).set(used as i64);
            let share = used as f64 / f64::from(maps.capacity(spec).max(1));
            self.pressure.get_or_create(&labels).set(share);
        }
    }
}

fn datapath_counters(node: &Node, text: &mut String) -> std::fmt::Result {
    let maps = node.engine().maps();
    let Some(counters) = maps.and_then(|maps| maps.counters().ok()) else { return Ok(()) };
    for (what, unit) in [("packets", 0), ("bytes", 1)] {
        writeln!(text, "# TYPE skein_datapath_{what} counter")?;
        for reason in Reason::ALL {
            for direction in Direction::ALL {
                let Some(metric) = counters.get(index(*reason, *direction) as usize) else {
                    continue;
                };
                let value = if unit == 0 { metric.packets } else { metric.bytes };
                if value > 0 {
                    let (reason_name, direction) = (reason.name(), direction.name());
                    let outcome = outcome_name(*reason);
                    writeln!(
                        text,
                        "skein_datapath_{what}_total{{reason=\"{reason_name}\",direction=\"{direction}\",outcome=\"{outcome}\"}} {value}"
                    )?;
                }
            }
        }
    }
    Ok(())
}

/// Class of a reason as people and metrics name it.
pub fn outcome_name(reason: Reason) -> &'static str {
    match reason.outcome() {
        skein_bpf_abi::Outcome::Forward => "forward",
        skein_bpf_abi::Outcome::Refuse => "refuse",
        skein_bpf_abi::Outcome::Drop => "drop",
        skein_bpf_abi::Outcome::Note => "note",
    }
}
