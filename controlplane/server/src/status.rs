//! What the process is doing, for `/status`, `/healthz` and the logs.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde::Serialize;
use skein_controlplane_core::object::Kind;
use skein_controlplane_core::plan::Note;
use skein_controlplane_core::source::{Foreign, Problem, Snapshot};
use skein_controlplane_core::{Config, Plan, Tables};
use tracing::{info, warn};

/// Foreign objects listed one by one; beyond them only their number is told.
const FOREIGN_LISTED_MAX: usize = 1000;

/// The state of the process as operators see it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub version: &'static str,
    pub settings: Option<Config>,
    pub leader: bool,
    /// What the process is about: connecting, waiting for leadership, syncing, leading.
    pub phase: &'static str,
    /// The last error that stopped progress; empty when there is none.
    pub error: String,
    pub source: SourceStatus,
    pub plan: PlanStatus,
    pub store: StoreStatus,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    pub name: String,
    /// All was read at least once.
    pub read: bool,
    /// Absence counts: see `Snapshot::complete`.
    pub complete: bool,
    pub namespaces: usize,
    pub nodes: usize,
    pub pods: usize,
    pub services: usize,
    pub endpoint_slices: usize,
    pub problems: Vec<Problem>,
    /// Objects of kinds that are left alone.
    pub foreign: Vec<Foreign>,
    pub foreign_count: usize,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    pub rounds: u64,
    pub last_plan_ms: f64,
    pub waiting: Vec<Note>,
    pub problems: Vec<Note>,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreStatus {
    /// Where clients find the store.
    pub endpoints: Vec<String>,
    pub embedded: bool,
    /// The copy of the store is complete.
    pub in_sync: bool,
    /// The last revision written.
    pub written_revision: i64,
    pub services: usize,
    pub slices: usize,
    pub pods: usize,
    pub identities: usize,
    pub ips: usize,
    pub nodes: usize,
    pub blocks: usize,
    pub blocks_total: u64,
}

/// The one place where the status is kept. Locked for moments only.
#[derive(Debug, Default)]
pub struct Board {
    status: Mutex<Status>,
}

impl Board {
    pub fn new(config: &Config, source: String) -> Board {
        let board = Board::default();
        board.update(|status| {
            status.version = env!("CARGO_PKG_VERSION");
            status.settings = Some(config.clone());
            status.phase = "starting";
            status.source.name = source;
            let bits = |cidr: &ipnet::Ipv4Net| {
                u32::from(config.block_mask.saturating_sub(cidr.prefix_len()))
            };
            status.store.blocks_total = config.pool_cidrs.iter().map(|c| 1 << bits(c)).sum();
        });
        board
    }

    pub fn update<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        change(&mut self.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub fn get(&self) -> Status {
        self.update(|status| status.clone())
    }

    /// Takes a new snapshot of the source. Problems are logged when they come and when they go.
    pub fn source(&self, snapshot: &Snapshot) {
        self.update(|status| {
            log_changes(&status.source.problems, &snapshot.problems, |p, gone| {
                let object = p.object.as_ref().map(ToString::to_string);
                if gone {
                    info!(at = %p.origin, object, reason = p.reason, "manifest problem solved");
                } else {
                    warn!(at = %p.origin, object, reason = p.reason, "manifest problem");
                }
            });
            let seen: BTreeSet<_> = status.source.foreign.iter().map(foreign_text).collect();
            let listed = snapshot.foreign.iter().take(FOREIGN_LISTED_MAX);
            for new in listed.clone().map(foreign_text).filter(|text| !seen.contains(text)) {
                info!(object = new, "not one of our kinds: left alone");
            }
            let source = &mut status.source;
            source.read = true;
            source.complete = snapshot.complete;
            let count = |kind| snapshot.objects.of(kind).len();
            source.namespaces = count(Kind::Namespace);
            source.nodes = count(Kind::Node);
            source.pods = count(Kind::Pod);
            source.services = count(Kind::Service);
            source.endpoint_slices = count(Kind::EndpointSlice);
            source.problems.clone_from(&snapshot.problems);
            source.foreign = listed.cloned().collect();
            source.foreign_count = snapshot.foreign.len();
        });
    }

    /// Takes the result of a planning. Problems are logged when they come and when they go.
    pub fn plan(&self, plan: &Plan, tables: &Tables, took_ms: f64) {
        self.update(|status| {
            log_changes(&status.plan.problems, &plan.problems, |p, gone| {
                if gone {
                    info!(subject = p.subject, reason = p.reason, "problem solved");
                } else {
                    warn!(subject = p.subject, reason = p.reason, "problem");
                }
            });
            status.plan.rounds += 1;
            status.plan.last_plan_ms = took_ms;
            status.plan.waiting.clone_from(&plan.waiting);
            status.plan.problems.clone_from(&plan.problems);
            let store = &mut status.store;
            store.services = tables.services.len();
            store.slices = tables.slices.len();
            store.pods = tables.pods.len();
            store.identities = tables.identities.len();
            store.ips = tables.ips.len();
            store.nodes = tables.nodes.len();
            store.blocks = tables.blocks.len();
        });
    }
}

fn foreign_text(foreign: &Foreign) -> String {
    let Foreign { origin, api_version, kind, name } = foreign;
    format!("{api_version} {kind} {name} ({origin})")
}

/// Calls `say` for what is new and (with `true`) for what is gone. Both lists are sorted.
fn log_changes<T: Ord>(old: &[T], new: &[T], say: impl Fn(&T, bool)) {
    for gone in old.iter().filter(|p| new.binary_search(p).is_err()) {
        say(gone, true);
    }
    for come in new.iter().filter(|p| old.binary_search(p).is_err()) {
        say(come, false);
    }
}
