use serde_json::{Value, json};

use super::*;
use crate::object::{ClusterIp, ServiceObject};

fn service(spec: Value) -> Result<ServiceObject, String> {
    let raw = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
    let raw = Raw::Service(serde_json::from_value(raw).unwrap());
    match object(raw).map_err(|e| e.to_string())? {
        Object::Service(service) => Ok(service),
        other => panic!("{other:?}"),
    }
}

fn slice(body: Value) -> Result<Object, String> {
    let mut raw = json!({
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": []});
    raw.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    object(Raw::Slice(serde_json::from_value(raw).unwrap())).map_err(|e| e.to_string())
}

#[test]
fn services_are_checked_field_by_field() {
    let cases = [
        (json!({}), "spec.ports: missing"),
        (json!({"ports": [{"port": 0}]}), "spec.ports[0].port: 0 is not a port (1 to 65535)"),
        (
            json!({"ports": [{"port": 1, "protocol": "tcp"}]}),
            "spec.ports[0].protocol: \"tcp\" is not TCP, UDP or SCTP",
        ),
        (
            json!({"ports": [{"port": 1, "targetPort": "No_Name"}]}),
            "spec.ports[0].targetPort: \"No_Name\" is not the name of a port",
        ),
        (
            json!({"ports": [{"port": 1}, {"port": 2}]}),
            "spec.ports[1]: repeats the name or the port of another",
        ),
        (json!({"clusterIP": "10.96.0", "ports": [{"port": 1}]}), "spec.clusterIP: invalid IP"),
        (json!({"clusterIP": "fd00::1", "ports": [{"port": 1}]}), "spec.clusterIP: is not IPv4"),
        (json!({"type": "Fancy", "ports": [{"port": 1}]}), "spec.type: \"Fancy\" is no"),
        (
            json!({"sessionAffinity": "ClientIP", "ports": [{"port": 1}],
                   "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86_401}}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: 86401 is not 1 to 86400",
        ),
        (json!({"externalIPs": ["127.0.0.1"], "ports": [{"port": 1}]}), "spec.externalIPs: 127"),
    ];
    for (spec, expected) in cases {
        let error = service(spec).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn services_keep_what_the_datapath_needs() {
    let object = service(json!({
        "clusterIP": "None", "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}))
    .unwrap();
    assert_eq!(object.cluster_ip, ClusterIp::Headless);
    assert!(object.service.headless);
    let object = service(json!({"type": "ExternalName", "externalName": "x.example"})).unwrap();
    assert_eq!(object.cluster_ip, ClusterIp::ExternalName);
    let object = service(json!({"clusterIP": "10.96.0.10", "sessionAffinity": "ClientIP",
                                "ports": [{"port": 53, "protocol": "UDP"}]}))
    .unwrap();
    assert_eq!(object.cluster_ip, ClusterIp::Fixed([10, 96, 0, 10].into()));
    assert_eq!(object.service.client_ip_affinity_s.unwrap().get(), 10_800);
}

#[test]
fn slices_are_checked_and_conditions_filled_in() {
    let body = json!({"endpoints": [{"addresses": ["10.1.0.300"]}]});
    assert!(slice(body).unwrap_err().starts_with("endpoints[0].addresses: "));
    let body = json!({"endpoints": [{"addresses": []}]});
    let error = slice(body).unwrap_err();
    assert_eq!(error, "endpoints[0].addresses: must be addresses of the slice's family");
    let body = json!({"metadata": {"name": "x"}});
    assert!(slice(body).unwrap_err().starts_with("metadata.labels: kubernetes.io/service-name"));
    let body = json!({"ports": [{"name": "http", "port": 8080}], "endpoints": [
        {"addresses": ["10.1.0.3"], "conditions": {"ready": false}, "nodeName": "n1",
         "targetRef": {"kind": "Pod", "name": "web-a", "uid": "u"}},
        {"addresses": ["10.1.0.4"]}]});
    let Object::Slice(object) = slice(body).unwrap() else { panic!("no slice") };
    let slice = object.slice.unwrap();
    let states: Vec<_> =
        slice.endpoints.iter().map(|e| (e.ready, e.serving, e.terminating)).collect();
    assert_eq!(states, [(false, false, false), (true, true, false)]);
    assert_eq!(slice.endpoints[0].pod.as_ref().unwrap().name.as_str(), "web-a");
}

#[test]
fn pods_and_nodes_are_reduced() {
    let raw = json!({"metadata": {"name": "p", "uid": "u", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c",
            "ports": [{"name": "http", "containerPort": 8080}]}],
          "initContainers": [
            {"name": "once", "ports": [{"containerPort": 1}]},
            {"name": "side", "restartPolicy": "Always", "ports": [{"containerPort": 2}]}]},
        "status": {"phase": "Succeeded"}});
    let Object::Pod(pod) = object(Raw::Pod(serde_json::from_value(raw).unwrap())).unwrap() else {
        panic!("no pod")
    };
    assert!(pod.finished);
    assert_eq!(pod.service_account, "default");
    let ports: Vec<_> = pod.ports.iter().map(|p| p.port.get()).collect();
    assert_eq!(ports, [2, 8080]);

    let raw = json!({"metadata": {"name": "n1"}, "status": {"addresses": [
        {"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "172.18.0.2"}]}});
    let Object::Node(node) = object(Raw::Node(serde_json::from_value(raw).unwrap())).unwrap()
    else {
        panic!("no node")
    };
    assert_eq!(node.addresses.len(), 1);
    let raw = json!({"metadata": {"name": "Node/1"}});
    let error = object(Raw::Node(serde_json::from_value(raw).unwrap())).unwrap_err();
    assert_eq!(error.field(), "metadata.name");
}
