//! Listing a running lab.

use std::process::ExitCode;

use anyhow::Result;

use crate::cluster::Cluster;
use crate::process::Process;
use crate::table::Table;

/// Nodes, pods and processes, from the lab's directory; asks nobody.
///
/// # Errors
/// The lab's directory cannot be read.
pub fn print(cluster: &Cluster) -> Result<ExitCode> {
    let mut nodes = Table::new(&["NODE", "ADDRESS", "AGENT"]);
    for (node, ip) in cluster.spec.node_addresses() {
        let agent =
            cluster.agent_pid(&node).map_or("not running".to_owned(), |p| format!("pid {p}"));
        nodes.row([node, ip.to_string(), agent]);
    }
    println!("{}", nodes.render());
    let mut pods = Table::new(&["POD", "NODE", "IP", "STATE"]);
    for pod in cluster.kubelet.pods().values() {
        let state = match &pod.waiting {
            Some(why) => why.clone(),
            None if pod.serving => "serving".to_owned(),
            None => "starting".to_owned(),
        };
        let ip = pod.ip.map(|ip| ip.to_string()).unwrap_or_default();
        pods.row([pod.plan.key.to_string(), pod.plan.node.clone(), ip, state]);
    }
    println!("{}", pods.render());
    let mut processes = Table::new(&["PROCESS", "PID", "LOG"]);
    let mut names: Vec<String> = std::fs::read_dir(cluster.layout.pids())?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for name in names.into_iter().filter(|n| !n.starts_with("pod-")) {
        let log = cluster.layout.log(&name);
        let pid = Process::find(&name, &log, &cluster.layout.pids())
            .map_or("ended".to_owned(), |p| p.pid().to_string());
        processes.row([name, pid, log.display().to_string()]);
    }
    print!("{}", processes.render());
    Ok(ExitCode::SUCCESS)
}
