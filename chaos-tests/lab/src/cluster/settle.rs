//! Waiting until what the lab wrote went the whole way: manifests, control plane, store, agents, maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Cluster;
use crate::store::View;

/// How long the way may take altogether.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Missing things that an error names; more would bury it.
const NAMED_MAX: usize = 5;
/// Pause between two looks at the store.
const SETTLE_PAUSE: Duration = Duration::from_millis(10);

impl Cluster {
    /// Waits until the store holds every pod's address and every slice as published, and every agent has that in its maps.
    ///
    /// # Errors
    /// It does not, in time; the message says what is missing.
    pub fn wait_in_maps(&self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            let view = self.view()?;
            let missing = self.missing_in(&view);
            if missing.is_empty() {
                return self.wait_applied(view.revision);
            }
            if Instant::now() > deadline {
                let log = self.layout.log("controlplane");
                bail!(
                    "the store lacks {} after {SETTLE_TIMEOUT:?} (see {})",
                    in_short(&missing),
                    log.display()
                );
            }
            std::thread::sleep(SETTLE_PAUSE);
        }
    }

    /// Waits until every agent has applied `revision`.
    ///
    /// # Errors
    /// One has not, within the time its agent waits.
    pub fn wait_applied(&self, revision: i64) -> Result<()> {
        for node in self.nodes() {
            self.agent(&node)?.wait_revision(revision)?;
        }
        Ok(())
    }

    fn missing_in(&self, view: &View) -> Vec<String> {
        let known: BTreeSet<IpAddr> = view.ips.iter().map(|(key, _)| key.ip).collect();
        let pods = self.kubelet.pods().values();
        let mut missing: Vec<String> = pods
            .filter_map(|p| Some((p, p.ip?)))
            .filter(|(_, ip)| !known.contains(&IpAddr::V4(*ip)))
            .map(|(p, ip)| format!("the address {ip} of {}", p.plan.key))
            .collect();
        let wanted = self.kubelet.ready_backends();
        let have = ready_backends(view);
        // Slices that the user brought name addresses which are none of the lab's pods.
        let ours: BTreeSet<IpAddr> =
            self.kubelet.pods().values().filter_map(|p| p.ip.map(IpAddr::V4)).collect();
        for (service, ready) in &wanted {
            let found = have.get(service).into_iter().flatten();
            let found: BTreeSet<IpAddr> = found.filter(|ip| ours.contains(ip)).copied().collect();
            if found != *ready {
                missing.push(format!(
                    "slices of {}/{} ({} of {} ready backends)",
                    service.0,
                    service.1,
                    found.len(),
                    ready.len()
                ));
            }
        }
        missing
    }
}

/// The first few of what is missing, and the number of the others.
fn in_short(missing: &[String]) -> String {
    let mut text = missing[..missing.len().min(NAMED_MAX)].join(", ");
    if missing.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", missing.len() - NAMED_MAX));
    }
    text
}

/// Ready addresses by namespace and name of the service.
pub type ReadyBackends = BTreeMap<(String, String), BTreeSet<IpAddr>>;

/// Ready addresses as the store has them.
#[must_use]
pub fn ready_backends(view: &View) -> ReadyBackends {
    let mut found = ReadyBackends::new();
    for (key, slice) in &view.slices {
        let service = (key.namespace.to_string(), slice.service.to_string());
        let ready = slice.endpoints.iter().filter(|e| e.ready);
        found
            .entry(service)
            .or_default()
            .extend(ready.filter_map(|e| e.addresses.first().copied()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_a_few_and_counts_the_rest() {
        let missing: Vec<String> = (0..9).map(|n| format!("m{n}")).collect();
        assert_eq!(in_short(&missing[..2]), "m0, m1");
        assert_eq!(in_short(&missing), "m0, m1, m2, m3, m4 and 4 more");
    }
}
