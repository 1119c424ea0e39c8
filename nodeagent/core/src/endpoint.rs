//! This node's own endpoints: what CNI requests mean, what is kept on disk, and in which state.
//!
//! ```text
//!            ADD                 devices, program and maps are there
//!   (none) ───────> Creating ──────────────────────────────────────> Ready
//!                      │  failed, or found so after a restart          │ DEL, GC
//!                      └──────────────> (none) <───────────────────────┘
//! ```
//!
//! A record is on disk before anything of it exists in the kernel, so whatever a crash leaves behind
//! has a record to clean up from. A pod that was not acknowledged is removed at restart: the runtime
//! never got a result and will ask again.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::ids::IdPool;
use crate::ipam::{Ipam, IpamError};
use crate::types::ObjectName;

/// Format of an endpoint's file that this build writes and reads.
pub const RECORD_VERSION: u32 = 1;

/// One interface of one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// The runtime's id of the sandbox.
    pub container_id: String,
    /// Interface inside.
    pub ifname: String,
}

impl AttachmentKey {
    /// Name of the endpoint's file: the ids have no slash (the CNI specification forbids it).
    pub fn file_name(&self) -> String {
        format!("{}.{}.json", self.container_id, self.ifname)
    }

    /// Name of the host-side device: `lxc` and eleven hexadecimal digits of a hash, which fills
    /// Linux's fifteen characters nearly.
    pub fn host_ifname(&self) -> String {
        let low = crc32c::crc32c(self.container_id.as_bytes());
        let low = crc32c::crc32c_append(low, self.ifname.as_bytes());
        let high = crc32c::crc32c_append(low, self.container_id.as_bytes());
        format!("lxc{low:08x}{:03x}", high & 0xfff)
    }
}

impl std::fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.container_id, self.ifname)
    }
}

/// Where an endpoint is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// Being set up; the runtime has no result yet.
    Creating,
    /// The runtime has its result.
    Ready,
}

/// One endpoint, as its file holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Format version.
    pub v: u32,
    /// Number on this node, stable over restarts.
    pub id: u32,
    /// What the runtime calls it.
    pub attachment: AttachmentKey,
    /// Path of the pod's network namespace.
    pub netns: String,
    /// Namespace of the pod; empty without Kubernetes.
    pub pod_namespace: String,
    /// Name of the pod.
    pub pod_name: String,
    /// UID of the pod.
    pub pod_uid: String,
    /// The pod's address.
    pub ip: Ipv4Addr,
    /// The router's address at the time.
    pub gateway: Ipv4Addr,
    /// Host-side device.
    pub host_ifname: String,
    /// Its MAC.
    pub host_mac: [u8; 6],
    /// MAC in the pod.
    pub pod_mac: [u8; 6],
    /// MTU of both devices.
    pub mtu: u32,
    /// State.
    pub state: EndpointState,
}

impl Endpoint {
    /// The pod, when the runtime named one.
    pub fn pod(&self) -> Option<ObjectName> {
        let named = !self.pod_namespace.is_empty() && !self.pod_name.is_empty();
        named.then(|| ObjectName::new(&*self.pod_namespace, &*self.pod_name))
    }

    /// The owner of the address, as IPAM and status name it.
    pub fn owner(&self) -> String {
        self.pod().map_or_else(|| self.attachment.to_string(), |pod| pod.to_string())
    }

    /// Reads a file.
    pub fn decode(bytes: &[u8]) -> Result<Endpoint, EndpointError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let parse = |source: serde_json::Error| EndpointError::Damaged(source.to_string());
        let Version { v } = serde_json::from_slice(bytes).map_err(parse)?;
        if v != RECORD_VERSION {
            return Err(EndpointError::Version { found: v });
        }
        serde_json::from_slice(bytes).map_err(parse)
    }
}

/// What an ADD asks.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// What to attach.
    pub attachment: AttachmentKey,
    /// The pod's network namespace.
    pub netns: String,
    /// Pod's namespace, name and uid, empty when unknown.
    pub pod: (String, String, String),
}

/// What an ADD means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddDecision {
    /// A new endpoint.
    Create,
    /// The same ADD again (the runtime lost the answer): give the same result.
    Repeat(Endpoint),
    /// The attachment is known, but of another namespace or half made: remove that first.
    Replace(Endpoint),
}

/// Why an endpoint could not be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The node has no block yet.
    #[error("the node has no block of addresses yet")]
    NoBlock,
    /// The attachment is there already.
    #[error("attachment {0} exists")]
    Exists(AttachmentKey),
    /// No address.
    #[error(transparent)]
    Ipam(#[from] IpamError),
    /// A file of another version.
    #[error("endpoint format {found}, this build reads format {RECORD_VERSION}")]
    Version { found: u32 },
    /// Not an endpoint.
    #[error("endpoint file is damaged: {0}")]
    Damaged(String),
}

/// All endpoints of the node and the addresses they hold.
#[derive(Debug, Default)]
pub struct Endpoints {
    by_key: BTreeMap<AttachmentKey, Endpoint>,
    ipam: Option<Ipam>,
    ids: IdPool,
}

impl Endpoints {
    /// Takes an endpoint over from its file. All must be restored before the block is set.
    pub fn restore(&mut self, endpoint: Endpoint) {
        self.ids.claim(endpoint.id);
        self.by_key.insert(endpoint.attachment.clone(), endpoint);
    }

    /// The node's block is known (or changed): addresses in use stay in use. Returns addresses
    /// that two endpoints claim.
    pub fn set_block(&mut self, block: Ipv4Net) -> Result<Vec<IpamError>, IpamError> {
        if self.ipam.as_ref().is_some_and(|ipam| ipam.block() == block.trunc()) {
            return Ok(Vec::new());
        }
        let mut ipam = Ipam::new(block)?;
        let claims = self.by_key.values().map(|e| ipam.restore(e.ip, &e.attachment.to_string()));
        let conflicts = claims.filter_map(Result::err).collect();
        self.ipam = Some(ipam);
        Ok(conflicts)
    }

    /// The allocator, once the block is known.
    pub fn ipam(&self) -> Option<&Ipam> {
        self.ipam.as_ref()
    }

    /// Every endpoint.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.by_key.values()
    }

    /// One endpoint.
    pub fn get(&self, key: &AttachmentKey) -> Option<&Endpoint> {
        self.by_key.get(key)
    }

    /// Endpoints of a pod.
    pub fn of_pod<'a>(&'a self, pod: &'a ObjectName) -> impl Iterator<Item = &'a Endpoint> {
        self.by_key.values().filter(move |endpoint| endpoint.pod().as_ref() == Some(pod))
    }

    /// What an ADD means now.
    pub fn decide_add(&self, new: &NewEndpoint) -> AddDecision {
        match self.by_key.get(&new.attachment) {
            None => AddDecision::Create,
            Some(old) if old.state == EndpointState::Ready && old.netns == new.netns => {
                AddDecision::Repeat(old.clone())
            }
            Some(old) => AddDecision::Replace(old.clone()),
        }
    }

    /// Takes an address and a number for a new endpoint, in state `Creating`.
    pub fn begin(&mut self, new: NewEndpoint, mtu: u32) -> Result<Endpoint, EndpointError> {
        if self.by_key.contains_key(&new.attachment) {
            return Err(EndpointError::Exists(new.attachment));
        }
        let ipam = self.ipam.as_mut().ok_or(EndpointError::NoBlock)?;
        let ip = ipam.allocate(&new.attachment.to_string())?;
        let [a, b, c, d] = ip.octets();
        let (pod_namespace, pod_name, pod_uid) = new.pod;
        let endpoint = Endpoint {
            v: RECORD_VERSION,
            id: self.ids.allocate(),
            netns: new.netns,
            pod_namespace,
            pod_name,
            pod_uid,
            ip,
            gateway: Ipam::router_of(ipam.block()),
            host_ifname: new.attachment.host_ifname(),
            // Locally administered, unique on the node by the address in them.
            host_mac: [0x0a, 0x59, a, b, c, d],
            pod_mac: [0x0a, 0x58, a, b, c, d],
            mtu,
            state: EndpointState::Creating,
            attachment: new.attachment,
        };
        self.by_key.insert(endpoint.attachment.clone(), endpoint.clone());
        Ok(endpoint)
    }

    /// Everything is in place. Returns the record to keep.
    pub fn finish(&mut self, key: &AttachmentKey) -> Option<Endpoint> {
        let endpoint = self.by_key.get_mut(key)?;
        endpoint.state = EndpointState::Ready;
        Some(endpoint.clone())
    }

    /// Forgets an endpoint and frees its address. Absent is fine.
    pub fn remove(&mut self, key: &AttachmentKey) -> Option<Endpoint> {
        let endpoint = self.by_key.remove(key)?;
        self.ids.release(endpoint.id);
        if let Some(ipam) = self.ipam.as_mut() {
            ipam.release(endpoint.ip, &key.to_string());
        }
        Some(endpoint)
    }

    /// Attachments that GC's list does not name.
    pub fn unlisted(&self, valid: &[AttachmentKey]) -> Vec<AttachmentKey> {
        self.by_key.keys().filter(|key| !valid.contains(key)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(container: &str, netns: &str) -> NewEndpoint {
        NewEndpoint {
            attachment: AttachmentKey {
                container_id: container.to_owned(),
                ifname: "eth0".to_owned(),
            },
            netns: netns.to_owned(),
            pod: ("shop".to_owned(), "cart-0".to_owned(), "u1".to_owned()),
        }
    }

    fn endpoints() -> Endpoints {
        let mut endpoints = Endpoints::default();
        endpoints.set_block("10.1.0.0/24".parse().unwrap()).unwrap();
        endpoints
    }

    #[test]
    fn a_repeated_add_gives_the_same_and_another_namespace_replaces() {
        let mut endpoints = endpoints();
        let first = new("c1", "/run/netns/a");
        assert_eq!(endpoints.decide_add(&first), AddDecision::Create);
        let made = endpoints.begin(first.clone(), 1450).unwrap();
        assert_eq!(endpoints.decide_add(&first), AddDecision::Replace(made.clone()));
        let ready = endpoints.finish(&made.attachment).unwrap();
        assert_eq!(endpoints.decide_add(&first), AddDecision::Repeat(ready.clone()));
        assert_eq!(endpoints.decide_add(&new("c1", "/run/netns/b")), AddDecision::Replace(ready));
    }

    #[test]
    fn restored_addresses_and_numbers_are_not_given_again() {
        let mut before = endpoints();
        let old = before.begin(new("c1", "a"), 1450).unwrap();
        let mut after = Endpoints::default();
        let bytes = serde_json::to_vec(&old).unwrap();
        after.restore(Endpoint::decode(&bytes).unwrap());
        assert_eq!(after.begin(new("c2", "b"), 1450), Err(EndpointError::NoBlock));
        assert_eq!(after.set_block("10.1.0.0/24".parse().unwrap()), Ok(vec![]));
        let fresh = after.begin(new("c2", "b"), 1450).unwrap();
        assert_ne!((fresh.ip, fresh.id), (old.ip, old.id));
    }

    #[test]
    fn removal_frees_and_gc_finds_what_is_not_listed() {
        let mut endpoints = endpoints();
        let one = endpoints.begin(new("c1", "a"), 1450).unwrap();
        let two = endpoints.begin(new("c2", "b"), 1450).unwrap();
        let valid = std::slice::from_ref(&one.attachment);
        assert_eq!(endpoints.unlisted(valid), std::slice::from_ref(&two.attachment));
        assert!(endpoints.remove(&two.attachment).is_some());
        assert!(endpoints.remove(&two.attachment).is_none());
        assert_eq!(endpoints.ipam().unwrap().used(), 1);
    }

    #[test]
    fn another_version_is_named_and_device_names_fit() {
        assert_eq!(Endpoint::decode(br#"{"v": 2}"#), Err(EndpointError::Version { found: 2 }));
        assert!(matches!(Endpoint::decode(b"{"), Err(EndpointError::Damaged(_))));
        assert!(new("c1", "a").attachment.host_ifname().len() <= 15);
    }
}
