use super::*;

const SHOP: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: log}
spec:
  selector: {matchLabels: {app: log}}
  template:
    metadata: {labels: {app: log}}
    spec: {hostNetwork: true, containers: [{name: log}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}, {name: m, port: 9100}]}
";

fn objects() -> Objects {
    let mut objects = Objects::default();
    objects.read_text("shop.yaml", SHOP);
    assert!(objects.problems.is_empty(), "{:?}", objects.problems);
    objects
}

fn nodes(count: u32) -> Vec<String> {
    (1..=count).map(crate::topology::node_name).collect()
}

#[test]
fn replicas_spread_over_nodes_and_daemons_run_on_each() {
    let plans = plan_pods(&objects(), &nodes(3), &Incarnations::new(), &BTreeMap::new());
    assert_eq!(plans.len(), 4 + 2 + 3);
    for node in nodes(3) {
        let web = plans.iter().filter(|p| p.node == node && p.labels["app"] == "web").count();
        assert!((1..=2).contains(&web), "{web} pods of web on {node}");
        assert_eq!(plans.iter().filter(|p| p.node == node && p.labels["app"] == "log").count(), 1);
    }
    assert!(plans.iter().any(|p| p.key.name == "db-0" && p.key.namespace == "shop"));
}

#[test]
fn names_are_stable_and_a_deleted_pod_gets_a_new_one() {
    let first = plan_pods(&objects(), &nodes(3), &Incarnations::new(), &BTreeMap::new());
    let again = plan_pods(&objects(), &nodes(3), &Incarnations::new(), &BTreeMap::new());
    assert_eq!(first, again);
    let times = Incarnations::from([(first[0].slot().to_owned(), 1)]);
    let next = plan_pods(&objects(), &nodes(3), &times, &BTreeMap::new());
    assert_ne!(first[0].key, next[0].key);
    assert_eq!(first[1..], next[1..]);
}

#[test]
fn pods_stay_where_they_are_when_a_node_joins_and_move_when_theirs_leaves() {
    let before = plan_pods(&objects(), &nodes(2), &Incarnations::new(), &BTreeMap::new());
    let placed = before.iter().map(|p| (p.key.clone(), p.node.clone())).collect();
    let after = plan_pods(&objects(), &nodes(3), &Incarnations::new(), &placed);
    for pod in &before {
        assert!(after.contains(pod), "{} moved", pod.key);
    }
    let fewer = plan_pods(&objects(), &nodes(1), &Incarnations::new(), &placed);
    assert!(fewer.iter().all(|p| p.node == "node1"));
    assert_eq!(fewer.len(), 4 + 2 + 1);
}

#[test]
fn target_ports_are_resolved_by_name_on_each_pod() {
    let objects = objects();
    let plans = plan_pods(&objects, &nodes(1), &Incarnations::new(), &BTreeMap::new());
    let web = plans.iter().find(|p| p.labels["app"] == "web").unwrap();
    let ports = listening_ports(web, &objects.services);
    assert_eq!(ports, BTreeSet::from([(Protocol::Tcp, 8080), (Protocol::Tcp, 9100)]));
    let db = plans.iter().find(|p| p.labels["app"] == "db").unwrap();
    assert!(listening_ports(db, &objects.services).is_empty());
}
