use std::sync::Arc;

use serde_json::{Value, json};
use skein_bpf_abi::NodeConfig;
use skein_nodeagent_core::endpoint::NewEndpoint;
use skein_store_client::{Entry, Snapshot};
use skein_store_schema::kinds::node_report::RoutingMode;
use skein_store_schema::{ClusterName, NodeName};

use super::*;
use crate::convert::Frontends;
use crate::memory::MemoryDatapath;

const POD: &str = "skein/state/pods/v1/n1/shop/cart-0";
const SERVICE: &str = "skein/state/services/v1/shop/cart";
const SLICE: &str = "skein/state/slices/v1/shop/cart-a";

fn place() -> Place {
    Place {
        node: NodeName::new("n1").unwrap(),
        cluster: ClusterName::new("default").unwrap(),
        node_ip: Ipv4Addr::new(172, 18, 0, 1),
        mode: RoutingMode::Tunnel,
    }
}

fn engine(checkpoint: Option<Checkpoint>) -> Engine {
    Engine::new(place(), Endpoints::default(), checkpoint, false)
}

fn memory() -> SharedMaps {
    Arc::new(MemoryDatapath::new(NodeConfig::EMPTY))
}

fn entry(key: &str, value: &Value, revision: i64) -> Entry {
    Entry {
        key: key.as_bytes().to_vec(),
        value: value.to_string().into_bytes(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        lease: 0,
    }
}

fn node_entry() -> Entry {
    let value = json!({"Name": "n1", "Cluster": "default",
        "IPAddresses": [{"Type": "InternalIP", "IP": "172.18.0.1"}],
        "IPv4AllocCIDR": {"IP": "10.1.0.0", "Mask": "////AA=="}});
    entry("cilium/state/nodes/v1/default/n1", &value, 2)
}

fn service_entries() -> Vec<Entry> {
    let ports = json!([{"name": "", "port": 80, "protocol": "TCP", "target_port": 8080}]);
    let service =
        json!({"v": 1, "type": "ClusterIP", "cluster_ips": ["10.96.0.1"], "ports": ports});
    let slice = json!({"v": 1, "service": "cart", "address_type": "IPv4",
        "ports": [{"port": 8080, "protocol": "TCP"}], "endpoints": [{"addresses": ["10.1.0.9"]}]});
    vec![entry(SERVICE, &service, 3), entry(SLICE, &slice, 4)]
}

fn begin(entries: Vec<Entry>, revision: i64) -> SyncEvent {
    SyncEvent::Begin(Snapshot { cluster_id: 7, revision, entries })
}

fn frontends(maps: &SharedMaps) -> usize {
    maps::read::<Frontends>(&**maps).unwrap().len()
}

fn synced() -> (Engine, SharedMaps) {
    let (mut engine, maps) = (engine(None), memory());
    let mut entries = vec![node_entry()];
    entries.extend(service_entries());
    engine.store_event(begin(entries, 4));
    engine.store_event(SyncEvent::InSync { revision: 4 });
    engine.adopt(Arc::clone(&maps)).unwrap();
    (engine, maps)
}

#[test]
fn the_store_becomes_maps_and_a_relist_becomes_a_difference() {
    let (mut engine, maps) = synced();
    assert_eq!(frontends(&maps), 2, "the port and the wildcard");
    assert_eq!(engine.settle_block(), Some("10.1.0.0/24".parse().unwrap()));
    engine.store_event(begin(vec![node_entry()], 9));
    engine.flush().unwrap();
    assert_eq!(frontends(&maps), 0);
    assert_eq!(engine.progress().applied_revision, 9);
}

#[test]
fn a_restart_without_the_store_adds_and_takes_nothing_away() {
    let (mut before, maps) = synced();
    let checkpoint = Checkpoint::decode(&before.checkpoint().unwrap()).unwrap();
    assert_eq!(before.checkpoint(), None, "nothing new to keep");
    assert_eq!((checkpoint.cluster_id, checkpoint.revision), (7, 4));
    let mut old = checkpoint.clone();
    old.entries.retain(|entry| entry.key != SERVICE.as_bytes());
    let mut after = engine(Some(old));
    assert_eq!(after.resume_point(), Some((7, 4)));
    after.adopt(Arc::clone(&maps)).unwrap();
    assert_eq!(frontends(&maps), 2, "the maps may know more than an old checkpoint");
    // After a reboot the maps are empty, and the checkpoint fills them.
    let (mut rebooted, empty) = (engine(Some(checkpoint)), memory());
    rebooted.adopt(Arc::clone(&empty)).unwrap();
    assert_eq!(frontends(&empty), 2);
    // The store's first complete view then decides.
    after.store_event(SyncEvent::InSync { revision: 4 });
    after.flush().unwrap();
    assert_eq!(frontends(&maps), 0);
}

#[test]
fn an_identity_is_corrected_and_survives_a_restart_without_the_store() {
    let (mut engine, maps) = synced();
    engine.settle_block();
    let attachment = AttachmentKey { container_id: "c".into(), ifname: "eth0".into() };
    let pod = ("shop".to_owned(), "cart-0".to_owned(), String::new());
    let new = NewEndpoint { attachment: attachment.clone(), netns: String::new(), pod };
    let endpoint = engine.endpoints_mut().begin(new, 1450).unwrap();
    engine.bind(&attachment, 12);
    engine.flush().unwrap();
    let identity = |maps: &SharedMaps| maps::read::<LocalPods>(&**maps).unwrap()[0].1.identity;
    assert_eq!(identity(&maps), IdentityId::INIT.get());
    let put = entry(POD, &json!({"v": 1, "identity": 300}), 5);
    engine.store_event(SyncEvent::Changes(vec![Change::Put(put)]));
    engine.flush().unwrap();
    assert_eq!(identity(&maps), 300);

    let mut endpoints = Endpoints::default();
    endpoints.restore(endpoint.clone());
    let mut restarted = Engine::new(place(), endpoints, None, false);
    restarted.bind(&attachment, 12);
    restarted.adopt(Arc::clone(&maps)).unwrap();
    assert_eq!(identity(&maps), 300, "no checkpoint, no store: what the kernel holds stays");
    restarted.unbind(&endpoint);
    restarted.flush().unwrap();
    assert!(maps::read::<LocalPods>(&*maps).unwrap().is_empty(), "own endpoints wait for no store");
}

#[test]
fn a_bad_value_is_a_problem_until_it_is_mended() {
    let (mut engine, maps) = synced();
    let bad = entry(SERVICE, &json!({"v": 9}), 5);
    engine.store_event(SyncEvent::Changes(vec![Change::Put(bad)]));
    engine.flush().unwrap();
    assert_eq!(frontends(&maps), 2, "the last good value stays in force");
    assert!(engine.problems().keys().any(|place| place.contains("shop/cart")));
    let good = service_entries().remove(0);
    engine.store_event(SyncEvent::Changes(vec![Change::Put(good)]));
    assert!(engine.problems().is_empty());
}

/// A service with one backend, by number.
fn numbered(number: u32, backend: u32, revision: i64) -> [Entry; 2] {
    let addr = |base: [u8; 4]| Ipv4Addr::from(u32::from_be_bytes(base) + number).to_string();
    let ports = json!([{"name": "", "port": 80, "protocol": "TCP", "target_port": 8080}]);
    let service = json!({"v": 1, "type": "ClusterIP", "cluster_ips": [addr([10, 96, 0, 1])],
        "ports": ports});
    let endpoints = json!([{"addresses": [addr([10, 100, 0, 1])]},
        {"addresses": [Ipv4Addr::from(u32::from_be_bytes([10, 128, 0, 1]) + backend).to_string()]}]);
    let slice = json!({"v": 1, "service": format!("s{number}"), "address_type": "IPv4",
        "ports": [{"port": 8080, "protocol": "TCP"}], "endpoints": endpoints});
    [
        entry(&format!("skein/state/services/v1/shop/s{number}"), &service, revision),
        entry(&format!("skein/state/slices/v1/shop/s{number}-a"), &slice, revision),
    ]
}

/// The median time of a change of one slice, of many, among so many services; and the entries that the
/// changes wrote and deleted.
fn change_among(services: u32) -> (Duration, usize) {
    const CHANGES: u32 = 101;
    /// So many services change in turn, however many there are: each change then does the same.
    const CHANGING: u32 = 50;
    let (mut engine, maps) = (engine(None), memory());
    let entries =
        (0..services).flat_map(|number| numbered(number, CHANGES + 1 + number, 2)).collect();
    engine.store_event(begin(entries, 2));
    engine.store_event(SyncEvent::InSync { revision: 2 });
    engine.adopt(maps).unwrap();
    let (mut times, mut changed) = (Vec::new(), 0);
    for change in 1..=CHANGES {
        let [_, slice] = numbered(change % CHANGING, change, i64::from(change) + 2);
        let watch = Stopwatch::start();
        engine.store_event(SyncEvent::Changes(vec![Change::Put(slice)]));
        changed += engine.flush().unwrap().changed;
        times.push(watch.elapsed());
    }
    times.sort();
    (times[times.len() / 2], changed)
}

/// A pass over all services would make it a hundred times as long.
#[test]
fn the_cost_of_a_change_does_not_grow_with_the_number_of_services() {
    let ((few, few_written), (many, many_written)) = (change_among(50), change_among(5_000));
    assert_eq!(few_written, many_written);
    assert!(many < few * 10, "{few:?} among 50 services, {many:?} among 5,000");
}

#[test]
fn routes_to_services_are_due_only_when_their_addresses_change() {
    let mut engine = Engine::new(place(), Endpoints::default(), None, true);
    engine.store_event(begin(numbered(1, 0, 2).to_vec(), 2));
    engine.store_event(SyncEvent::InSync { revision: 2 });
    assert!(engine.adopt(memory()).unwrap().network);
    let [_, slice] = numbered(1, 7, 3);
    engine.store_event(SyncEvent::Changes(vec![Change::Put(slice)]));
    let outcome = engine.flush().unwrap();
    assert!(outcome.changed > 0 && !outcome.network);
    let [service, _] = numbered(1, 7, 4);
    let gone = Change::Delete { key: service.key, mod_revision: 4 };
    engine.store_event(SyncEvent::Changes(vec![gone]));
    assert!(engine.flush().unwrap().network);
}
