//! The plugin against a socket that plays the agent.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use skein_nodeagent_cni::config::Environment;
use skein_nodeagent_cni::plugin::{Outcome, run};

/// Answers one request with one line and returns the request.
fn agent(dir: &Path, answer: Value) -> (PathBuf, JoinHandle<Value>) {
    let path = dir.join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        writeln!(&stream, "{answer}").unwrap();
        serde_json::from_str(&line).unwrap()
    });
    (path, thread)
}

fn env(command: &str) -> Environment {
    let pairs = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/p1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0;K8S_POD_UID=u1"),
    ];
    Environment::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

fn config(version: &str, socket: &Path, more: Value) -> Vec<u8> {
    let mut config = json!({
        "cniVersion": version, "name": "skein", "type": "skein-cni", "agentSocket": socket,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config.to_string().into_bytes()
}

fn added() -> Value {
    json!({"ok": {
        "ip": "10.0.1.3", "gateway": "10.0.1.1", "host_ifname": "lxc0a", "host_mac": "02:00:00:00:00:01",
        "pod_mac": "02:00:00:00:00:02", "mtu": 1450, "identity": 5,
    }})
}

fn add(version: &str) -> (Outcome, Value) {
    let dir = tempfile::tempdir().unwrap();
    let (socket, agent) = agent(dir.path(), added());
    let outcome = run(&env("ADD"), &config(version, &socket, json!({})));
    (outcome, agent.join().unwrap())
}

#[test]
fn add_passes_the_pod_on_and_answers_in_the_asked_version() {
    for (version, ip_version, mtu) in [
        ("0.3.1", json!("4"), Value::Null),
        ("0.4.0", json!("4"), Value::Null),
        ("1.0.0", Value::Null, Value::Null),
        ("1.1.0", Value::Null, json!(1450)),
    ] {
        let (outcome, request) = add(version);
        let result = outcome.print.unwrap();
        assert_eq!(outcome.code, 0, "{result}");
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result["ips"][0]["address"], "10.0.1.3/32");
        assert_eq!(result["ips"][0]["version"], ip_version, "{version}");
        assert_eq!(result["interfaces"][1]["sandbox"], "/run/netns/p1");
        assert_eq!(result["interfaces"][1]["mtu"], mtu, "{version}");
        assert_eq!(result["routes"][1]["gw"], "10.0.1.1");
        assert_eq!(request["op"], "cni_add");
        assert_eq!(request["pod_name"], "cart-0");
        assert_eq!(request["container_id"], "c1");
    }
}

#[test]
fn errors_of_the_agent_keep_their_code() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, _agent) =
        agent(dir.path(), json!({"error": {"code": 101, "message": "block is exhausted"}}));
    let outcome = run(&env("ADD"), &config("1.1.0", &socket, json!({})));
    let result = outcome.print.unwrap();
    assert_eq!((outcome.code, &result["code"]), (1, &json!(101)));
    assert_eq!(result["msg"], "block is exhausted");
}

#[test]
fn without_an_agent_add_says_try_again_status_says_unavailable_and_del_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let code = |command: &str, more: Value| {
        let outcome = run(&env(command), &config("1.1.0", &socket, more));
        outcome.print.map(|print| print["code"].clone())
    };
    assert_eq!(code("ADD", json!({})), Some(json!(11)));
    assert_eq!(code("STATUS", json!({})), Some(json!(50)));
    assert_eq!(code("CHECK", json!({"prevResult": {"ips": []}})), Some(json!(11)));
    assert_eq!(code("DEL", json!({})), None);
    let left = std::fs::read(dir.path().join("deletions/c1.eth0.json")).unwrap();
    let left: Value = serde_json::from_slice(&left).unwrap();
    assert_eq!(left, json!({"container_id": "c1", "ifname": "eth0"}));
}

/// An agent that comes while DEL is being left for it: it listens, then looks into the folder once.
fn agent_that_comes(dir: PathBuf, ended: Arc<AtomicBool>) -> JoinHandle<bool> {
    std::thread::spawn(move || {
        let folder = dir.join("deletions");
        while !folder.exists() {
            std::hint::spin_loop();
        }
        let listener = UnixListener::bind(dir.join("agent.sock")).unwrap();
        let found = std::fs::read_dir(&folder).unwrap().flatten();
        let mut told = found.into_iter().any(|e| e.file_name() == "c1.eth0.json");
        listener.set_nonblocking(true).unwrap();
        while !ended.load(Ordering::SeqCst) {
            let Ok((stream, _)) = listener.accept() else { continue };
            stream.set_nonblocking(false).unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            writeln!(&stream, "{}", json!({"ok": null})).unwrap();
            told = true;
        }
        told
    })
}

#[test]
fn an_agent_that_comes_meanwhile_learns_of_a_del_one_way_or_the_other() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let agent = agent_that_comes(dir.path().to_owned(), Arc::clone(&ended));
        let socket = dir.path().join("agent.sock");
        let outcome = run(&env("DEL"), &config("1.0.0", &socket, json!({})));
        ended.store(true, Ordering::SeqCst);
        assert_eq!(outcome, Outcome { print: None, code: 0 });
        assert!(agent.join().unwrap(), "the agent does not know of the deletion");
    }
}

#[test]
fn del_without_a_state_directory_has_nothing_to_delete() {
    let outcome =
        run(&env("DEL"), &config("1.0.0", Path::new("/nonexistent/agent.sock"), json!({})));
    assert_eq!(outcome, Outcome { print: None, code: 0 });
}

#[test]
fn gc_and_check_pass_their_lists_on() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, gc) = agent(dir.path(), json!({"ok": {}}));
    let more = json!({"cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}]});
    assert_eq!(run(&env("GC"), &config("1.1.0", &socket, more)).code, 0);
    let valid = json!([{"container_id": "c2", "ifname": "eth0"}]);
    assert_eq!(gc.join().unwrap()["valid"], valid);

    let dir = tempfile::tempdir().unwrap();
    let (socket, check) = agent(dir.path(), json!({"ok": {}}));
    let more = json!({"prevResult": {"ips": [{"address": "10.0.1.3/32"}]}});
    assert_eq!(run(&env("CHECK"), &config("0.4.0", &socket, more)).code, 0);
    assert_eq!(check.join().unwrap()["addresses"], json!(["10.0.1.3"]));
}

#[test]
fn version_needs_no_agent_and_lists_all() {
    let outcome = run(&env("VERSION"), br#"{"cniVersion": "0.4.0"}"#);
    let supported = json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    assert_eq!(outcome.print.unwrap()["supportedVersions"], supported);
}

#[test]
fn what_the_runtime_got_wrong_is_numbered() {
    let socket = Path::new("/nonexistent/agent.sock");
    let code = |env: &Environment, stdin: &[u8]| run(env, stdin).print.unwrap()["code"].clone();
    assert_eq!(code(&Environment::default(), b"{}"), json!(4));
    assert_eq!(code(&env("FROB"), b"{}"), json!(4));
    assert_eq!(code(&env("ADD"), b"no json"), json!(6));
    assert_eq!(code(&env("ADD"), &config("0.2.0", socket, json!({}))), json!(1));
    assert_eq!(code(&env("STATUS"), &config("1.0.0", socket, json!({}))), json!(1));
    assert_eq!(code(&env("CHECK"), &config("1.1.0", socket, json!({}))), json!(7));
    assert_eq!(code(&env("GC"), &config("1.1.0", socket, json!({}))), json!(7));
    let bare = Environment::new([("CNI_COMMAND".to_owned(), "ADD".to_owned())]);
    assert_eq!(code(&bare, &config("1.1.0", socket, json!({}))), json!(4));
}
