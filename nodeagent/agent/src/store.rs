//! The store: watching what this node needs, writing what it reports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use skein_bpf_abi::LAYOUT_VERSION;
use skein_nodeagent_core::calc::Calculator;
use skein_nodeagent_core::endpoint::EndpointState;
use skein_nodeagent_core::ipam::Ipam;
use skein_store_client::{ClientError, Lease, ResumePoint, Session, SyncEvent};
use skein_store_schema::kinds::agent_status::{AgentStatus, AgentStatusKey, Health};
use skein_store_schema::kinds::endpoint_report::{EndpointReport, EndpointReportKey};
use skein_store_schema::kinds::node_report::{NodeReport, NodeReportKey, RoutingMode, agent_range};
use skein_store_schema::{MacAddr, StoreKey, StoreValue};

use crate::engine::Engine;
use crate::node::{Node, unix_ms};

/// Between checkpoints at least: one writes every watched value (tens of megabytes in the largest
/// cluster, and changes wait for some ten milliseconds while it is encoded), and a restart from an older
/// one only hears of more changes again.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
/// Life of the status key without its agent. Long against a restart, short against an operator's
/// patience.
const STATUS_TTL_S: i64 = 30;
/// Between writes of the status: 5,000 agents make 500 writes a second.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// Between looks at whether the reports in the store are still ours.
const REPORT_REFRESH: Duration = Duration::from_secs(60);
/// Wait after a failed write of reports.
const REPORT_RETRY: Duration = Duration::from_secs(1);
/// Wait before a round that failed on the maps is tried again.
const MAP_RETRY: Duration = Duration::from_secs(1);
/// Between looks at whether there is something to keep.
const CHECKPOINT_LOOK: Duration = Duration::from_secs(1);

/// Feeds the engine from the store for ever.
pub async fn watch(node: Arc<Node>, session: Session) -> Result<(), ClientError> {
    let (ranges, resume) = {
        let engine = node.engine();
        (Calculator::ranges(engine.place()), engine.resume_point())
    };
    let resume = resume.map(|(cluster_id, revision)| ResumePoint { cluster_id, revision });
    let mut events = session.watch_ranges(ranges, resume)?;
    let mut retry = tokio::time::interval(MAP_RETRY);
    retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // Both arms may be cancelled: an event is taken from the queue or it is not.
        let event = tokio::select! {
            event = events.next() => event,
            _ = retry.tick() => {
                if node.engine().problems().contains_key("maps") {
                    node.update(|_| ());
                }
                continue;
            }
        };
        let Some(event) = event else { return Ok(()) };
        let mut batch = vec![event];
        while let Some(event) = events.try_next() {
            batch.push(event);
        }
        let is_list = batch.iter().any(|event| matches!(event, SyncEvent::Begin(_)));
        let connects = batch.iter().any(|event| matches!(event, SyncEvent::InSync { .. }));
        node.update(|engine| batch.into_iter().for_each(|event| engine.store_event(event)));
        if connects {
            node.report_due.notify_one();
        }
        if is_list {
            give_memory_back();
        }
    }
}

/// Keeps checkpoints for ever, beside the watch: changes must not wait for the disk.
pub async fn keep_checkpoints(node: Arc<Node>) {
    loop {
        let wait = if checkpoint(&node).await { CHECKPOINT_INTERVAL } else { CHECKPOINT_LOOK };
        tokio::time::sleep(wait).await;
    }
}

/// Keeps a checkpoint if there is something new to keep at a complete revision; whether there was.
pub async fn checkpoint(node: &Arc<Node>) -> bool {
    let Some(checkpoint) = node.engine().checkpoint() else { return false };
    let keeper = Arc::clone(node);
    let kept = tokio::task::spawn_blocking(move || keeper.state.keep_checkpoint(&checkpoint)).await;
    match kept {
        Ok(Ok(())) => node.engine().note("checkpoint", None),
        Ok(Err(error)) => node.engine().note("checkpoint", Some(error.to_string())),
        Err(error) => node.engine().note("checkpoint", Some(error.to_string())),
    }
    give_memory_back();
    true
}

/// A list of the whole store and a checkpoint take tens of megabytes for a moment, in many pieces
/// that the C library would keep.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Keeps this node's reports in the store equal to what is so, for ever.
pub async fn report(node: Arc<Node>, session: Session) {
    loop {
        match write_reports(&node, &session).await {
            Ok(()) => {
                node.engine().note("report", None);
                // Cancel safe: a permit that arrives meanwhile is kept.
                let _ = tokio::time::timeout(REPORT_REFRESH, node.report_due.notified()).await;
            }
            Err(error) => {
                if node.engine().progress().connected {
                    node.engine().note("report", Some(error.to_string()));
                }
                tokio::time::sleep(REPORT_RETRY).await;
            }
        }
    }
}

/// Keeps the status key alive and fresh, for ever.
pub async fn report_status(node: Arc<Node>, session: Session) {
    let mut lease: Option<Lease> = None;
    let mut last_health = None;
    loop {
        let status = status_of(&node);
        let health = status.health;
        match write_status(&node, &session, &mut lease, status).await {
            Ok(()) => last_health = Some(health),
            Err(error) => {
                tracing::debug!(%error, "status not written");
                lease = None;
            }
        }
        let changed = async {
            let mut progress = node.progress.subscribe();
            loop {
                if progress.changed().await.is_err() {
                    return std::future::pending().await;
                }
                // Health only: revisions change all the time.
                if Some(health_of(&node.engine())) != last_health {
                    tokio::time::sleep(REPORT_RETRY).await;
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(STATUS_INTERVAL, changed).await;
    }
}

async fn write_status(
    node: &Node,
    session: &Session,
    lease: &mut Option<Lease>,
    status: AgentStatus,
) -> Result<(), ClientError> {
    if lease.as_ref().is_none_or(Lease::is_lost) {
        *lease = Some(session.lease(STATUS_TTL_S).await?);
    }
    let key = AgentStatusKey { node: node.engine().place().node.clone() };
    session.put(key.encode(), status.encode(), lease.as_ref().map(Lease::id)).await?;
    Ok(())
}

async fn write_reports(node: &Node, session: &Session) -> Result<(), ClientError> {
    let wanted = reports_of(node);
    let own = node.engine().place().node.clone();
    let status = AgentStatusKey { node: own.clone() }.encode().into_bytes();
    let present = session.range(&agent_range(&own)).await?.entries;
    let mut stale = Vec::new();
    let mut equal = Vec::new();
    for entry in present.into_iter().filter(|entry| entry.key != status) {
        match wanted.get(&entry.key) {
            Some(value) if *value == entry.value => equal.push(entry.key),
            Some(_) => {}
            None => stale.push(entry.key),
        }
    }
    for (key, value) in wanted.into_iter().filter(|(key, _)| !equal.contains(key)) {
        session.put(key, value, None).await?;
    }
    for key in stale {
        session.delete(key).await?;
    }
    Ok(())
}

/// Everything this node reports, by key.
fn reports_of(node: &Node) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let engine = node.engine();
    let own = engine.place().node.clone();
    let mut reports = BTreeMap::new();
    let key = NodeReportKey { node: own.clone() }.encode().into_bytes();
    let block = engine.endpoints().ipam().map(Ipam::block);
    let mode = engine.place().mode;
    let node_ip = IpAddr::V4(engine.place().node_ip);
    let report = NodeReport {
        internal_ip: node_ip,
        external_ips: Vec::new(),
        router_ip: block.map(|block| Ipam::router_of(block).into()),
        health_ip: block.map(|block| Ipam::health_of(block).into()),
        tunnel_ip: (mode == RoutingMode::Tunnel).then_some(node_ip),
        routing_mode: mode,
        devices: node.facts.devices.clone(),
        boot_id: node.facts.boot_id.clone(),
    };
    reports.insert(key, report.encode());
    for endpoint in engine.endpoints().iter().filter(|e| e.state == EndpointState::Ready) {
        let names = (endpoint.pod_namespace.parse(), endpoint.pod_name.parse());
        // An attachment without a pod (a plain CNI call) is nobody's business but this node's.
        let (Ok(namespace), Ok(pod)) = names else { continue };
        let key = EndpointReportKey { node: own.clone(), ip: endpoint.ip.into() };
        let report = EndpointReport {
            namespace,
            pod,
            pod_uid: endpoint.pod_uid.clone(),
            container_id: endpoint.attachment.container_id.clone(),
            mac: MacAddr(endpoint.pod_mac),
            ifname: endpoint.host_ifname.clone(),
        };
        reports.insert(key.encode().into_bytes(), report.encode());
    }
    reports
}

fn health_of(engine: &Engine) -> Health {
    let progress = engine.progress();
    if !engine.problems().is_empty() {
        Health::Degraded
    } else if progress.in_sync && progress.datapath_ready {
        Health::Ok
    } else {
        Health::Waiting
    }
}

/// The agent's status as it is written.
pub fn status_of(node: &Node) -> AgentStatus {
    let engine = node.engine();
    let progress = engine.progress();
    let health = health_of(&engine);
    let pressure = match engine.maps() {
        Some(maps) => crate::maps::pressure(&*maps, &engine.sizes()),
        None => BTreeMap::new(),
    };
    let ipam = engine.endpoints().ipam();
    AgentStatus {
        applied_revision: progress.applied_revision,
        health,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        layout_version: LAYOUT_VERSION,
        kernel: node.facts.kernel.clone(),
        datapath: node.facts.datapath_name().to_owned(),
        started_unix_ms: node.facts.started_unix_ms,
        updated_unix_ms: unix_ms(),
        addresses_used: ipam.map_or(0, Ipam::used) as u64,
        addresses_total: ipam.map_or(0, Ipam::capacity) as u64,
        map_pressure: pressure,
        errors: engine.problems().iter().map(|(place, what)| format!("{place}: {what}")).collect(),
    }
}
