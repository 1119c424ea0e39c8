//! What the runtime says: the environment and the network configuration on stdin.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{self, CniError};
use crate::messages::Attachment;
use crate::result::Version;

/// Longest interface name of Linux (`IFNAMSIZ` less the final zero).
const IFNAME_BYTES_MAX: usize = 15;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Command {
    /// From `CNI_COMMAND`.
    pub fn parse(text: &str) -> Result<Command, CniError> {
        match text {
            "ADD" => Ok(Command::Add),
            "DEL" => Ok(Command::Del),
            "CHECK" => Ok(Command::Check),
            "GC" => Ok(Command::Gc),
            "STATUS" => Ok(Command::Status),
            "VERSION" => Ok(Command::Version),
            other => Err(invalid(format!("CNI_COMMAND is {other:?}"))),
        }
    }

    /// First version of the specification that has the command.
    pub fn since(self) -> Version {
        match self {
            Command::Add | Command::Del | Command::Version => Version::V0_3_1,
            Command::Check => Version::V0_4_0,
            Command::Gc | Command::Status => Version::V1_1_0,
        }
    }
}

/// The environment, as far as the plugin reads it.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// From pairs, of which only `CNI_*` are kept.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
        let kept = variables.into_iter().filter(|(name, _)| name.starts_with("CNI_"));
        Environment { variables: kept.collect() }
    }

    /// A variable that must be there.
    pub fn required(&self, name: &str) -> Result<&str, CniError> {
        let found = self.variables.get(name).map(String::as_str).filter(|v| !v.is_empty());
        found.ok_or_else(|| invalid(format!("{name} is missing")))
    }

    /// `CNI_CONTAINERID` and `CNI_IFNAME`, checked.
    pub fn attachment(&self) -> Result<Attachment, CniError> {
        let container_id = self.required("CNI_CONTAINERID")?;
        let ifname = self.required("CNI_IFNAME")?;
        if !is_container_id(container_id) {
            return Err(invalid(format!("CNI_CONTAINERID {container_id:?} is not a valid id")));
        }
        if !is_ifname(ifname) {
            return Err(invalid(format!("CNI_IFNAME {ifname:?} is not a valid interface name")));
        }
        Ok(Attachment { container_id: container_id.to_owned(), ifname: ifname.to_owned() })
    }

    /// One of the `KEY=VALUE` pairs of `CNI_ARGS`; empty when absent.
    pub fn argument(&self, key: &str) -> String {
        let args = self.variables.get("CNI_ARGS").map(String::as_str).unwrap_or("");
        let pairs = args.split(';').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| value.to_owned())
            .next()
            .unwrap_or_default()
    }
}

/// The network configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConfig {
    /// Version of the specification that the runtime speaks.
    #[serde(default)]
    pub cni_version: String,
    /// Name of the network.
    #[serde(default)]
    pub name: String,
    /// The agent's socket.
    #[serde(default = "default_socket")]
    pub agent_socket: PathBuf,
    /// Result of the ADD, for CHECK.
    #[serde(default)]
    pub prev_result: Option<PreviousResult>,
    /// Attachments that the runtime still has, for GC.
    #[serde(rename = "cni.dev/valid-attachments", default)]
    pub valid_attachments: Option<Vec<ValidAttachment>>,
}

/// Where an agent listens that was started without flags.
fn default_socket() -> PathBuf {
    PathBuf::from("/var/lib/skein/agent/agent.sock")
}

/// What CHECK needs of the earlier result.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PreviousResult {
    #[serde(default)]
    ips: Vec<PreviousIp>,
}

#[derive(Clone, Debug, Deserialize)]
struct PreviousIp {
    address: String,
}

/// An entry of `cni.dev/valid-attachments`.
#[derive(Clone, Debug, Deserialize)]
pub struct ValidAttachment {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

impl NetworkConfig {
    /// From stdin.
    pub fn parse(stdin: &[u8]) -> Result<NetworkConfig, CniError> {
        serde_json::from_slice(stdin).map_err(|source| {
            CniError::new(error::DECODING_FAILURE, "the network configuration is not valid JSON")
                .with_details(source.to_string())
        })
    }

    /// The version to answer in.
    pub fn version(&self) -> Result<Version, CniError> {
        Version::parse(&self.cni_version).ok_or_else(|| {
            CniError::new(
                error::INCOMPATIBLE_VERSION,
                format!("CNI version {:?} is not supported", self.cni_version),
            )
            .with_details(format!("supported: {}", Version::names().join(", ")))
        })
    }

    /// The checks that the specification asks of a configuration with attachments.
    pub fn require_name(&self) -> Result<(), CniError> {
        match self.name.as_str() {
            "" => Err(CniError::new(error::INVALID_CONFIG, "the configuration has no name")),
            _ => Ok(()),
        }
    }

    /// IPv4 addresses of `prevResult`, without their prefixes.
    pub fn previous_addresses(&self) -> Result<Vec<Ipv4Addr>, CniError> {
        let missing = || CniError::new(error::INVALID_CONFIG, "CHECK needs prevResult");
        let previous = self.prev_result.as_ref().ok_or_else(missing)?;
        let addresses = previous.ips.iter().map(|ip| ip.address.split('/').next().unwrap_or(""));
        Ok(addresses.filter_map(|text| text.parse().ok()).collect())
    }

    /// Attachments that GC must keep.
    pub fn kept_attachments(&self) -> Result<Vec<Attachment>, CniError> {
        let listed = self.valid_attachments.as_ref().ok_or_else(|| {
            CniError::new(error::INVALID_CONFIG, "GC needs cni.dev/valid-attachments")
        })?;
        let attachment = |v: &ValidAttachment| Attachment {
            container_id: v.container_id.clone(),
            ifname: v.ifname.clone(),
        };
        Ok(listed.iter().map(attachment).collect())
    }
}

fn invalid(message: String) -> CniError {
    CniError::new(error::INVALID_ENVIRONMENT, message)
}

fn is_container_id(id: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    id.starts_with(|c: char| c.is_ascii_alphanumeric()) && id.chars().all(inner)
}

fn is_ifname(name: &str) -> bool {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace();
    !name.is_empty()
        && name.len() <= IFNAME_BYTES_MAX
        && name != "."
        && name != ".."
        && !name.contains(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(is_ifname("eth0") && !is_ifname("a/b") && !is_ifname("") && !is_ifname(".."));
        assert!(!is_ifname("sixteen-letters-"));
        assert!(is_container_id("0a_b-c.d") && !is_container_id("../x") && !is_container_id(""));
    }

    #[test]
    fn arguments_are_pairs() {
        let env = Environment::new([(
            "CNI_ARGS".to_owned(),
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0".to_owned(),
        )]);
        assert_eq!(env.argument("K8S_POD_NAME"), "cart-0");
        assert_eq!(env.argument("K8S_POD_UID"), "");
    }
}
