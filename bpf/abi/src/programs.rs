//! Names of the programs in the object and where each belongs.

/// tc ingress of a pod's host-side device: everything the pod sends.
pub const POD_INGRESS: &str = "skein_pod_ingress";
/// tc ingress of the VXLAN device: everything other nodes tunnel here.
pub const OVERLAY_INGRESS: &str = "skein_overlay_ingress";
/// tc ingress of native devices.
pub const NETDEV_INGRESS: &str = "skein_netdev_ingress";
/// tc egress of `skein_host`: what the node's stack routes to pods.
pub const HOST_EGRESS: &str = "skein_host_egress";
/// tc, returns at once: the zero point of cost measurements; attached nowhere.
pub const EMPTY: &str = "skein_empty";

/// All tc programs that are attached somewhere.
pub const TC: [&str; 4] = [POD_INGRESS, OVERLAY_INGRESS, NETDEV_INGRESS, HOST_EGRESS];

/// cgroup `sock_addr` programs, each named after its hook: `skein_<hook>`.
pub const SOCK_ADDR: [&str; 8] = [
    "skein_connect4",
    "skein_connect6",
    "skein_sendmsg4",
    "skein_sendmsg6",
    "skein_recvmsg4",
    "skein_recvmsg6",
    "skein_getpeername4",
    "skein_getpeername6",
];
