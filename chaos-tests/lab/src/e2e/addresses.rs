//! Addresses: given, taken back, forged; and the sum of all packets.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Test;
use super::tools::{cluster_ip, from, ip, pod};
use crate::cluster::Cluster;
use crate::kubelet::Kubelet;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "a forged source address is dropped and counted", run: spoofed },
    Test { name: "sent = received + counted", run: accounted },
    Test { name: "a deleted pod's address leaves every map", run: address_freed },
];

/// Sum of the packets that a node's programs dropped, over all reasons.
fn dropped(c: &Cluster, node: &str) -> Result<u64> {
    let answer = c.agent(node)?.ask(&json!({"op": "bpf_metrics_list"}))?;
    Ok(rows(&answer)?.iter().filter(|row| is_drop(row)).map(packets).sum())
}

fn rows(answer: &Value) -> Result<Vec<Value>> {
    let list = answer.as_array().or_else(|| answer["metrics"].as_array());
    list.cloned().with_context(|| format!("no list of counters in {answer}"))
}

fn is_drop(row: &Value) -> bool {
    row["outcome"] == "drop"
}

fn packets(row: &Value) -> u64 {
    row["packets"].as_u64().unwrap_or_default()
}

fn spoofed(c: &mut Cluster) -> Result<String> {
    const COUNT: u64 = 25;
    let (victim, target) = (ip(c, "b2")?, ip(c, "b1")?);
    let before = dropped(c, "node1")?;
    let words = format!("spoof --from {victim} {target}:8080 --count {COUNT}");
    let report = c.traffic(&from("a1"), &words)?;
    ensure!(report.clean(), "{:?}", report.errors);
    let counted = dropped(c, "node1")? - before;
    ensure!(counted == COUNT, "{counted} drops counted for {COUNT} forged packets");
    Ok(format!("{COUNT} sent, {counted} dropped and counted"))
}

/// Every datagram is answered or accounted for by a drop counter on some node.
fn accounted(c: &mut Cluster) -> Result<String> {
    const COUNT: u64 = 5_000;
    let vip = cluster_ip(c, "all")?;
    let before = all_dropped(c)?;
    let words = format!("udp {vip}:80 --count {COUNT} --fresh --timeout-ms 500");
    let report = c.traffic(&from("a1"), &words)?;
    let counted = all_dropped(c)? - before;
    let lost = report.sent - report.answered;
    ensure!(report.sent == COUNT, "{} sent", report.sent);
    ensure!(lost == counted, "{lost} lost, {counted} counted: {:?}", report.errors);
    Ok(format!("{} sent = {} answered + {counted} counted", report.sent, report.answered))
}

fn all_dropped(c: &Cluster) -> Result<u64> {
    c.nodes().iter().map(|node| dropped(c, node)).sum()
}

fn address_freed(c: &mut Cluster) -> Result<String> {
    let key = c
        .kubelet
        .pods()
        .keys()
        .find(|k| k.namespace == "e2e" && k.name.starts_with("web-"))
        .context("no pod of web")?
        .clone();
    let run = &c.kubelet.pods()[&key];
    let (old, node) = (run.ip.context("no address")?, run.plan.node.clone());
    Kubelet::delete(&c.layout, &key)?;
    c.start_pods(&mut |_| {})?;
    c.wait_in_maps()?;
    ensure!(!c.kubelet.pods().contains_key(&key), "{key} is still there");
    ensure!(c.kubelet.pods().contains_key(&pod("a1")), "another pod went too");
    let endpoints = c.agent(&node)?.ask(&json!({"op": "bpf_endpoint_list"}))?.to_string();
    ensure!(!endpoints.contains(&format!("\"{old}\"")), "{old} is still an endpoint of {node}");
    let view = c.view()?;
    let known = view.ips.iter().any(|(k, _)| k.ip == std::net::IpAddr::V4(old));
    ensure!(!known, "{old} still has an identity in the store");
    Ok(format!("{old} is no endpoint of {node} any more and has no key"))
}
