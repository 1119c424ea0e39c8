//! One real node: keys put into an etcd become maps, and packets follow them. Needs root.

mod world;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use skein_nodeagent_cni::client::{next_answer, send};
use skein_nodeagent_cni::config::Environment;
use skein_nodeagent_cni::messages::Request;
use skein_nodeagent_cni::plugin;
use world::{METRICS_PORT, NODE_IP, OUTSIDE_IP, World, eventually, inside};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 7, 7);
const CONNECT: Duration = Duration::from_secs(3);

/// Whether the test can run. With `SKEIN_PRIVILEGED=1` it must.
fn privileged() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    let can = is_root && Path::new("/sys/kernel/btf/vmlinux").exists();
    let must = std::env::var("SKEIN_PRIVILEGED").is_ok_and(|value| value == "1");
    assert!(can || !must, "SKEIN_PRIVILEGED=1, but this process cannot load eBPF programs");
    if !can {
        println!("LEFT OUT: a real node (needs root and a kernel with BTF)");
    }
    can
}

/// A server that answers each line with its name, the peer's address and the line.
fn serve(netns: &Path, port: u16, name: &'static str) {
    let listener = inside(netns, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let peer = stream.peer_addr().map(|addr| addr.ip().to_string()).unwrap_or_default();
                let mut lines = BufReader::new(stream.try_clone()?);
                let mut line = String::new();
                while lines.read_line(&mut line)? > 0 {
                    write!(&stream, "{name} {peer} {line}")?;
                    line.clear();
                }
                std::io::Result::Ok(())
            });
        }
    });
}

fn connect(netns: &Path, to: (Ipv4Addr, u16)) -> std::io::Result<TcpStream> {
    let addr = SocketAddr::from(to);
    let stream = inside(netns, || TcpStream::connect_timeout(&addr, CONNECT))?;
    stream.set_read_timeout(Some(CONNECT))?;
    Ok(stream)
}

fn say(mut stream: &TcpStream, line: &str) -> std::io::Result<String> {
    writeln!(stream, "{line}")?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
        answer.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn cni(world: &World, command: &str, pod: &str, more: Value) -> (i32, Value) {
    let netns = world.path(pod);
    let args = format!("K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod};K8S_POD_UID=");
    let pairs = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", pod),
        ("CNI_NETNS", netns.to_str().unwrap()),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", &args),
    ];
    let env = Environment::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut config = json!({"cniVersion": "1.1.0", "name": "skein", "agentSocket": world.socket()});
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    let outcome = plugin::run(&env, config.to_string().as_bytes());
    (outcome.code, outcome.print.unwrap_or_default())
}

fn add(world: &mut World, pod: &str) -> Ipv4Addr {
    world.namespace(pod);
    let (code, result) = cni(world, "ADD", pod, json!({}));
    assert_eq!(code, 0, "{result}");
    let address = result["ips"][0]["address"].as_str().unwrap();
    address.trim_end_matches("/32").parse().unwrap()
}

fn put_service(world: &World, backends: &[Ipv4Addr]) {
    let ports = json!([{"name": "http", "port": 80, "protocol": "TCP", "target_port": 8080}]);
    world.put(
        "skein/state/services/v1/shop/cart",
        &json!({"v": 1, "type": "ClusterIP", "cluster_ips": [VIP], "ports": ports}),
    );
    let endpoints: Vec<Value> = backends.iter().map(|ip| json!({"addresses": [ip]})).collect();
    world.put(
        "skein/state/slices/v1/shop/cart-a",
        &json!({"v": 1, "service": "cart", "address_type": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}),
    );
    eventually("the maps hold the service", || {
        let rows = world.ask(&Request::BpfLbList).unwrap_or_default();
        let rows = rows.as_array().cloned().unwrap_or_default();
        let row = rows.iter().find(|row| row["frontend"] == format!("{VIP}:80/TCP"));
        row.is_some_and(|row| row["backends"].as_array().map(Vec::len) == Some(backends.len()))
    });
}

/// A connection from a process of the node's cgroup, whose socket calls the hooks see.
fn by_socket_hook(world: &World, netns: &Path, to: (Ipv4Addr, u16)) -> String {
    let script = format!(
        "exec 3<>/dev/tcp/{}/{} && echo hook >&3 && IFS= read -r -t 3 answer <&3 && echo \"$answer\"",
        to.0, to.1
    );
    let output = world.command("bash", netns).args(["-c", &script]).output().unwrap();
    let (stdout, stderr) = (output.stdout, output.stderr);
    String::from_utf8_lossy(&if stdout.is_empty() { stderr } else { stdout }).trim().to_owned()
}

#[test]
fn a_node_carries_traffic_and_survives_its_agent() {
    if !privileged() {
        return;
    }
    let mut world = World::new();
    world.start_store();
    world.start_agent();
    eventually("the agent reports its node", || {
        let report = world.get("skein/agents/v1/n1/node").unwrap_or_default();
        report["internal_ip"] == NODE_IP.to_string()
    });
    let mask = "////AA==";
    world.put(
        "cilium/state/nodes/v1/default/n1",
        &json!({"Name": "n1", "Cluster": "default",
            "IPAddresses": [{"Type": "InternalIP", "IP": NODE_IP}],
            "IPv4AllocCIDR": {"IP": "10.201.1.0", "Mask": mask}}),
    );
    world.until_ready();

    pods_get_addresses_and_identities(&mut world);
    let (client, server) = (world.path("p1"), world.path("p2"));
    let server_ip: Ipv4Addr = address_of(&world, "p2");
    serve(&server, 8080, "p2");
    serve(&world.path("out"), 9000, "out");
    put_service(&world, &[server_ip]);

    let direct = connect(&client, (server_ip, 8080)).unwrap();
    assert_eq!(say(&direct, "x").unwrap(), format!("p2 {} x", address_of(&world, "p1")));
    let node = world.path("node");
    let from_node = connect(&node, (server_ip, 8080)).unwrap();
    assert_eq!(say(&from_node, "x").unwrap(), "p2 10.201.1.1 x");
    let outward = connect(&client, (OUTSIDE_IP, 9000)).unwrap();
    assert_eq!(say(&outward, "x").unwrap(), format!("out {NODE_IP} x"), "masqueraded");
    services_answer_and_refuse(&world);
    people_and_tools_can_look(&world);
    survives_kill_and_outage(&mut world, server_ip);
    attachments_end(&mut world);
}

fn address_of(world: &World, pod: &str) -> Ipv4Addr {
    let rows = world.ask(&Request::BpfEndpointList).unwrap();
    let owner = format!("shop/{pod}");
    let row = rows.as_array().unwrap().iter().find(|row| row["owner"] == owner).unwrap().clone();
    row["ip"].as_str().unwrap().parse().unwrap()
}

fn pods_get_addresses_and_identities(world: &mut World) {
    world.put("skein/state/pods/v1/n1/shop/p1", &json!({"v": 1, "identity": 300}));
    let first = add(world, "p1");
    assert_eq!(first, Ipv4Addr::new(10, 201, 1, 3), "after the reserved ones");
    add(world, "p2");
    let identity = |world: &World, pod: &str| {
        let rows = world.ask(&Request::BpfEndpointList).unwrap();
        let owner = format!("shop/{pod}");
        rows.as_array().unwrap().iter().find(|row| row["owner"] == owner).unwrap()["identity"]
            .clone()
    };
    assert_eq!(identity(world, "p1"), 300);
    assert_eq!(identity(world, "p2"), 5, "init until the store says more");
    world.put("skein/state/pods/v1/n1/shop/p2", &json!({"v": 1, "identity": 301}));
    eventually("the identity is corrected", || identity(world, "p2") == 301);
    eventually("the endpoint is reported", || {
        let report = world.get("skein/agents/v1/n1/endpoints/10.201.1.3").unwrap_or_default();
        report["pod"] == "p1"
    });
    let again = cni(world, "ADD", "p1", json!({}));
    assert_eq!(again.1["ips"][0]["address"], "10.201.1.3/32", "a repeated ADD gives the same");
}

fn services_answer_and_refuse(world: &World) {
    let client = world.path("p1");
    // A socket outside the cgroup: only the packet programs see it.
    let by_packet = connect(&client, (VIP, 80)).unwrap();
    assert!(say(&by_packet, "packet").unwrap().starts_with("p2 "));
    assert!(by_socket_hook(world, &client, (VIP, 80)).starts_with("p2 "), "from a pod");
    assert!(by_socket_hook(world, &world.path("node"), (VIP, 80)).starts_with("p2 "), "node");
    let flows = world.ask(&Request::BpfCtList).unwrap();
    assert!(flows.to_string().contains(&format!("{VIP}:80")), "{flows}");
    let refused = connect(&client, (VIP, 81)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "an unknown port");
    let answer = by_socket_hook(world, &client, (VIP, 81));
    assert!(answer.contains("refused"), "{answer}");
    put_service(world, &[]);
    let refused = connect(&client, (VIP, 80)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "no backend");
    let metrics = world.ask(&Request::BpfMetricsList).unwrap().to_string();
    assert!(
        metrics.contains("no-backend") && metrics.contains("unknown-service-port"),
        "{metrics}"
    );
}

fn people_and_tools_can_look(world: &World) {
    let text = |args: &[&str]| {
        let output = world.cli(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let status = text(&["status", "-v"]);
    assert!(status.contains("IPv4: 2/252 allocated from 10.201.1.0/24"), "{status}");
    assert!(status.contains("10.201.1.3 (shop/p1)"), "{status}");
    assert_eq!(text(&["status", "--brief"]), "OK\n");
    assert!(text(&["bpf", "lb", "list"]).contains("shop/cart"));
    assert!(text(&["bpf", "ipcache", "list"]).contains("10.201.1.0/24"));
    let rows: Value = serde_json::from_str(&text(&["bpf", "ct", "list", "-o", "json"])).unwrap();
    assert!(rows.as_array().is_some_and(|rows| rows.iter().any(|row| row["kind"] == "reply")));
    let metrics = connect(&world.path("node"), (Ipv4Addr::LOCALHOST, METRICS_PORT)).unwrap();
    (&metrics).write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    (&metrics).read_to_string(&mut page).unwrap();
    assert!(page.contains("skein_agent_applied_revision"), "{page}");
    assert!(page.contains("skein_datapath_packets_total{reason=\"no-backend\""), "{page}");

    let mut events =
        send(&world.socket(), &Request::Monitor { trace: false }, Some(CONNECT)).unwrap();
    // The agent subscribes a moment after it took the request.
    std::thread::sleep(Duration::from_millis(300));
    assert!(connect(&world.path("p1"), (VIP, 81)).is_err());
    let event = next_answer(&mut events).unwrap().unwrap();
    assert_eq!(event["reason"], "unknown-service-port");
    assert_eq!(event["dst"], VIP.to_string());
}

fn survives_kill_and_outage(world: &mut World, server_ip: Ipv4Addr) {
    put_service(world, &[server_ip]);
    let client = world.path("p1");
    let open = connect(&client, (VIP, 80)).unwrap();
    say(&open, "before").unwrap();
    world.kill_agent();
    assert!(say(&open, "without an agent").unwrap().starts_with("p2 "));
    let fresh = connect(&client, (VIP, 80)).unwrap();
    assert!(say(&fresh, "new without an agent").unwrap().starts_with("p2 "));
    assert!(by_socket_hook(world, &client, (VIP, 80)).starts_with("p2 "));
    world.stop_store();
    world.start_agent();
    eventually("the agent is back without a store", || world.status("/datapath/ready") == true);
    assert!(say(&open, "after the restart").unwrap().starts_with("p2 "));
    let fresh = connect(&client, (VIP, 80)).unwrap();
    assert!(say(&fresh, "store away").unwrap().starts_with("p2 "));
    let third = add(world, "p3");
    assert_eq!(third, Ipv4Addr::new(10, 201, 1, 5), "restored addresses are not given again");
    let to_pod = connect(&world.path("p3"), (server_ip, 8080)).unwrap();
    assert!(say(&to_pod, "added while the store is away").unwrap().starts_with("p2 "));
    world.start_store();
    world.until_ready();
    assert!(say(&open, "store back").unwrap().starts_with("p2 "));
    eventually("the queued report is written", || {
        world.get("skein/agents/v1/n1/endpoints/10.201.1.5").is_some()
    });
    let status = world.get("skein/agents/v1/n1/status");
    assert!(
        status.is_some() || {
            std::thread::sleep(CONNECT);
            true
        }
    );
}

/// CHECK tells what somebody changed in the pod; the next ADD makes it as it was.
fn tampering_is_seen_and_mended(world: &mut World) {
    let prev =
        |world: &World| json!({"prevResult": {"ips": [{"address": address_of(world, "p3")}]}});
    let changes = [
        ("link set eth0 down", "eth0 is down"),
        ("route del default", "default route"),
        ("addr flush dev eth0", "has lost address"),
        ("neigh flush dev eth0 nud permanent", "neighbour"),
        ("link del eth0", "is missing"),
    ];
    for (change, told) in changes {
        let words: Vec<&str> = change.split(' ').collect();
        let done = world.command("ip", &world.path("p3")).args(words).status().unwrap();
        assert!(done.success(), "{change}");
        let (_, answer) = cni(world, "CHECK", "p3", prev(world));
        assert_eq!(answer["code"], 102, "{change}: {answer}");
        let message = answer["msg"].as_str().unwrap();
        assert!(message.contains(told), "{change}: {message}");
        // The address may be another: what is not in place is made anew.
        assert_eq!(cni(world, "ADD", "p3", json!({})).0, 0, "after {change}");
        assert_eq!(cni(world, "CHECK", "p3", prev(world)), (0, Value::Null), "after {change}");
    }
    // A device that somebody else made is left alone.
    world.namespace("p4");
    let words = ["link", "add", "eth0", "type", "veth", "peer", "name", "other"];
    let done = world.command("ip", &world.path("p4")).args(words).status().unwrap();
    assert!(done.success());
    let refused = cni(world, "ADD", "p4", json!({})).1;
    assert!(refused["msg"].as_str().unwrap().contains("which is not ours"), "{refused}");
    let words = ["-br", "link", "show", "eth0"];
    let still = world.command("ip", &world.path("p4")).args(words).output().unwrap();
    assert!(still.status.success(), "the device of others is still there");
}

fn attachments_end(world: &mut World) {
    let prev = json!({"prevResult": {"ips": [{"address": "10.201.1.5/32"}]}});
    assert_eq!(cni(world, "CHECK", "p3", prev.clone()), (0, Value::Null));
    tampering_is_seen_and_mended(world);
    assert_eq!(cni(world, "STATUS", "p3", json!({})).0, 0);
    let valid = json!({"cni.dev/valid-attachments": [
        {"containerID": "p1", "ifname": "eth0"}, {"containerID": "p2", "ifname": "eth0"}]});
    assert_eq!(cni(world, "GC", "p3", valid).0, 0);
    assert_eq!(cni(world, "CHECK", "p3", prev).1["code"], 3);
    assert_eq!(cni(world, "DEL", "p1", json!({})), (0, Value::Null));
    assert_eq!(cni(world, "DEL", "p1", json!({})), (0, Value::Null), "again");
    eventually("the report is withdrawn", || {
        world.get("skein/agents/v1/n1/endpoints/10.201.1.3").is_none()
    });
    assert_eq!(world.status("/ipam/used"), 1);
    world.kill_agent();
    assert_eq!(cni(world, "DEL", "p2", json!({})), (0, Value::Null), "left for the agent");
    world.start_agent();
    world.until_ready();
    eventually("the deletion is made up for", || world.status("/ipam/used") == 0);

    assert_eq!(world.stop_agent(), Some(0), "SIGTERM is a clean end");
    let pins = world.bpf_mount().join("skein");
    assert!(pins.join("v1/links/tc_eth0").exists(), "programs stay without an agent");
    let output = world.cli(&["cleanup", "--bpf-root", pins.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!pins.join("v1").exists());
    let links = world.command("ip", &world.path("node")).args(["-br", "link"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&links.stdout).contains("skein_"), "no device stays");
}
