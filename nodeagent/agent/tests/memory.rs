//! An agent with its datapath in memory and no store in reach: starts from its last known block,
//! attaches pods, answers what would happen. Needs no privilege.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skein_nodeagent_cni::client::call;
use skein_nodeagent_cni::config::Environment;
use skein_nodeagent_cni::messages::{DecideRequest, Origin, Request};
use skein_nodeagent_cni::plugin;

/// Longest wait for the agent: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

struct Agent {
    child: Child,
    dir: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skein-agent"));
    command
        .args(["run", "--node-name", "n1", "--datapath", "memory", "--node-ip", "172.18.0.1"])
        // Nobody listens on the discard port.
        .args(["--store-endpoints", "127.0.0.1:9", "--state-dir"])
        .arg(state)
        .stdout(Stdio::null());
    command
}

impl Agent {
    /// A /29 has four addresses for pods.
    fn start() -> Agent {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("block"), "10.7.0.0/29\n").unwrap();
        let child = command(dir.path()).stderr(Stdio::null()).spawn().unwrap();
        let agent = Agent { child, dir };
        let start = Instant::now();
        while agent.ask(&Request::CniStatus).is_err() {
            assert!(start.elapsed() < PATIENCE, "the agent is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        agent
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("agent.sock")
    }

    fn ask(&self, request: &Request) -> Result<Value, String> {
        call(&self.socket(), request).map_err(|error| error.to_string())
    }

    fn cni(&self, command: &str, pod: &str) -> Value {
        let args = format!("K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod}");
        let pairs = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", pod),
            ("CNI_NETNS", "/run/netns/none"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", &args),
        ];
        let env = Environment::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let config = json!({"cniVersion": "1.1.0", "name": "skein", "agentSocket": self.socket()});
        plugin::run(&env, config.to_string().as_bytes()).print.unwrap_or_default()
    }

    fn decide(&self, from: Origin, dst: &str) -> Value {
        let dst = dst.parse().unwrap();
        let proto = "tcp".to_owned();
        let request = DecideRequest { from, dst, dst_port: 80, src_port: None, proto };
        self.ask(&Request::Decide(request)).unwrap()
    }
}

fn pod(name: &str) -> Origin {
    Origin::Pod { namespace: "shop".to_owned(), name: name.to_owned() }
}

#[test]
fn pods_attach_packets_are_decided_and_exhaustion_is_told() {
    let agent = Agent::start();
    for (name, address) in [("a", "10.7.0.3/32"), ("b", "10.7.0.4/32")] {
        assert_eq!(agent.cni("ADD", name)["ips"][0]["address"], address);
    }
    let decision = agent.decide(pod("a"), "10.7.0.4");
    assert_eq!((&decision["egress"], &decision["pod"]), (&json!("pod"), &json!("shop/b")));
    let decision = agent.decide(Origin::Host, "10.7.0.3");
    assert_eq!(decision["pod"], "shop/a");
    assert_eq!(agent.decide(pod("a"), "192.0.2.1")["egress"], "stack");
    let lie = Origin::Overlay { src: "10.7.0.3".parse().unwrap(), identity: 300 };
    assert_eq!(agent.decide(lie, "10.7.0.6")["egress"], "dropped", "nobody has the address");

    agent.cni("ADD", "c");
    agent.cni("ADD", "d");
    assert_eq!(agent.cni("ADD", "e")["code"], 101);
    assert_eq!(agent.cni("STATUS", "e")["code"], 50);
    assert_eq!(agent.cni("DEL", "a"), Value::Null);
    assert_eq!(agent.cni("ADD", "e")["ips"][0]["address"], "10.7.0.3/32");
}

/// A runtime that lost patience repeats an ADD while the first still works.
#[test]
fn repeated_adds_at_once_make_one_attachment_and_a_del_ends_it() {
    let agent = Agent::start();
    let addresses: Vec<Value> = std::thread::scope(|scope| {
        let adds: Vec<_> =
            (0..12).map(|_| scope.spawn(|| agent.cni("ADD", "a")["ips"][0].clone())).collect();
        adds.into_iter().map(|add| add.join().unwrap()).collect()
    });
    assert!(addresses.iter().all(|ip| ip["address"] == "10.7.0.3/32"), "{addresses:?}");
    let files = || std::fs::read_dir(agent.dir.path().join("endpoints")).unwrap().count();
    assert_eq!(files(), 1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(agent.cni("DEL", "a"), Value::Null));
        }
    });
    assert_eq!(files(), 0);
    assert_eq!(agent.ask(&Request::Status).unwrap()["ipam"]["used"], 0);
}

#[test]
fn many_pods_at_once_get_what_there_is_and_each_its_own() {
    let agent = Agent::start();
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let adds: Vec<_> = (0..24)
            .map(|n| {
                let agent = &agent;
                scope.spawn(move || agent.cni("ADD", &format!("p{n}")))
            })
            .collect();
        adds.into_iter().map(|add| add.join().unwrap()).collect()
    });
    let given = answers.iter().filter_map(|a| a["ips"][0]["address"].as_str());
    let given: std::collections::BTreeSet<&str> = given.collect();
    assert_eq!(given.len(), 4, "all that the block has, each once: {given:?}");
    assert_eq!(answers.iter().filter(|a| a["code"] == 101).count(), 20);
}

#[test]
fn one_agent_for_one_directory_and_only_its_user_may_ask() {
    let agent = Agent::start();
    let mode = std::fs::metadata(agent.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = command(agent.dir.path()).output().unwrap();
    assert!(!second.status.success());
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains("in use by another agent"), "{told}");
    assert!(agent.ask(&Request::Status).is_ok(), "the first is not disturbed");
}

#[test]
fn a_killed_agent_restores_its_endpoints_before_giving_out_new_addresses() {
    let mut agent = Agent::start();
    agent.cni("ADD", "a");
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    agent.child = command(agent.dir.path()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while agent.ask(&Request::CniStatus).is_err() {
        assert!(start.elapsed() < PATIENCE, "the agent is not back");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(agent.cni("ADD", "b")["ips"][0]["address"], "10.7.0.4/32");
    assert_eq!(agent.cni("ADD", "a")["ips"][0]["address"], "10.7.0.3/32", "the same again");
}
