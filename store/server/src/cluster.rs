//! Who founds a cluster: pure, from the flags, so that every founder comes to the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use skein_store_api::pb::etcdserverpb::Member;
use thiserror::Error;

use crate::config::MemberConfig;

/// The flags describe no cluster that this member can be part of.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClusterError {
    /// This member is not in the list.
    #[error("--initial-cluster does not name this member ({name})")]
    NotNamed {
        /// This member's name.
        name: String,
    },
    /// The list gives this member other addresses than the flag.
    #[error(
        "--initial-cluster has {listed} for {name} but --initial-advertise-peer-urls has {advertised}"
    )]
    Addresses {
        /// This member's name.
        name: String,
        /// Addresses in the list.
        listed: String,
        /// Addresses by the flag.
        advertised: String,
    },
    /// One address for two members.
    #[error("--initial-cluster has {url} for two members")]
    Duplicate {
        /// The address.
        url: String,
    },
    /// The cluster to join does not know this member.
    #[error(
        "the cluster has no member with the peer addresses {advertised}; add it there first \
         (member add)"
    )]
    NotAdded {
        /// Addresses by the flag.
        advertised: String,
    },
}

/// A member as it is known before the log tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<String>,
}

impl Known {
    /// As the log has it. The name follows once the member has started.
    pub(crate) fn member(&self) -> Member {
        Member { id: self.id, peer_ur_ls: self.peer_urls.clone(), ..Member::default() }
    }
}

/// The founders of the cluster that the configuration describes, by id, and which of them this
/// member is.
///
/// # Errors
/// See [`ClusterError`].
pub(crate) fn founders(config: &MemberConfig) -> Result<(Vec<Known>, u64), ClusterError> {
    let name = config.name.clone();
    let advertised = sorted(&config.advertise_peer_urls);
    if config.initial_cluster.is_empty() {
        let id = member_id(&advertised, &config.cluster_token, None);
        return Ok((vec![Known { id, name, peer_urls: advertised }], id));
    }
    let listed = listed(config)?;
    let own = listed.get(&name).ok_or(ClusterError::NotNamed { name: name.clone() })?;
    if *own != advertised {
        let (listed, advertised) = (own.join(","), advertised.join(","));
        return Err(ClusterError::Addresses { name, listed, advertised });
    }
    let own = member_id(own, &config.cluster_token, None);
    let known = listed.into_iter().map(|(name, peer_urls)| {
        let id = member_id(&peer_urls, &config.cluster_token, None);
        Known { id, name, peer_urls }
    });
    let mut known: Vec<_> = known.collect();
    known.sort_by_key(|member| member.id);
    Ok((known, own))
}

/// Every name of the initial cluster with its addresses, sorted.
fn listed(config: &MemberConfig) -> Result<BTreeMap<String, Vec<String>>, ClusterError> {
    let mut listed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, url) in &config.initial_cluster {
        if listed.values().flatten().any(|known| known == url) {
            return Err(ClusterError::Duplicate { url: url.clone() });
        }
        listed.entry(name.clone()).or_default().push(url.clone());
    }
    listed.values_mut().for_each(|urls| urls.sort());
    Ok(listed)
}

/// Which of the members of an existing cluster this one is.
///
/// # Errors
/// [`ClusterError::NotAdded`].
pub(crate) fn own_id(config: &MemberConfig, members: &[Known]) -> Result<u64, ClusterError> {
    let advertised = sorted(&config.advertise_peer_urls);
    let own = members.iter().find(|member| sorted(&member.peer_urls) == advertised);
    own.map(|member| member.id)
        .ok_or_else(|| ClusterError::NotAdded { advertised: advertised.join(",") })
}

/// A member's id: a hash of its peer addresses and the cluster's token, so that equal flags give
/// equal ids, as with etcd. `time` sets a member that is added later apart from former ones.
pub(crate) fn member_id(peer_urls: &[String], token: &str, time: Option<u64>) -> u64 {
    let time = time.map(|time| time.to_string());
    let parts = [sorted(peer_urls).join(","), token.to_owned()];
    hash_id(parts.into_iter().chain(time))
}

/// A cluster's id: a hash of its founders' and of its token.
pub(crate) fn cluster_id(founders: &[Known], token: &str) -> u64 {
    let ids: Vec<_> = founders.iter().map(|member| member.id.to_string()).collect();
    hash_id([ids.join(","), token.to_owned()])
}

fn sorted(urls: &[String]) -> Vec<String> {
    let mut urls = urls.to_vec();
    urls.sort();
    urls
}

fn hash_id(parts: impl IntoIterator<Item = String>) -> u64 {
    let parts: Vec<_> = parts.into_iter().collect();
    let digest = Sha256::digest(parts.join("\n").as_bytes());
    let head = digest.first_chunk::<8>().copied().unwrap_or_default();
    // Raft reserves 0 for "nobody".
    u64::from_be_bytes(head).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, cluster: &[(&str, &str)]) -> MemberConfig {
        let own = cluster.iter().filter(|(other, _)| *other == name);
        MemberConfig {
            advertise_peer_urls: own.map(|(_, url)| (*url).to_owned()).collect(),
            initial_cluster: cluster.iter().map(|&(n, u)| (n.into(), u.into())).collect(),
            ..MemberConfig::new(name, "unused")
        }
    }

    const THREE: &[(&str, &str)] =
        &[("a", "http://a:1"), ("b", "http://b:1"), ("c", "http://c:1"), ("a", "http://a:2")];

    #[test]
    fn every_founder_comes_to_the_same_cluster() {
        let mut turned = THREE.to_vec();
        turned.reverse();
        let (one, a) = founders(&config("a", THREE)).expect("a cluster");
        let (other, b) = founders(&config("b", &turned)).expect("a cluster");
        assert_eq!(one, other);
        assert_ne!(a, b);
        assert_eq!(cluster_id(&one, "t"), cluster_id(&other, "t"));
        assert_ne!(cluster_id(&one, "t"), cluster_id(&one, "u"));
        assert_eq!(one.len(), 3);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let lonely = config("d", THREE);
        assert!(matches!(founders(&lonely), Err(ClusterError::NotNamed { .. })));
        let moved =
            MemberConfig { advertise_peer_urls: vec!["http://a:1".into()], ..config("a", THREE) };
        assert!(matches!(founders(&moved), Err(ClusterError::Addresses { .. })));
        let twice = config("a", &[("a", "http://a:1"), ("b", "http://a:1")]);
        assert!(matches!(founders(&twice), Err(ClusterError::Duplicate { .. })));
    }

    #[test]
    fn a_joining_member_finds_itself_by_its_addresses() {
        let (members, a) = founders(&config("a", THREE)).expect("a cluster");
        assert_eq!(own_id(&config("a", THREE), &members), Ok(a));
        let stranger = config("d", &[("d", "http://d:1")]);
        assert!(matches!(own_id(&stranger, &members), Err(ClusterError::NotAdded { .. })));
    }
}
