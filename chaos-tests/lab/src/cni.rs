//! Calling the CNI plugin as a container runtime does: environment, configuration on standard input, result on output.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::process::{Place, command};
use crate::workload::PodKey;

/// Version of the CNI specification the lab asks for.
pub const CNI_VERSION: &str = "1.1.0";
/// "Try again later" (CNI specification, section "Error").
const TRY_AGAIN_LATER: u64 = 11;

/// One container as the runtime knows it.
#[derive(Clone, Debug)]
pub struct Container<'a> {
    /// The pod.
    pub pod: &'a PodKey,
    /// The pod's unique id.
    pub uid: &'a str,
    /// The sandbox's id.
    pub id: &'a str,
    /// Handle of its network namespace.
    pub netns: &'a Path,
}

/// What a failed call means for the caller.
#[derive(Debug)]
pub enum Failure {
    /// The plugin asks to be called again later.
    Later(String),
    /// The call will not succeed by itself.
    Final(String),
}

/// ADD: the address the pod got.
///
/// # Errors
/// The plugin cannot be started or answers nonsense; what it answers properly is the inner result.
pub fn add(
    plugin: &Path,
    place: &Place,
    socket: &Path,
    container: &Container<'_>,
) -> Result<Result<Ipv4Addr, Failure>> {
    let (ok, answer) = call(plugin, place, socket, "ADD", container)?;
    if !ok {
        return Ok(Err(failure(&answer)));
    }
    let address = answer["ips"][0]["address"].as_str().unwrap_or_default();
    let ip = address.split('/').next().unwrap_or_default();
    Ok(Ok(ip.parse().with_context(|| format!("the plugin's result has no address: {answer}"))?))
}

/// DEL: gone is gone.
///
/// # Errors
/// The plugin says it failed.
pub fn del(plugin: &Path, place: &Place, socket: &Path, container: &Container<'_>) -> Result<()> {
    let (ok, answer) = call(plugin, place, socket, "DEL", container)?;
    if !ok {
        bail!("CNI DEL of {}: {answer}", container.pod);
    }
    Ok(())
}

fn failure(answer: &Value) -> Failure {
    let words = format!(
        "{}: {}",
        answer["msg"].as_str().unwrap_or("no message"),
        answer["details"].as_str().unwrap_or_default()
    );
    match answer["code"].as_u64() {
        Some(TRY_AGAIN_LATER) => Failure::Later(words),
        _ => Failure::Final(words),
    }
}

fn call(
    plugin: &Path,
    place: &Place,
    socket: &Path,
    verb: &str,
    container: &Container<'_>,
) -> Result<(bool, Value)> {
    let conf = json!({
        "cniVersion": CNI_VERSION, "name": "skein", "type": "skein-cni", "agentSocket": socket,
    });
    let args = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
        container.pod.namespace, container.pod.name, container.id, container.uid
    );
    let mut child = command(place, plugin)?
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", container.id)
        .env("CNI_NETNS", container.netns)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_ARGS", args)
        .env("CNI_PATH", plugin.parent().unwrap_or(Path::new("/")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start the CNI plugin {}", plugin.display()))?;
    child.stdin.take().context("no stdin")?.write_all(conf.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let answer = match text.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text)
            .with_context(|| format!("CNI {verb} of {}: not JSON: {text}", container.pod))?,
    };
    if !output.status.success() && answer.is_null() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("CNI {verb} of {} failed without a word: {}", container.pod, stderr.trim());
    }
    Ok((output.status.success(), answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn try_again_later_is_told_from_other_failures() {
        assert!(matches!(failure(&json!({"code": 11, "msg": "away"})), Failure::Later(_)));
        assert!(matches!(failure(&json!({"code": 7, "msg": "bad"})), Failure::Final(_)));
    }
}
