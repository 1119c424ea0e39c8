//! `skein-agent run`: puts the parts together and keeps them until asked to stop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use skein_nodeagent_core::calc::Place;
use skein_nodeagent_core::endpoint::{AttachmentKey, EndpointState, Endpoints};
use skein_store_client::{Session, SessionConfig, TlsConfig};
use skein_store_schema::kinds::agent_status::Health;
use skein_store_schema::kinds::node_report::{Device, RoutingMode};
use skein_store_schema::{ClusterName, NodeName};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::args::{DatapathKind, LogFormat, RoutingMode as RoutingFlag, RunArgs};
use crate::engine::{self, Engine};
use crate::netlink::{Network, VXLAN_OVERHEAD};
use crate::node::{Facts, Node, unix_ms};
use crate::state_dir::StateDir;
use crate::{bringup, cni, monitor, socket, store};

/// MTU where there is no device to ask: Ethernet's.
const DEFAULT_MTU: u32 = 1500;

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: RunArgs) -> Result<()> {
    init_logs(args.log_format);
    let state = StateDir::open(&args.state_dir)?;
    let session = Session::new(session_config(&args)?)?;
    let network = match args.datapath {
        DatapathKind::Ebpf => Some(Network::open().context("cannot open netlink")?),
        DatapathKind::Memory => None,
    };
    let devices = native_devices(&args, network.as_ref()).await?;
    let place = place(&args, &devices)?;
    let (node, half_made) = build(args, state, network, devices, place)?;
    let node = Arc::new(node);
    let listener = socket::listen(&node.facts.socket)
        .with_context(|| format!("cannot listen on {}", node.facts.socket.display()))?;
    let mut tasks = JoinSet::new();
    if let Some(addr) = node.facts.args.metrics_addr {
        tasks.spawn(serve_metrics(Arc::clone(&node), addr).await?);
    }
    cni::settle_leftovers(&node, half_made).await;
    tasks.spawn(infallible("socket", socket::serve(Arc::clone(&node), listener)));
    tasks.spawn(infallible("datapath", bringup::keep(Arc::clone(&node))));
    tasks.spawn(infallible("events", monitor::read(Arc::clone(&node))));
    tasks.spawn(infallible("report", store::report(Arc::clone(&node), session.clone())));
    tasks.spawn(infallible("status", store::report_status(Arc::clone(&node), session.clone())));
    tasks.spawn(infallible("checkpoint", store::keep_checkpoints(Arc::clone(&node))));
    let watcher = Arc::clone(&node);
    tasks.spawn(async move { store::watch(watcher, session).await.context("watching the store") });
    tracing::info!(node = %node.facts.args.node_name, socket = %node.facts.socket.display(), "running");
    let outcome = until_stopped(&mut tasks).await;
    // Programs, maps and devices stay: pods must not notice that the agent went.
    store::checkpoint(&node).await;
    tasks.shutdown().await;
    if let Err(error) = std::fs::remove_file(&node.facts.socket) {
        tracing::debug!(%error, "the socket is gone already");
    }
    outcome
}

async fn until_stopped(tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM, stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT, stopping"),
        // Others rely on every task; one that ends takes the process with it.
        Some(ended) = tasks.join_next() => {
            ended.context("a task panicked")??;
            bail!("a task ended that should run for ever");
        }
    }
    Ok(())
}

async fn infallible(name: &'static str, task: impl Future<Output = ()>) -> Result<()> {
    task.await;
    bail!("task {name} ended")
}

fn build(
    args: RunArgs,
    state: StateDir,
    network: Option<Network>,
    devices: Vec<Device>,
    place: Place,
) -> Result<(Node, Vec<AttachmentKey>)> {
    let mut endpoints = Endpoints::default();
    let mut half_made = Vec::new();
    for endpoint in state.endpoints()? {
        if endpoint.state == EndpointState::Creating {
            half_made.push(endpoint.attachment.clone());
        }
        endpoints.restore(endpoint);
    }
    let checkpoint = match state.checkpoint() {
        Ok(checkpoint) => checkpoint.filter(|c| c.ranges == engine::ranges_hash(&place)),
        Err(error) => {
            tracing::warn!(%error, "starting without a checkpoint");
            None
        }
    };
    let from = checkpoint.as_ref().map(|checkpoint| checkpoint.revision);
    tracing::info!(endpoints = endpoints.iter().count(), checkpoint = ?from, "restored");
    // Without socket hooks the node's own flows to service addresses meet a program only on their
    // way out of skein_host.
    let route_services = args.per_packet_lb && !args.socket_lb;
    let device_mtu = devices.iter().map(|device| device.mtu).min().unwrap_or(DEFAULT_MTU);
    let pod_mtu = match place.mode {
        RoutingMode::Tunnel => device_mtu.saturating_sub(VXLAN_OVERHEAD),
        RoutingMode::Native => device_mtu,
    };
    let facts = Facts {
        socket: args.socket.clone().unwrap_or_else(|| state.socket()),
        devices,
        pod_mtu,
        kernel: read_line("/proc/sys/kernel/osrelease"),
        boot_id: read_line("/proc/sys/kernel/random/boot_id"),
        started_unix_ms: unix_ms(),
        args,
    };
    let mut engine = Engine::new(place, endpoints, checkpoint, route_services);
    engine.set_last_block(state.block());
    Ok((Node::new(facts, state, network, engine), half_made))
}

async fn native_devices(args: &RunArgs, network: Option<&Network>) -> Result<Vec<Device>> {
    let Some(network) = network else { return Ok(Vec::new()) };
    let mut names = args.devices.clone();
    if names.is_empty() {
        let found = network.default_device().await?;
        names.extend(found);
    }
    if names.is_empty() {
        bail!("there is no default route; name the native devices with --devices");
    }
    let mut devices = Vec::new();
    for name in &names {
        devices.push(network.device(name).await?);
    }
    Ok(devices)
}

fn place(args: &RunArgs, devices: &[Device]) -> Result<Place> {
    let addresses = devices.iter().flat_map(|device| &device.addresses);
    let first = addresses.filter_map(|net| match net.addr() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    });
    let node_ip = match args.node_ip.or_else(|| first.into_iter().next()) {
        Some(ip) => ip,
        None if args.datapath == DatapathKind::Memory => stand_in_address(&args.node_name),
        None => bail!("the native devices have no IPv4 address; give one with --node-ip"),
    };
    Ok(Place {
        node: NodeName::new(&args.node_name)?,
        cluster: ClusterName::new(&args.cluster_name)?,
        node_ip,
        mode: match args.routing_mode {
            RoutingFlag::Tunnel => RoutingMode::Tunnel,
            RoutingFlag::Native => RoutingMode::Native,
        },
    })
}

/// A node without packets needs an address all the same, one for each name: out of the range that
/// RFC 2544 sets aside for tests.
fn stand_in_address(node_name: &str) -> Ipv4Addr {
    let sum = node_name
        .bytes()
        .fold(5381u32, |sum, byte| sum.wrapping_mul(33).wrapping_add(u32::from(byte)));
    let [_, _, c, d] = sum.to_be_bytes();
    Ipv4Addr::new(198, 18, c, d.max(1))
}

fn session_config(args: &RunArgs) -> Result<SessionConfig> {
    let mut config = SessionConfig::new(args.store_endpoints.iter().cloned());
    if let Some(ca) = &args.store_cacert {
        let (cert, key) = (args.store_cert.as_deref(), args.store_key.as_deref());
        config.tls = Some(TlsConfig::from_files(ca, cert, key)?);
    }
    Ok(config)
}

async fn serve_metrics(
    node: Arc<Node>,
    addr: SocketAddr,
) -> Result<impl Future<Output = Result<()>>> {
    let listener = tokio::net::TcpListener::bind(addr)
        .await
        .with_context(|| format!("cannot serve metrics on {addr}"))?;
    let app = Router::new()
        .route(
            "/metrics",
            get(|State(node): State<Arc<Node>>| async move { node.metrics.render(&node) }),
        )
        .route("/healthz", get(healthz))
        .with_state(node);
    Ok(async move { axum::serve(listener, app).await.context("serving metrics") })
}

async fn healthz(State(node): State<Arc<Node>>) -> (StatusCode, String) {
    let status = store::status_of(&node);
    match status.health {
        Health::Ok => (StatusCode::OK, "ok\n".to_owned()),
        Health::Waiting => (StatusCode::SERVICE_UNAVAILABLE, "waiting\n".to_owned()),
        Health::Degraded => (StatusCode::OK, format!("degraded\n{}\n", status.errors.join("\n"))),
    }
}

fn read_line(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn init_logs(format: LogFormat) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init()
        }
        LogFormat::Json => logs.json().init(),
    }
}
