//! The commands that ask a running agent, and how they print.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;
use skein_nodeagent_cni::client::{CallError, call, next_answer, send};
use skein_nodeagent_cni::messages::Request;
use skein_store_schema::kinds::agent_status::Health;
use skein_store_schema::kinds::node_report::RoutingMode;

use crate::args::{AskArgs, BpfArgs, BpfMap, CleanupArgs, MonitorArgs, Output, StatusArgs};
use crate::dumps::{CtRow, EndpointRow, IpcacheRow, LbRow, MetricRow};
use crate::monitor::Shown;
use crate::netlink::{HOST_DEVICE, Network, OVERLAY_DEVICE};
use crate::status::Status;

/// `status`.
pub fn status(args: &StatusArgs) -> Result<ExitCode> {
    let answer = match ask(&args.ask, &Request::Status) {
        Err(error) if args.brief => {
            println!("agent: {error}");
            return Ok(ExitCode::FAILURE);
        }
        other => other?,
    };
    if args.ask.output == Output::Json {
        print_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let status: Status = serde_json::from_value(answer)?;
    if args.brief {
        return Ok(brief(&status));
    }
    print_lines(&status_lines(&status, args.verbose))?;
    Ok(ExitCode::SUCCESS)
}

/// `bpf … list`.
pub fn bpf(args: &BpfArgs) -> Result<ExitCode> {
    let request = match args.map {
        BpfMap::Lb(_) => Request::BpfLbList,
        BpfMap::Ct(_) => Request::BpfCtList,
        BpfMap::Ipcache(_) => Request::BpfIpcacheList,
        BpfMap::Metrics(_) => Request::BpfMetricsList,
        BpfMap::Endpoint(_) => Request::BpfEndpointList,
    };
    let answer = ask(&args.ask, &request)?;
    if args.ask.output == Output::Json {
        print_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let lines = match args.map {
        BpfMap::Lb(_) => lb_lines(&serde_json::from_value::<Vec<LbRow>>(answer)?),
        BpfMap::Ct(_) => ct_lines(&serde_json::from_value::<Vec<CtRow>>(answer)?),
        BpfMap::Ipcache(_) => ipcache_lines(&serde_json::from_value::<Vec<IpcacheRow>>(answer)?),
        BpfMap::Metrics(_) => metric_lines(&serde_json::from_value::<Vec<MetricRow>>(answer)?),
        BpfMap::Endpoint(_) => endpoint_lines(&serde_json::from_value::<Vec<EndpointRow>>(answer)?),
    };
    print_lines(&lines)?;
    Ok(ExitCode::SUCCESS)
}

/// `monitor`.
pub fn monitor(args: &MonitorArgs) -> Result<ExitCode> {
    let mut events = send(&args.ask.socket, &Request::Monitor { trace: args.trace }, None)?;
    while let Some(event) = next_answer(&mut events)? {
        let line = match (args.ask.output, serde_json::from_value::<Shown>(event.clone())) {
            (Output::Table, Ok(event)) => event_line(&event),
            _ => event.to_string(),
        };
        print_lines(&[line])?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `cleanup`: what a node that leaves the cluster runs after its pods are gone.
pub async fn cleanup(args: &CleanupArgs) -> Result<ExitCode> {
    crate::kernel::remove_all(&args.bpf_root)?;
    let network = Network::open()?;
    for device in [HOST_DEVICE, OVERLAY_DEVICE] {
        network.delete(device).await?;
    }
    let table = crate::nft::TABLE;
    match crate::nft::apply(&format!("table inet {table}\ndelete table inet {table}\n")).await {
        Ok(()) | Err(crate::nft::NftError::Missing) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    }
}

fn ask(args: &AskArgs, request: &Request) -> Result<Value, CallError> {
    call(&args.socket, request)
}

fn print_json(value: &Value) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(value)?)?)
}

fn print_lines(lines: &[String]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

fn brief(status: &Status) -> ExitCode {
    let failing = status.controllers.iter().find_map(|controller| {
        controller.problem.as_ref().map(|problem| format!("{}: {problem}", controller.name))
    });
    let store = (!status.kvstore.connected).then(|| "kvstore: not connected".to_owned());
    let waiting = (status.health == Health::Waiting).then(|| "agent: waiting".to_owned());
    match store.or(failing).or(waiting) {
        None => {
            println!("OK");
            ExitCode::SUCCESS
        }
        Some(problem) => {
            println!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn word(on: bool) -> &'static str {
    if on { "Enabled" } else { "Disabled" }
}

/// The lines of `status`, in the order and with the words that Cilium's operators know.
fn status_lines(status: &Status, verbose: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, text: String| lines.push(format!("{name:<24}{text}"));
    let store = &status.kvstore;
    let state = match (store.connected, store.in_sync) {
        (true, true) => "Ok",
        (true, false) => "Waiting",
        (false, _) => "Disconnected",
    };
    let endpoints = store.endpoints.join(", ");
    line("KVStore:", format!("{state}   {endpoints}, maps at revision {}", store.applied_revision));
    let health = match status.health {
        Health::Ok => "Ok",
        Health::Waiting => "Waiting",
        Health::Degraded => "Degraded",
    };
    line("Skein:", format!("{health}   {} on node {}", status.version, status.node));
    let datapath = &status.datapath;
    let replacement = format!(
        "socket {}, per packet {} [{} {}]",
        word(datapath.socket_lb),
        word(datapath.per_packet_lb),
        datapath.devices.join(" "),
        datapath.node_ip
    );
    line("KubeProxyReplacement:", replacement);
    let ipam = &status.ipam;
    let block = match &ipam.cidr {
        Some(cidr) => format!("IPv4: {}/{} allocated from {cidr}", ipam.used, ipam.total),
        None => "no block yet".to_owned(),
    };
    line("IPAM:", block);
    if verbose {
        for (addr, owner) in &ipam.addresses {
            line("", format!("  {addr} ({owner})"));
        }
        if let Some(router) = ipam.router {
            line("", format!("  {router} (router)"));
        }
    }
    let routing = match datapath.routing {
        RoutingMode::Tunnel => "Tunnel [vxlan]",
        RoutingMode::Native => "Native",
    };
    let mode = match (datapath.mode.as_str(), datapath.ready) {
        ("memory", _) => "in memory: no packet moves".to_owned(),
        (_, true) => {
            format!("eBPF, layout v{}, kernel {}", datapath.layout_version, datapath.kernel)
        }
        (_, false) => "not in place yet".to_owned(),
    };
    line("Datapath:", mode);
    line("Routing:", format!("Network: {routing}, pod MTU {}", datapath.pod_mtu));
    if datapath.mode != "memory" {
        line("Attach Mode:", "TCX (devices), clsact (pods)".to_owned());
    }
    let masquerade = if datapath.masquerade { "nftables [table inet skein]" } else { "Disabled" };
    line("Masquerading:", masquerade.to_owned());
    let failing = status.controllers.iter().filter(|c| c.problem.is_some()).count();
    let total = status.controllers.len();
    line("Controller Status:", format!("{}/{total} healthy", total - failing));
    for controller in status.controllers.iter().filter(|c| verbose || c.problem.is_some()) {
        let problem = controller.problem.as_deref().unwrap_or("ok");
        line("", format!("  {:<12} {problem}", controller.name));
    }
    let counts = &status.counts;
    line(
        "Services:",
        format!(
            "{} with {} frontends and {} backends, {} headless",
            counts.services, counts.frontends, counts.backends, counts.headless_services
        ),
    );
    line("Endpoints:", format!("{} on this node; {} nodes", counts.endpoints, counts.nodes));
    let fullest = status.maps.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
    if let Some(map) = fullest {
        line(
            "BPF Map Pressure:",
            format!("{:.1} % ({}, the fullest)", share(map) * 100.0, map.name),
        );
    }
    for map in status.maps.iter().filter(|_| verbose) {
        line("", format!("  {:<16}{:>8} / {}", map.name, map.entries, map.capacity));
    }
    lines
}

fn share(map: &crate::status::MapStatus) -> f64 {
    map.entries as f64 / f64::from(map.capacity.max(1))
}

/// Columns as wide as their widest cell, two spaces between.
fn table(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let pad = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| pad(row.iter().map(String::as_str).collect()));
    std::iter::once(pad(header.to_vec())).chain(body).collect()
}

fn lb_lines(rows: &[LbRow]) -> Vec<String> {
    let cells = rows.iter().flat_map(|row| {
        let service = row.service.clone().unwrap_or_else(|| "?".to_owned());
        let first = match (row.service_id, row.backends.first()) {
            (0, _) => "(other ports refused)".to_owned(),
            (_, None) => "(none: refused)".to_owned(),
            (_, Some(backend)) => backend.clone(),
        };
        let head = vec![row.frontend.clone(), row.service_id.to_string(), service, first];
        let more = row.backends.iter().skip(1);
        let blank = String::new();
        let rest = more.map(move |b| vec![blank.clone(), blank.clone(), blank.clone(), b.clone()]);
        std::iter::once(head).chain(rest).collect::<Vec<_>>()
    });
    table(&["FRONTEND", "ID", "SERVICE", "BACKENDS"], &cells.collect::<Vec<_>>())
}

fn ct_lines(rows: &[CtRow]) -> Vec<String> {
    let cells = rows.iter().map(|row| {
        let ids = format!("{}/{}", row.service_id, row.backend_id);
        let (kind, proto) = (row.kind.clone(), row.proto.clone());
        vec![kind, proto, row.tuple.clone(), row.nat.clone(), ids, row.flags.join(",")]
    });
    let header = ["KIND", "PROTO", "TUPLE", "TRANSLATED", "SERVICE/BACKEND", "FLAGS"];
    table(&header, &cells.collect::<Vec<_>>())
}

fn ipcache_lines(rows: &[IpcacheRow]) -> Vec<String> {
    let cells = rows.iter().map(|row| {
        let id = skein_store_schema::IdentityId::new(row.identity);
        let name = id.and_then(skein_store_schema::IdentityId::reserved_name);
        let identity = name.map_or_else(|| row.identity.to_string(), str::to_owned);
        let tunnel = row.tunnel.map_or_else(|| "-".to_owned(), |node| node.to_string());
        let kind = if row.is_node { "node" } else { "" };
        vec![row.prefix.clone(), identity, tunnel, kind.to_owned()]
    });
    table(&["PREFIX", "IDENTITY", "TUNNEL ENDPOINT", "FLAGS"], &cells.collect::<Vec<_>>())
}

fn metric_lines(rows: &[MetricRow]) -> Vec<String> {
    let cells = rows.iter().map(|row| {
        let (packets, bytes) = (row.packets.to_string(), row.bytes.to_string());
        vec![row.outcome.clone(), row.reason.clone(), row.direction.clone(), packets, bytes]
    });
    table(&["OUTCOME", "REASON", "DIRECTION", "PACKETS", "BYTES"], &cells.collect::<Vec<_>>())
}

fn endpoint_lines(rows: &[EndpointRow]) -> Vec<String> {
    let cells = rows.iter().map(|row| {
        let device = row.device.clone().unwrap_or_default();
        let owner = row.owner.clone().unwrap_or_default();
        let (id, identity) = (row.endpoint_id.to_string(), row.identity.to_string());
        vec![row.ip.to_string(), id, identity, device, row.mac.clone(), owner]
    });
    table(&["ADDRESS", "ID", "IDENTITY", "DEVICE", "MAC", "POD"], &cells.collect::<Vec<_>>())
}

fn event_line(event: &Shown) -> String {
    let seconds = event.timestamp_ns / 1_000_000_000;
    let micros = event.timestamp_ns / 1000 % 1_000_000;
    let mut line = format!(
        "{seconds}.{micros:06} {:<6} {:<20} {:<12} {} {}:{} -> {}:{}",
        event.kind,
        event.reason,
        event.direction,
        event.proto,
        event.src,
        event.src_port,
        event.dst,
        event.dst_port,
    );
    if let Some(nat) = &event.nat {
        line.push_str(&format!(" (to {nat})"));
    }
    line.push_str(&format!(" identity {} -> {}", event.src_identity, event.dst_identity));
    if let Some(pod) = &event.endpoint {
        line.push_str(&format!(" pod {pod}"));
    }
    if event.length > 0 {
        line.push_str(&format!(" {} bytes", event.length));
    }
    line
}
