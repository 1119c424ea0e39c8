//! Services by ClusterIP and name.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Test;
use super::tools::{answered_by, cluster_ip, from, ip, pod, succeed};
use crate::cluster::Cluster;
use crate::cluster::traffic::From;
use crate::kubelet::Kubelet;
use crate::traffic::unix_ms;

/// A refusal must come at once: no retransmission, which starts at one second.
const REFUSAL_MAX_MS: u64 = 500;
/// New connections must leave a removed backend within this.
const FOLLOW_MAX_MS: u64 = 1_000;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "names in every form, headless names, stateful names", run: names },
    Test { name: "service with its backend on the same node", run: near },
    Test { name: "service with its backend on another node", run: far },
    Test { name: "requests spread over all backends", run: spread },
    Test { name: "udp service, sendto and connected", run: udp },
    Test { name: "udp service in fragments", run: udp_fragments },
    Test { name: "v4-mapped sockets, tcp and udp", run: v6_mapped },
    Test { name: "getpeername tells the service's address", run: peer_name },
    Test { name: "a pod reaches itself through its service", run: hairpin },
    Test { name: "service with a host-network backend", run: host_backend },
    Test { name: "node reaches services", run: from_node },
    Test { name: "no endpoints: refused at once", run: refused },
    Test { name: "unknown port of a service's address: refused at once", run: unknown_port },
    Test { name: "large transfers through a service", run: bulk },
    Test { name: "backends change while traffic flows", run: update_under_traffic },
    Test { name: "new connections leave a removed backend", run: backend_removed },
    Test { name: "a pod is deleted while traffic flows", run: pod_deleted },
];

fn names(c: &mut Cluster) -> Result<String> {
    let expected = cluster_ip(c, "near")?;
    for name in ["near", "near.e2e", "near.e2e.svc", "near.e2e.svc.cluster.local"] {
        let report = answered_by(c, &from("a1"), &format!("http {name}:80"), &["b1"])?;
        ensure!(report.resolved == Some(expected), "{name} resolved to {:?}", report.resolved);
    }
    let pods = [ip(c, "b1")?, ip(c, "b2")?, ip(c, "b3")?];
    // The first address may be b3's, which listens elsewhere: only where the name leads matters here.
    let headless = c.traffic(&from("a1"), "http pods.e2e:8080")?.resolved;
    ensure!(headless.is_some_and(|ip| pods.contains(&ip)), "headless: {headless:?}");
    let named = succeed(c, &from("a1"), "http b2.pods.e2e:8080")?;
    ensure!(named.resolved == Some(pods[1]), "b2.pods.e2e is {:?}", named.resolved);
    let unknown = c.traffic(&from("a1"), "http nobody-here.e2e:80")?;
    ensure!(unknown.errors.keys().any(|e| e.contains("resolve")), "{:?}", unknown.errors);
    Ok(format!("near is {expected} in four forms"))
}

fn near(c: &mut Cluster) -> Result<String> {
    let report = answered_by(c, &from("a1"), "http near.e2e:80 --count 50", &["b1"])?;
    Ok(format!("50 connections, p50 {} us, lookup included", report.p50_us))
}

fn far(c: &mut Cluster) -> Result<String> {
    let vip = cluster_ip(c, "far")?;
    let report = answered_by(c, &from("a1"), &format!("http {vip}:80 --count 50"), &["b2"])?;
    let seen = report.seen_as.unwrap_or_default();
    ensure!(seen.starts_with(&format!("{}:", ip(c, "a1")?)), "b2 saw {seen}");
    Ok(format!("50 connections, p50 {} us, source kept", report.p50_us))
}

fn spread(c: &mut Cluster) -> Result<String> {
    let vip = cluster_ip(c, "all")?;
    let report =
        answered_by(c, &from("a1"), &format!("http {vip}:80 --count 120"), &["b1", "b2", "b3"])?;
    // 120 draws over 3: fewer than 15 for one happens less than once in a million runs.
    ensure!(report.by.values().all(|n| *n >= 15), "uneven: {:?}", report.by);
    Ok(format!("{:?}", report.by.values().collect::<Vec<_>>()))
}

fn udp(c: &mut Cluster) -> Result<String> {
    for (service, backend) in [("near", "b1"), ("far", "b2")] {
        let vip = cluster_ip(c, service)?;
        for flags in ["", "--connect", "--fresh"] {
            let words = format!("udp {vip}:80 --count 30 {flags}");
            answered_by(c, &from("a1"), &words, &[backend])?;
        }
    }
    Ok("answers come from the service's address".to_owned())
}

fn udp_fragments(c: &mut Cluster) -> Result<String> {
    for (service, backend) in [("near", "b1"), ("far", "b2")] {
        let vip = cluster_ip(c, service)?;
        for size in [1_400, 4_000, 20_000] {
            let words = format!("udp {vip}:80 --count 5 --size {size}");
            answered_by(c, &from("a1"), &words, &[backend])?;
        }
    }
    Ok("up to 20,000 bytes, near and far".to_owned())
}

fn v6_mapped(c: &mut Cluster) -> Result<String> {
    for (service, backend) in [("near", "b1"), ("far", "b2")] {
        let vip = cluster_ip(c, service)?;
        answered_by(c, &from("a1"), &format!("http {vip}:80 --count 20 --v6"), &[backend])?;
        answered_by(c, &from("a1"), &format!("udp {vip}:80 --count 20 --v6"), &[backend])?;
        let connected = format!("udp {vip}:80 --count 20 --v6 --connect");
        answered_by(c, &from("a1"), &connected, &[backend])?;
    }
    Ok("::ffff: addresses of services, tcp and udp".to_owned())
}

fn peer_name(c: &mut Cluster) -> Result<String> {
    let vip = cluster_ip(c, "far")?;
    let report = succeed(c, &from("a1"), &format!("http {vip}:80"))?;
    let peer = report.peer.context("no peer")?;
    ensure!(peer.ip() == std::net::IpAddr::V4(vip) && peer.port() == 80, "peer is {peer}");
    let report = succeed(c, &from("a1"), &format!("http {vip}:80 --v6"))?;
    let mapped = report.peer.context("no peer")?;
    ensure!(mapped.ip() == std::net::IpAddr::V6(vip.to_ipv6_mapped()), "peer is {mapped}");
    Ok(format!("{peer} and {mapped}"))
}

fn hairpin(c: &mut Cluster) -> Result<String> {
    let vip = cluster_ip(c, "self")?;
    answered_by(c, &from("a1"), &format!("http {vip}:80 --count 20"), &["a1"])?;
    answered_by(c, &from("a1"), &format!("udp {vip}:80 --count 20"), &["a1"])?;
    Ok("tcp and udp".to_owned())
}

fn host_backend(c: &mut Cluster) -> Result<String> {
    let vip = cluster_ip(c, "host")?;
    for client in ["a1", "b2"] {
        answered_by(c, &from(client), &format!("http {vip}:80 --count 10"), &["h2"])?;
        answered_by(c, &from(client), &format!("udp {vip}:80 --count 10"), &["h2"])?;
    }
    Ok("from another node and from its own".to_owned())
}

fn from_node(c: &mut Cluster) -> Result<String> {
    for node in c.nodes() {
        let at = From::Node(node);
        for (service, backend) in [("near", "b1"), ("far", "b2")] {
            let vip = cluster_ip(c, service)?;
            answered_by(c, &at, &format!("http {vip}:80 --count 5"), &[backend])?;
            answered_by(c, &at, &format!("udp {vip}:80 --count 5"), &[backend])?;
        }
    }
    Ok("3 nodes, near and far backends".to_owned())
}

fn refused(c: &mut Cluster) -> Result<String> {
    expect_refusal(c, cluster_ip(c, "nobody")?, 80)
}

fn unknown_port(c: &mut Cluster) -> Result<String> {
    expect_refusal(c, cluster_ip(c, "near")?, 81)
}

fn expect_refusal(c: &Cluster, vip: std::net::Ipv4Addr, port: u16) -> Result<String> {
    let mut took = Vec::new();
    for words in [
        format!("http {vip}:{port}"),
        format!("http {vip}:{port} --v6"),
        format!("udp {vip}:{port} --connect"),
    ] {
        let report = c.traffic(&from("a1"), &words)?;
        let refused = report.errors.keys().any(|e| e.contains("refused"));
        ensure!(refused, "`{words}`: {:?} {:?}", report.by, report.errors);
        ensure!(report.elapsed_ms < REFUSAL_MAX_MS, "`{words}` took {} ms", report.elapsed_ms);
        took.push(report.elapsed_ms);
    }
    Ok(format!("tcp, v4-mapped tcp, udp: after {took:?} ms"))
}

fn bulk(c: &mut Cluster) -> Result<String> {
    let mut rates = Vec::new();
    for service in ["near", "far"] {
        let vip = cluster_ip(c, service)?;
        let report = succeed(c, &from("a1"), &format!("bulk {vip}:80 --bytes 33554432"))?;
        rates.push(format!("{} MB/s", report.bytes / 1_000 / report.elapsed_ms.max(1)));
    }
    Ok(format!("32 MiB each way: near {}, far {}", rates[0], rates[1]))
}

fn update_under_traffic(c: &mut Cluster) -> Result<String> {
    const ROUNDS: u32 = 10;
    let vip = cluster_ip(c, "all")?;
    let running = c.start_traffic(&from("a1"), &format!("http {vip}:80 --count 0"))?;
    for round in 0..ROUNDS {
        let victim = pod(["b1", "b2", "b3"][round as usize % 3]);
        for hold in [true, false] {
            Kubelet::hold_back(&c.layout, &victim, hold)?;
            c.reconcile()?;
            std::thread::sleep(Duration::from_millis(150));
        }
    }
    let report = running.finish()?;
    c.wait_in_maps()?;
    ensure!(report.clean(), "{} of {}: {:?}", report.answered, report.sent, report.errors);
    Ok(format!("{} connections over {} changes, none failed", report.sent, ROUNDS * 2))
}

fn backend_removed(c: &mut Cluster) -> Result<String> {
    let (vip, victim) = (cluster_ip(c, "all")?, pod("b2"));
    let words = format!("http {vip}:80 --count 0 --pause-ms 1");
    let running = c.start_traffic(&from("a1"), &words)?;
    std::thread::sleep(Duration::from_millis(500));
    let removed_at = unix_ms();
    Kubelet::hold_back(&c.layout, &victim, true)?;
    c.reconcile()?;
    std::thread::sleep(Duration::from_millis(1_500));
    let report = running.finish()?;
    Kubelet::hold_back(&c.layout, &victim, false)?;
    c.reconcile()?;
    c.wait_in_maps()?;
    ensure!(report.clean(), "{:?}", report.errors);
    let Some(last) = report.last_by.get(&victim.to_string()) else {
        bail!("{victim} was never asked: {:?}", report.by)
    };
    let followed = last.saturating_sub(removed_at);
    ensure!(followed < FOLLOW_MAX_MS, "still asked {followed} ms later");
    Ok(format!("after {followed} ms; {} connections, none failed", report.sent))
}

fn pod_deleted(c: &mut Cluster) -> Result<String> {
    let vip = cluster_ip(c, "web")?;
    let running = c.start_traffic(&from("a1"), &format!("http {vip}:80 --count 0 --pause-ms 1"))?;
    let before: Vec<_> = web_pods(c);
    for victim in &before {
        Kubelet::delete(&c.layout, victim)?;
        c.start_pods(&mut |_| {})?;
        c.wait_in_maps()?;
    }
    let report = running.finish()?;
    ensure!(report.clean(), "{} of {}: {:?}", report.answered, report.sent, report.errors);
    let after = web_pods(c);
    ensure!(after.len() == before.len(), "{} pods instead of {}", after.len(), before.len());
    ensure!(after.iter().all(|p| !before.contains(p)), "a deleted pod is still there");
    Ok(format!("{} pods replaced one by one, {} connections", before.len(), report.sent))
}

fn web_pods(c: &Cluster) -> Vec<crate::workload::PodKey> {
    let pods = c.kubelet.pods().keys();
    pods.filter(|k| k.namespace == "e2e" && k.name.starts_with("web-")).cloned().collect()
}
