use super::*;
use skein_store_schema::kinds::agent_status::{AgentStatus, AgentStatusKey};
use skein_store_schema::kinds::block::{Block, BlockKey};
use skein_store_schema::kinds::election::ElectionKey;
use skein_store_schema::kinds::endpoint_report::EndpointReportKey;
use skein_store_schema::kinds::identity::IdentityKey;
use skein_store_schema::kinds::ip::IpKey;
use skein_store_schema::kinds::node::NodeKey;
use skein_store_schema::kinds::pod::PodKey;
use skein_store_schema::kinds::pool::PoolKey;
use skein_store_schema::kinds::service::ServiceKey;
use skein_store_schema::kinds::slice::SliceKey;
use skein_store_schema::{StoreKey, StoreValue};
use skein_store_table::{Entry, Snapshot};

fn entry(key: String, value: Vec<u8>) -> Entry {
    let key = key.into_bytes();
    Entry { key, value, create_revision: 1, mod_revision: 1, version: 1, lease: 0 }
}

fn example<K: StoreKey>() -> Entry {
    let (key, value) = K::example();
    entry(key.encode(), value.encode())
}

/// The examples of the schema describe one small cluster that fits together.
fn healthy() -> Vec<Entry> {
    vec![
        example::<NodeKey>(),
        example::<IpKey>(),
        example::<IdentityKey>(),
        example::<ServiceKey>(),
        example::<SliceKey>(),
        example::<PodKey>(),
        example::<PoolKey>(),
        example::<BlockKey>(),
        example::<EndpointReportKey>(),
        example::<AgentStatusKey>(),
        example::<ElectionKey>(),
    ]
}

fn overview(entries: Vec<Entry>) -> Overview {
    let now = AgentStatusKey::example().1.updated_unix_ms + 3_000;
    let view = View::of(Snapshot { cluster_id: 1, revision: 9, entries });
    Overview::of(&view, now)
}

fn problems(entries: Vec<Entry>) -> Vec<String> {
    overview(entries).problems
}

#[test]
fn a_cluster_that_fits_together_has_no_problems() {
    let overview = overview(healthy());
    assert_eq!(overview.problems, Vec::<String>::new());
    assert_eq!(overview.control_plane.as_deref(), Some("cp-1"));
    let node = &overview.nodes[0];
    assert_eq!((node.agent, node.agent_age_s), ("ok", Some(3)));
    assert_eq!((node.addresses_used, node.addresses_total), (1, 252));
    let pool = &overview.ipam[0];
    assert_eq!((pool.blocks_used, pool.blocks_total), (1, 256));
    let counts = &overview.counts;
    assert_eq!((counts.services, counts.backends, counts.backends_ready), (1, 1, 1));
}

#[test]
fn an_empty_store_has_no_problems() {
    assert!(problems(Vec::new()).is_empty());
}

#[test]
fn an_agent_that_is_away_degraded_or_silent_is_named() {
    let mut entries = healthy();
    entries.retain(|entry| !entry.key.ends_with(b"/status"));
    assert_eq!(problems(entries.clone()), ["node node-1: its agent is away"]);

    let (key, mut status) = AgentStatusKey::example();
    status.errors.push("map lb_backends: no space".to_owned());
    status.map_pressure.insert("ipcache".to_owned(), 0.95);
    status.updated_unix_ms -= 600_000;
    entries.push(entry(key.encode(), AgentStatus::encode(&status)));
    assert_eq!(
        problems(entries),
        [
            "node node-1: its agent lives but has long reported nothing",
            "node node-1: map lb_backends: no space",
            "node node-1: map ipcache is 95 % full",
        ]
    );
}

#[test]
fn overlapping_blocks_and_doubled_addresses_are_named() {
    let mut entries = healthy();
    let pool = "default".parse().unwrap();
    let key = BlockKey { pool, cidr: "10.1.0.0/25".parse().unwrap() };
    let owner = Block { node: "node-2".parse().unwrap(), node_uid: String::new(), generation: 1 };
    entries.push(entry(key.encode(), owner.encode()));
    let (key, report) = EndpointReportKey::example();
    let other = EndpointReportKey { node: "node-2".parse().unwrap(), ..key };
    entries.push(entry(other.encode(), report.encode()));
    let found = problems(entries);
    assert!(
        found
            .contains(&"blocks 10.1.0.0/24 of node-1 and 10.1.0.0/25 of node-2 overlap".to_owned())
    );
    assert!(found.contains(&"address 10.1.0.37 is reported by node-1 and by node-2".to_owned()));
}

#[test]
fn services_without_backends_or_with_stolen_addresses_are_named() {
    let mut entries = healthy();
    let (key, service) = ServiceKey::example();
    let other = ServiceKey { name: "other".parse().unwrap(), ..key };
    entries.push(entry(other.encode(), service.encode()));
    assert_eq!(
        problems(entries),
        [
            "address 10.96.0.20 belongs to service shop/cart and to service shop/other",
            "service shop/other has no ready backend",
        ]
    );
}

#[test]
fn what_does_not_decode_is_named_once() {
    let mut entries = healthy();
    entries.push(entry("skein/agents/v1/node_1/status".to_owned(), b"{}".to_vec()));
    entries.push(entry("skein/state/services/v1/shop/bad".to_owned(), b"{\"v\":9}".to_vec()));
    let found = problems(entries);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|problem| problem.contains("version 9")));
}

#[test]
fn a_cluster_without_leader_says_so() {
    let mut entries = healthy();
    entries.retain(|entry| !entry.key.starts_with(b"skein/election/"));
    assert_eq!(problems(entries), ["no control plane is elected: nothing new is planned"]);
}

#[test]
fn addresses_with_unknown_identities_are_named() {
    let mut entries = healthy();
    entries.retain(|entry| !entry.key.starts_with(b"cilium/state/identities/"));
    assert_eq!(problems(entries), ["address 10.1.0.37 has identity 51234, which is unknown"]);
}
