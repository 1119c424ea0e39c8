//! Starting traffic generators at a place of the cluster and collecting what they saw.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context, Result, bail};

use super::{Cluster, places};
use crate::kubelet::PodRun;
use crate::net;
use crate::process::{Place, command};
use crate::traffic::Report;
use crate::workload::PodKey;

/// A place traffic can start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// A pod.
    Pod(PodKey),
    /// A node's own network, in its own cgroup.
    Node(String),
    /// The client outside the cluster.
    Client,
}

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "pod {key}"),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Client => f.write_str("the client outside"),
        }
    }
}

/// A run that goes on until it is finished.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Cluster {
    /// The place behind a name: a pod (`namespace/name`, or a name alone if it is the only one), a node, `cp`, `client`.
    ///
    /// # Errors
    /// Nothing has that name.
    pub fn place_of(&self, name: &str) -> Result<Place> {
        if name == net::CP || name == net::CLIENT {
            return Ok(places::outside(&self.layout, &self.spec, name));
        }
        if self.nodes().iter().any(|node| node == name) {
            let mut place = places::node(&self.layout, &self.spec, name);
            place.resolv_conf = Some(places::resolver(&self.layout, "default")?);
            return Ok(place);
        }
        places::pod(&self.layout, &self.pod_named(name)?.plan)
    }

    /// The pod with that name, or whose name begins with it.
    ///
    /// # Errors
    /// None, or more than one.
    pub fn pod_named(&self, name: &str) -> Result<&PodRun> {
        let pods = self.kubelet.pods();
        let exact = |p: &&PodRun| p.plan.key.to_string() == name || p.plan.key.name == name;
        if let Some(pod) = pods.values().find(exact) {
            return Ok(pod);
        }
        let starts = |p: &&PodRun| {
            p.plan.key.to_string().starts_with(name) || p.plan.key.name.starts_with(name)
        };
        let found: Vec<&PodRun> = pods.values().filter(starts).collect();
        match found[..] {
            [pod] => Ok(pod),
            [] => bail!("no pod, node, cp or client named {name}"),
            _ => bail!("{} pods are named {name}...", found.len()),
        }
    }

    fn place(&self, from: &From) -> Result<Place> {
        match from {
            From::Pod(key) => {
                let pod = self.kubelet.pods().get(key).with_context(|| format!("no pod {key}"))?;
                places::pod(&self.layout, &pod.plan)
            }
            From::Node(node) => self.place_of(node),
            From::Client => self.place_of(net::CLIENT),
        }
    }

    /// Starts a generator with these words.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_traffic(&self, from: &From, words: &str) -> Result<Running> {
        let mut command = command(&self.place(from)?, crate::process::own_program())?;
        command.arg("traffic").args(words.split_ascii_whitespace());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Running { child, output })
    }

    /// Runs a generator to its own end.
    ///
    /// # Errors
    /// It cannot be started or says nothing; failures of its traffic are in the report.
    pub fn traffic(&self, from: &From, words: &str) -> Result<Report> {
        self.start_traffic(from, words)?.collect(false)
    }
}

impl Running {
    /// Waits for the line by which a long connection says that it is established.
    ///
    /// # Errors
    /// It ended instead.
    pub fn wait_connected(&mut self) -> Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.trim() != "connected" {
            bail!("no connection: {line}");
        }
        Ok(())
    }

    /// Ends the run and returns what it saw.
    ///
    /// # Errors
    /// It says nothing.
    pub fn finish(self) -> Result<Report> {
        self.collect(true)
    }

    fn collect(mut self, close: bool) -> Result<Report> {
        if close {
            drop(self.child.stdin.take());
        }
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("a generator ended ({status}): {text}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Reaps a generator whose caller gave up on it; one that ended is left as it is.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
