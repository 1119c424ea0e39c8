//! What the names of the cluster mean, from services and slices alone. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use skein_store_schema::kinds::service::{Service, ServiceKey};
use skein_store_schema::kinds::slice::{Slice, SliceKey};

use crate::topology::CLUSTER_DOMAIN;

/// Services and slices as the store has them.
#[derive(Clone, Debug, Default)]
pub(super) struct Zone {
    services: BTreeMap<ServiceKey, Service>,
    slices: BTreeMap<SliceKey, Slice>,
}

/// What a question for addresses gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name exists; these are its IPv4 addresses, maybe none.
    Addresses(Vec<Ipv4Addr>),
    /// No such name in the cluster.
    NoName,
    /// A name outside the cluster, which this server does not resolve.
    NotOurs,
}

impl Zone {
    /// Sets or removes a service.
    pub(super) fn service(&mut self, key: ServiceKey, value: Option<Service>) {
        match value {
            Some(value) => self.services.insert(key, value),
            None => self.services.remove(&key),
        };
    }

    /// Sets or removes a slice.
    pub(super) fn slice(&mut self, key: SliceKey, value: Option<Slice>) {
        match value {
            Some(value) => self.slices.insert(key, value),
            None => self.slices.remove(&key),
        };
    }

    /// Addresses of `service.namespace.svc.cluster.local`, or of one pod of a headless service by a name before it.
    #[must_use]
    pub(super) fn lookup(&self, name: &str) -> Answer {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let suffix = format!(".svc.{CLUSTER_DOMAIN}");
        let Some(short) = name.strip_suffix(&suffix) else {
            let inside = name == CLUSTER_DOMAIN || name.ends_with(&format!(".{CLUSTER_DOMAIN}"));
            return if inside { Answer::NoName } else { Answer::NotOurs };
        };
        let labels: Vec<&str> = short.split('.').collect();
        match labels[..] {
            [service, namespace] => self.of_service(namespace, service, None),
            [pod, service, namespace] => self.of_service(namespace, service, Some(pod)),
            _ => Answer::NoName,
        }
    }

    fn of_service(&self, namespace: &str, name: &str, pod: Option<&str>) -> Answer {
        let found = self
            .services
            .iter()
            .find(|(k, _)| k.namespace.as_str() == namespace && k.name.as_str() == name);
        let Some((key, service)) = found else { return Answer::NoName };
        if !service.headless {
            return if pod.is_some() {
                Answer::NoName
            } else {
                Answer::Addresses(service.cluster_ips.iter().filter_map(v4).collect())
            };
        }
        let addresses = self.endpoints(key, service.publish_not_ready, pod);
        if pod.is_some() && addresses.is_empty() {
            return Answer::NoName;
        }
        Answer::Addresses(addresses)
    }

    fn endpoints(&self, of: &ServiceKey, not_ready_too: bool, pod: Option<&str>) -> Vec<Ipv4Addr> {
        let slices = self
            .slices
            .iter()
            .filter(|(k, s)| k.namespace == of.namespace && s.service.as_str() == of.name.as_str());
        let named = |name: &str| pod.is_none_or(|wanted| wanted == name);
        let set: BTreeSet<Ipv4Addr> = slices
            .flat_map(|(_, slice)| &slice.endpoints)
            .filter(|e| e.ready || not_ready_too)
            .filter(|e| named(e.pod.as_ref().map_or("", |p| p.name.as_str())))
            .filter_map(|e| e.addresses.first().and_then(v4))
            .collect();
        set.into_iter().collect()
    }
}

fn v4(ip: &IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use skein_store_schema::StoreValue;

    fn zone() -> Zone {
        let mut zone = Zone::default();
        let key = |name: &str| ServiceKey {
            namespace: "shop".parse().unwrap(),
            name: name.parse().unwrap(),
        };
        let web =
            Service { cluster_ips: vec!["10.96.0.20".parse().unwrap()], ..Service::default() };
        zone.service(key("web"), Some(web));
        zone.service(key("db"), Some(Service { headless: true, ..Service::default() }));
        let slice = json!({
            "v": 1, "service": "db", "address_type": "IPv4",
            "endpoints": [
                {"addresses": ["10.244.0.9"], "pod": {"name": "db-0"}},
                {"addresses": ["10.244.1.9"], "ready": false, "pod": {"name": "db-1"}},
            ],
        });
        let slice = Slice::decode(slice.to_string().as_bytes()).unwrap();
        let key = SliceKey { namespace: "shop".parse().unwrap(), name: "db-0".parse().unwrap() };
        zone.slice(key, Some(slice));
        zone
    }

    fn addresses(of: &[&str]) -> Answer {
        Answer::Addresses(of.iter().map(|a| a.parse().unwrap()).collect())
    }

    #[test]
    fn services_resolve_to_their_address_and_headless_ones_to_ready_pods() {
        let zone = zone();
        assert_eq!(zone.lookup("web.shop.svc.cluster.local."), addresses(&["10.96.0.20"]));
        assert_eq!(zone.lookup("WEB.shop.svc.Cluster.Local"), addresses(&["10.96.0.20"]));
        assert_eq!(zone.lookup("db.shop.svc.cluster.local"), addresses(&["10.244.0.9"]));
        assert_eq!(zone.lookup("db-0.db.shop.svc.cluster.local"), addresses(&["10.244.0.9"]));
    }

    #[test]
    fn what_is_not_there_is_told_from_what_is_not_ours() {
        let zone = zone();
        assert_eq!(zone.lookup("nobody.shop.svc.cluster.local"), Answer::NoName);
        assert_eq!(zone.lookup("db-1.db.shop.svc.cluster.local"), Answer::NoName);
        assert_eq!(zone.lookup("x.web.shop.svc.cluster.local"), Answer::NoName);
        assert_eq!(zone.lookup("shop.cluster.local"), Answer::NoName);
        assert_eq!(zone.lookup("example.com"), Answer::NotOurs);
    }
}
