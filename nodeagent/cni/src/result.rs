//! Results in the shape of each version of the specification.

use serde_json::{Value, json};

use crate::error::CniError;
use crate::messages::AddReply;

/// Versions of the specification that the plugin speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl Version {
    /// All, oldest first.
    pub const ALL: [Version; 4] =
        [Version::V0_3_1, Version::V0_4_0, Version::V1_0_0, Version::V1_1_0];

    /// From a configuration's `cniVersion`.
    pub fn parse(text: &str) -> Option<Version> {
        Version::ALL.into_iter().find(|version| version.name() == text)
    }

    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    /// All names.
    pub fn names() -> Vec<&'static str> {
        Version::ALL.iter().map(|version| version.name()).collect()
    }
}

/// Result of ADD.
pub fn add_result(version: Version, ifname: &str, netns: &str, reply: &AddReply) -> Value {
    let mut host = json!({"name": reply.host_ifname, "mac": reply.host_mac});
    let mut pod = json!({"name": ifname, "mac": reply.pod_mac, "sandbox": netns});
    let mut ip = json!({
        "address": format!("{}/32", reply.ip),
        "gateway": reply.gateway,
        "interface": 1,
    });
    let mut routes = vec![
        json!({"dst": format!("{}/32", reply.gateway)}),
        json!({"dst": "0.0.0.0/0", "gw": reply.gateway}),
    ];
    if version < Version::V1_0_0 {
        ip["version"] = json!("4");
    }
    if version >= Version::V1_1_0 {
        host["mtu"] = json!(reply.mtu);
        pod["mtu"] = json!(reply.mtu);
        // Scope 253 is "link" (RT_SCOPE_LINK of linux/rtnetlink.h): the gateway is on the device.
        routes[0]["scope"] = json!(253);
        routes[1]["mtu"] = json!(reply.mtu);
    }
    json!({
        "cniVersion": version.name(),
        "interfaces": [host, pod],
        "ips": [ip],
        "routes": routes,
        "dns": {},
    })
}

/// Result of VERSION.
pub fn version_result(asked: &str) -> Value {
    json!({"cniVersion": asked, "supportedVersions": Version::names()})
}

/// An error.
pub fn error_result(version: &str, error: &CniError) -> Value {
    let mut out = json!({"cniVersion": version, "code": error.code, "msg": error.message});
    if !error.details.is_empty() {
        out["details"] = json!(error.details);
    }
    out
}
