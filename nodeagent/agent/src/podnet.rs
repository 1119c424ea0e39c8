//! A pod's devices: the pair, and what lies inside the pod's namespace.
//!
//! Work inside another namespace happens on a thread of its own that ends with it, so no thread of
//! the runtime is ever in the wrong place.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use skein_nodeagent_core::endpoint::Endpoint;

use crate::netlink::{NetError, Network, PodEnd, PodPair};

/// Makes the pair and everything inside; what an earlier, broken off attempt left is removed first.
/// A device that somebody else made in the pod is not touched: then there is no pair. Returns the
/// index of the host-side device.
pub async fn set_up(network: &Network, endpoint: &Endpoint) -> Result<u32, NetError> {
    let netns = open(&endpoint.netns)?;
    network.delete(&endpoint.host_ifname).await?;
    let end = pod_end(endpoint);
    let (name, path) = (end.name.clone(), endpoint.netns.clone());
    inside(&endpoint.netns, &netns, move |pod| async move {
        match pod.index(&name).await? {
            Some(_) => Err(NetError::Occupied { path, name }),
            None => Ok(()),
        }
    })
    .await?;
    let pair = PodPair {
        name: &endpoint.host_ifname,
        mac: endpoint.host_mac,
        peer: &end.name,
        peer_mac: endpoint.pod_mac,
        mtu: endpoint.mtu,
    };
    let index = network.create_pod_pair(&pair, netns.as_raw_fd()).await?;
    let configured = inside(&endpoint.netns, &netns, {
        let end = end.clone();
        move |pod| async move { pod.configure_pod_end(&end).await }
    });
    if let Err(error) = configured.await {
        network.delete(&endpoint.host_ifname).await?;
        return Err(error);
    }
    Ok(index)
}

fn pod_end(endpoint: &Endpoint) -> PodEnd {
    PodEnd {
        name: endpoint.attachment.ifname.clone(),
        addr: endpoint.ip,
        gateway: endpoint.gateway,
        gateway_mac: endpoint.host_mac,
    }
}

/// Takes the pair away; with our end goes the pod's. Absent is fine.
pub async fn tear_down(network: &Network, endpoint: &Endpoint) -> Result<(), NetError> {
    network.delete(&endpoint.host_ifname).await
}

/// Whether both ends are as ADD left them; the answer says what is wrong.
pub async fn check(network: &Network, endpoint: &Endpoint) -> Result<Option<String>, NetError> {
    if let Some(fault) = network.device_fault(&endpoint.host_ifname).await? {
        return Ok(Some(fault));
    }
    let netns = open(&endpoint.netns)?;
    let end = pod_end(endpoint);
    inside(&endpoint.netns, &netns, move |pod| async move { pod.pod_end_fault(&end).await }).await
}

fn open(path: &str) -> Result<File, NetError> {
    File::open(path).map_err(|source| NetError::Namespace {
        what: "open",
        path: path.to_owned(),
        source,
    })
}

/// Runs `work` with a netlink of the namespace, on a thread in that namespace.
async fn inside<T, F, W>(path: &str, netns: &File, work: W) -> Result<T, NetError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, NetError>>,
    W: FnOnce(Network) -> F + Send + 'static,
{
    let failed = |what: &'static str, path: &str, source: std::io::Error| NetError::Namespace {
        what,
        path: path.to_owned(),
        source,
    };
    let netns = netns.try_clone().map_err(|source| failed("open", path, source))?;
    let (path, other) = (path.to_owned(), path.to_owned());
    let (answer, answered) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("pod-netns".to_owned());
    let spawned = thread.spawn(move || {
        let outcome = nix::sched::setns(netns.as_fd(), nix::sched::CloneFlags::CLONE_NEWNET)
            .map_err(|errno| failed("enter", &path, errno.into()))
            .and_then(|()| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(|source| failed("work in", &path, source))?;
                runtime.block_on(async {
                    let network =
                        Network::open().map_err(|e| failed("open netlink in", &path, e))?;
                    work(network).await
                })
            });
        // The caller may be gone (its request was cancelled); then nobody needs the answer.
        let _ = answer.send(outcome);
    });
    spawned.map_err(|source| failed("start a thread for", &other, source))?;
    answered.await.unwrap_or_else(|_| {
        Err(failed("work in", &other, std::io::Error::other("the thread ended early")))
    })
}
