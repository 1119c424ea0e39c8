//! Packets between pods, nodes and the outside, without services.

use anyhow::{Result, ensure};

use super::Test;
use super::tools::{answered_by, from, ip, node_ip, succeed};
use crate::cluster::Cluster;
use crate::cluster::traffic::From;
use crate::topology as topo;
use crate::{kubelet, net};

/// IPv4 and UDP headers: what a datagram of full size leaves for its payload.
const IP_UDP_HEADER_BYTES: u32 = 28;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "tcp between pods on one node", run: tcp_same_node },
    Test { name: "tcp between pods on two nodes", run: tcp_across },
    Test { name: "udp between pods on one node and on two", run: udp },
    Test { name: "udp of full size and in fragments", run: udp_large },
    Test { name: "icmp, small and in fragments", run: icmp },
    Test { name: "large transfers both ways", run: bulk },
    Test { name: "large transfers without segmentation offload", run: bulk_without_gso },
    Test { name: "node to pod, local and remote", run: node_to_pod },
    Test { name: "pod to node, its own and another", run: pod_to_node },
    Test { name: "pod to outside leaves with the node's address", run: outside },
];

fn tcp_same_node(c: &mut Cluster) -> Result<String> {
    let to = ip(c, "b1")?;
    let report = answered_by(c, &from("a1"), &format!("http {to}:8080 --count 50"), &["b1"])?;
    Ok(format!("50 connections, p50 {} us", report.p50_us))
}

fn tcp_across(c: &mut Cluster) -> Result<String> {
    let to = ip(c, "b2")?;
    let report = answered_by(c, &from("a1"), &format!("http {to}:8080 --count 50"), &["b2"])?;
    let seen = report.seen_as.unwrap_or_default();
    let own = ip(c, "a1")?;
    ensure!(seen.starts_with(&format!("{own}:")), "b2 saw {seen} instead of {own}");
    Ok(format!("50 connections, p50 {} us, source kept", report.p50_us))
}

fn udp(c: &mut Cluster) -> Result<String> {
    for name in ["b1", "b2"] {
        let to = ip(c, name)?;
        answered_by(c, &from("a1"), &format!("udp {to}:8080 --count 50"), &[name])?;
        answered_by(c, &from("a1"), &format!("udp {to}:8080 --count 50 --connect"), &[name])?;
    }
    Ok("4 x 50 datagrams".to_owned())
}

fn udp_large(c: &mut Cluster) -> Result<String> {
    let mtu = pod_mtu(c, "a1")?;
    let full = mtu - IP_UDP_HEADER_BYTES;
    for name in ["b1", "b2"] {
        let to = ip(c, name)?;
        // The answer repeats the datagram behind a line of its own: larger than the question.
        for size in [full, full + 1, 4_000, 20_000, 60_000] {
            succeed(c, &from("a1"), &format!("udp {to}:8080 --count 5 --size {size}"))?;
        }
    }
    Ok(format!("up to 60,000 bytes; MTU in the pod is {mtu}"))
}

/// The MTU of a pod's device.
pub(super) fn pod_mtu(c: &Cluster, name: &str) -> Result<u32> {
    let netns = c.layout.netns(&kubelet::part(&super::tools::pod(name)));
    crate::process::in_netns(&netns, || {
        let output =
            std::process::Command::new("ip").args(["-j", "link", "show", "eth0"]).output()?;
        let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let mtu = links[0]["mtu"].as_u64().and_then(|mtu| u32::try_from(mtu).ok());
        mtu.ok_or_else(|| anyhow::anyhow!("no MTU in {links}"))
    })
}

fn icmp(c: &mut Cluster) -> Result<String> {
    for name in ["b1", "b2"] {
        let to = ip(c, name)?;
        for size in [56, 3_000] {
            succeed(c, &from("a1"), &format!("ping {to} --size {size}"))?;
        }
    }
    Ok("3 of 3 each".to_owned())
}

fn bulk(c: &mut Cluster) -> Result<String> {
    let mut rates = Vec::new();
    for name in ["b1", "b2"] {
        let to = ip(c, name)?;
        let report = succeed(c, &from("a1"), &format!("bulk {to}:8080 --bytes 67108864"))?;
        rates.push(format!("{} MB/s", report.bytes / 1_000 / report.elapsed_ms.max(1)));
    }
    Ok(format!("64 MiB each way: same node {}, two nodes {}", rates[0], rates[1]))
}

fn bulk_without_gso(c: &mut Cluster) -> Result<String> {
    let parts = ["a1", "b1", "b2"].map(|name| kubelet::part(&super::tools::pod(name)));
    for part in &parts {
        net::batch(&c.layout, part, &["link set eth0 gso_max_segs 1".to_owned()])?;
    }
    let result = ["b1", "b2"].iter().try_for_each(|name| {
        let to = ip(c, name)?;
        succeed(c, &from("a1"), &format!("bulk {to}:8080 --bytes 8388608")).map(drop)
    });
    for part in &parts {
        net::batch(&c.layout, part, &["link set eth0 gso_max_segs 65535".to_owned()])?;
    }
    result.map(|()| "8 MiB each way in single segments".to_owned())
}

fn node_to_pod(c: &mut Cluster) -> Result<String> {
    for node in c.nodes() {
        for name in ["b1", "b2"] {
            let to = ip(c, name)?;
            let at = From::Node(node.clone());
            answered_by(c, &at, &format!("http {to}:8080 --count 5"), &[name])?;
            answered_by(c, &at, &format!("udp {to}:8080 --count 5"), &[name])?;
            succeed(c, &at, &format!("ping {to}"))?;
        }
    }
    Ok("3 nodes x 2 pods by tcp, udp, icmp".to_owned())
}

fn pod_to_node(c: &mut Cluster) -> Result<String> {
    let host_pod = node_ip(c, "node2")?;
    for name in ["a1", "b2"] {
        answered_by(c, &from(name), &format!("http {host_pod}:8180 --count 5"), &["h2"])?;
        answered_by(c, &from(name), &format!("udp {host_pod}:8180 --count 5"), &["h2"])?;
    }
    for node in c.nodes() {
        succeed(c, &from("a1"), &format!("ping {}", node_ip(c, &node)?))?;
    }
    Ok("tcp and udp to a host-network pod, icmp to every node".to_owned())
}

fn outside(c: &mut Cluster) -> Result<String> {
    let target = format!("{}:{}", topo::CLIENT_IP, topo::CLIENT_PORT);
    let own_node = node_ip(c, "node1")?.to_string();
    for verb in ["http", "udp"] {
        let report = succeed(c, &from("a1"), &format!("{verb} {target} --count 5"))?;
        let seen = report.seen_as.unwrap_or_default();
        ensure!(seen.starts_with(&own_node), "{verb}: outside saw {seen}, not {own_node}");
    }
    succeed(c, &from("a1"), &format!("bulk {target} --bytes 8388608"))?;
    succeed(c, &from("a1"), &format!("ping {}", topo::CLIENT_IP))?;
    Ok(format!("seen as {own_node} by tcp and udp; 8 MiB each way; icmp"))
}
