//! CNI requests, carried out.
//!
//! ADD while the store is away works from the last known block: the pod gets an address and reaches
//! everything the maps know; it has identity `init` until the store says more, other nodes learn of
//! it when the report, which waits here, can be written.

use std::sync::Arc;
use std::time::Duration;

use skein_nodeagent_cni::error;
use skein_nodeagent_cni::messages::{
    AddReply, AddRequest, Attachment, CheckRequest, DelRequest, ErrorReply,
};
use skein_nodeagent_core::endpoint::{
    AddDecision, AttachmentKey, Endpoint, EndpointError, NewEndpoint,
};
use skein_nodeagent_core::ipam::IpamError;
use skein_store_schema::{IdentityId, MacAddr};

use crate::bringup::memory_ifindex;
use crate::node::{Datapath, Node};
use crate::podnet;

/// How long an ADD waits for a node that is just starting (block claimed, programs loaded). Runtimes
/// give a plugin much longer, and try again.
const READY_WAIT: Duration = Duration::from_secs(20);
/// How long an ADD waits for the pod's identity. The control plane usually knows the pod before the
/// runtime asks; if not, the pod starts as `init` and is corrected.
const IDENTITY_WAIT: Duration = Duration::from_millis(500);

/// A refusal.
fn refuse(code: u32, message: impl Into<String>) -> ErrorReply {
    ErrorReply { code, message: message.into() }
}

fn internal(error: &dyn std::error::Error) -> ErrorReply {
    refuse(error::INTERNAL, crate::chain(error))
}

fn key_of(attachment: &Attachment) -> AttachmentKey {
    AttachmentKey {
        container_id: attachment.container_id.clone(),
        ifname: attachment.ifname.clone(),
    }
}

/// CNI ADD.
pub async fn add(node: &Arc<Node>, request: AddRequest) -> Result<AddReply, ErrorReply> {
    if !node.wait(READY_WAIT, |engine| engine.progress().datapath_ready).await {
        let problem = node.engine().problems().values().next().cloned();
        let why = problem.unwrap_or_else(|| "the node has no block of addresses yet".to_owned());
        return Err(refuse(error::TRY_AGAIN_LATER, format!("the node is not ready: {why}")));
    }
    let new = NewEndpoint {
        attachment: key_of(&request.attachment),
        netns: request.netns,
        pod: (request.pod_namespace, request.pod_name, request.pod_uid),
    };
    let _alone = node.attachments.lock(&new.attachment).await;
    let decision = node.engine().endpoints().decide_add(&new);
    match decision {
        AddDecision::Create => {}
        AddDecision::Repeat(endpoint) => {
            if is_in_place(node, &endpoint).await {
                return Ok(reply(node, &endpoint));
            }
            remove(node, &endpoint.attachment).await?;
        }
        AddDecision::Replace(endpoint) => remove(node, &endpoint.attachment).await?,
    }
    create(node, new).await
}

async fn create(node: &Arc<Node>, new: NewEndpoint) -> Result<AddReply, ErrorReply> {
    let begun = node.engine().endpoints_mut().begin(new, node.facts.pod_mtu);
    let endpoint = begun.map_err(|error| match &error {
        EndpointError::Ipam(IpamError::Exhausted { .. }) => {
            refuse(error::ADDRESSES_EXHAUSTED, error.to_string())
        }
        EndpointError::NoBlock | EndpointError::Exists(_) => {
            refuse(error::TRY_AGAIN_LATER, error.to_string())
        }
        _ => internal(&error),
    })?;
    let made = set_up(node, &endpoint).await;
    if let Err(refusal) = made {
        if let Err(left) = remove(node, &endpoint.attachment).await {
            tracing::warn!(endpoint = %endpoint.owner(), why = %left.message, "left behind");
        }
        return Err(refusal);
    }
    node.report_due.notify_one();
    tracing::info!(pod = %endpoint.owner(), ip = %endpoint.ip, device = %endpoint.host_ifname, "added");
    Ok(reply(node, &endpoint))
}

async fn set_up(node: &Arc<Node>, endpoint: &Endpoint) -> Result<(), ErrorReply> {
    node.state.keep_endpoint(endpoint).map_err(|error| internal(&error))?;
    let ifindex = match (&node.network, node.datapath()) {
        (Some(network), Some(Datapath::Kernel(_))) => {
            podnet::set_up(network, endpoint).await.map_err(|error| internal(&error))?
        }
        _ => memory_ifindex(endpoint),
    };
    node.update(|engine| engine.bind(&endpoint.attachment, ifindex));
    if let Some(Datapath::Kernel(kernel)) = node.datapath() {
        kernel.attach_pod(&endpoint.host_ifname).map_err(|error| internal(&error))?;
    }
    if endpoint.pod().is_some() && node.engine().progress().connected {
        let init = IdentityId::INIT.get();
        node.wait(IDENTITY_WAIT, |engine| engine.identity_of(endpoint) != init).await;
    }
    let ready = node.engine().endpoints_mut().finish(&endpoint.attachment);
    let ready = ready.ok_or_else(|| refuse(error::TRY_AGAIN_LATER, "deleted meanwhile"))?;
    node.state.keep_endpoint(&ready).map_err(|error| internal(&error))
}

/// CNI DEL. What is gone already is fine.
pub async fn del(node: &Arc<Node>, request: &DelRequest) -> Result<(), ErrorReply> {
    let key = key_of(&request.attachment);
    let _alone = node.attachments.lock(&key).await;
    remove(node, &key).await?;
    node.report_due.notify_one();
    Ok(())
}

/// CNI CHECK.
pub async fn check(node: &Arc<Node>, request: &CheckRequest) -> Result<(), ErrorReply> {
    let key = key_of(&request.attachment);
    let _alone = node.attachments.lock(&key).await;
    let known = node.engine().endpoints().get(&key).cloned();
    let endpoint =
        known.ok_or_else(|| refuse(error::UNKNOWN_CONTAINER, format!("{key} is not known")))?;
    let failed = |why: String| refuse(error::CHECK_FAILED, why);
    if !request.addresses.contains(&endpoint.ip) {
        return Err(failed(format!("the pod's address is {}, not as in prevResult", endpoint.ip)));
    }
    let Some(network) = &node.network else { return Ok(()) };
    match podnet::check(network, &endpoint).await.map_err(|error| internal(&error))? {
        None => Ok(()),
        Some(why) => Err(failed(why)),
    }
}

/// CNI GC. Returns how many attachments were removed.
pub async fn gc(node: &Arc<Node>, valid: &[Attachment]) -> Result<usize, ErrorReply> {
    let valid: Vec<AttachmentKey> = valid.iter().map(key_of).collect();
    let stale = node.engine().endpoints().unlisted(&valid);
    for key in &stale {
        let _alone = node.attachments.lock(key).await;
        remove(node, key).await?;
    }
    node.report_due.notify_one();
    Ok(stale.len())
}

/// CNI STATUS: can an ADD succeed now?
pub fn status(node: &Node) -> Result<(), ErrorReply> {
    let engine = node.engine();
    if !engine.progress().datapath_ready {
        let problem = engine.problems().values().next().cloned();
        let why = problem.unwrap_or_else(|| "the node has no block of addresses yet".to_owned());
        return Err(refuse(error::NOT_AVAILABLE, why));
    }
    match engine.endpoints().ipam() {
        Some(ipam) if ipam.is_exhausted() => Err(refuse(
            error::NOT_AVAILABLE,
            format!("block {} is exhausted: {} addresses in use", ipam.block(), ipam.used()),
        )),
        _ => Ok(()),
    }
}

/// Deletions that were left while no agent ran, and endpoints that were half made.
pub async fn settle_leftovers(node: &Arc<Node>, half_made: Vec<AttachmentKey>) {
    for key in half_made {
        if let Err(error) = remove(node, &key).await {
            tracing::warn!(%key, why = %error.message, "cannot clean up");
        }
    }
    let deletions = node.state.deletions().unwrap_or_default();
    for (path, request) in deletions {
        if let Some(request) = request
            && let Err(error) = del(node, &request).await
        {
            tracing::warn!(path = %path.display(), why = %error.message, "cannot delete");
            continue;
        }
        if let Err(error) = node.state.forget_deletion(&path) {
            tracing::warn!(error = %crate::chain(&error), "cannot forget a deletion");
        }
    }
}

/// Takes an endpoint away, outermost first: the maps forget it, then its devices go, then its
/// address is free. Absent is fine.
async fn remove(node: &Arc<Node>, key: &AttachmentKey) -> Result<(), ErrorReply> {
    let Some(endpoint) = node.engine().endpoints().get(key).cloned() else { return Ok(()) };
    node.update(|engine| engine.unbind(&endpoint));
    if let Some(network) = &node.network {
        podnet::tear_down(network, &endpoint).await.map_err(|error| internal(&error))?;
    }
    node.state.forget_endpoint(key).map_err(|error| internal(&error))?;
    node.engine().endpoints_mut().remove(key);
    tracing::info!(pod = %endpoint.owner(), ip = %endpoint.ip, "removed");
    Ok(())
}

async fn is_in_place(node: &Node, endpoint: &Endpoint) -> bool {
    match &node.network {
        Some(network) => matches!(podnet::check(network, endpoint).await, Ok(None)),
        None => true,
    }
}

fn reply(node: &Node, endpoint: &Endpoint) -> AddReply {
    AddReply {
        ip: endpoint.ip,
        gateway: endpoint.gateway,
        host_ifname: endpoint.host_ifname.clone(),
        host_mac: MacAddr(endpoint.host_mac).to_string(),
        pod_mac: MacAddr(endpoint.pod_mac).to_string(),
        mtu: endpoint.mtu,
        identity: node.engine().identity_of(endpoint),
    }
}
