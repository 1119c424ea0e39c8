//! Masquerading of what pods send outside the cluster, in one table of nftables that is ours alone.

use std::collections::BTreeSet;
use std::process::Stdio;

use ipnet::Ipv4Net;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Our table.
pub const TABLE: &str = "skein";

/// Why masquerading is not in place.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The tool is not there.
    #[error(
        "nft is not installed (package nftables): pods cannot reach addresses outside the cluster"
    )]
    Missing,
    /// It could not be run.
    #[error("cannot run nft")]
    Run(#[source] std::io::Error),
    /// It refused.
    #[error("nft refused the rules: {0}")]
    Refused(String),
}

/// The whole table, replaced in one transaction: packets see the old rules or the new ones.
/// Addresses are rewritten only on the way out of a native device, never towards pods or the node.
pub fn rules(block: Ipv4Net, inside: &BTreeSet<Ipv4Net>, devices: &[String]) -> String {
    let inside: BTreeSet<Ipv4Net> = inside.iter().copied().chain([block]).collect();
    let inside = Ipv4Net::aggregate(&inside.into_iter().collect());
    let elements: Vec<String> = inside.iter().map(ToString::to_string).collect();
    let devices: Vec<String> = devices.iter().map(|device| format!("\"{device}\"")).collect();
    format!(
        "table inet {TABLE}\n\
         delete table inet {TABLE}\n\
         table inet {TABLE} {{\n\
         \tset inside {{\n\
         \t\ttype ipv4_addr; flags interval;\n\
         \t\telements = {{ {elements} }}\n\
         \t}}\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tip saddr {block} oifname {{ {devices} }} ip daddr != @inside counter masquerade\n\
         \t}}\n\
         }}\n",
        elements = elements.join(", "),
        devices = devices.join(", "),
    )
}

/// Puts rules into force.
pub async fn apply(rules: &str) -> Result<(), NftError> {
    let spawned = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => NftError::Missing,
        _ => NftError::Run(error),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(rules.as_bytes()).await.map_err(NftError::Run)?;
    }
    let output = child.wait_with_output().await.map_err(NftError::Run)?;
    if output.status.success() {
        return Ok(());
    }
    Err(NftError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_leave_the_cluster_alone() {
        let block: Ipv4Net = "10.1.1.0/24".parse().unwrap();
        let inside = BTreeSet::from(["10.1.0.0/16".parse().unwrap()]);
        let rules = rules(block, &inside, &["eth0".to_owned()]);
        assert!(rules.contains("elements = { 10.1.0.0/16 }"), "{rules}");
        assert!(rules.contains("ip saddr 10.1.1.0/24 oifname { \"eth0\" } ip daddr != @inside"));
    }
}
