//! The lab's network: namespaces, cables and routes, made with iproute2.
//!
//! Both ends of every cable are created inside namespaces of the lab: the machine's own namespace never holds any.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::layout::{Layout, NETNS_DIR};
use crate::process::in_netns;
use crate::topology as topo;

/// Part names of the namespaces that every lab has.
pub const FABRIC: &str = "fabric";
/// The control plane's namespace.
pub const CP: &str = "cp";
/// The namespace of the client outside the cluster.
pub const CLIENT: &str = "client";

/// Makes the fabric, the control plane's and the client's namespaces.
///
/// # Errors
/// A command of iproute2 that fails.
pub fn create_base(layout: &Layout) -> Result<()> {
    for part in [FABRIC, CP, CLIENT] {
        create_netns(layout, part)?;
    }
    let fabric = [
        "link add br0 type bridge".to_owned(),
        format!("link set br0 mtu {} up", topo::DEVICE_MTU),
        format!("addr add {}/24 dev br0", topo::FABRIC_GATEWAY),
        format!("link add out0 type veth peer name eth0 netns {}", layout.netns_name(CLIENT)),
        format!("addr add {}/24 dev out0", topo::OUTSIDE_GATEWAY),
        "link set out0 up".to_owned(),
    ];
    batch(layout, FABRIC, &fabric)?;
    in_netns(&layout.netns(FABRIC), || {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("let the fabric forward")
    })?;
    let client = [
        format!("addr add {}/24 dev eth0", topo::CLIENT_IP),
        "link set eth0 up".to_owned(),
        format!("route add default via {}", topo::OUTSIDE_GATEWAY),
    ];
    batch(layout, CLIENT, &client)?;
    plug_into_fabric(layout, CP, topo::CP_IP)
}

/// Makes a node's namespace and plugs it into the fabric.
///
/// # Errors
/// A command of iproute2 that fails.
pub fn create_node(layout: &Layout, node: &str, ip: std::net::Ipv4Addr) -> Result<()> {
    create_netns(layout, node)?;
    plug_into_fabric(layout, node, ip)
}

fn plug_into_fabric(layout: &Layout, part: &str, ip: std::net::Ipv4Addr) -> Result<()> {
    let fabric = [
        format!(
            "link add to-{part} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {ns}",
            mtu = topo::DEVICE_MTU,
            ns = layout.netns_name(part)
        ),
        format!("link set to-{part} master br0 up"),
    ];
    batch(layout, FABRIC, &fabric)?;
    let inside = [
        format!("addr add {ip}/24 dev eth0"),
        "link set eth0 up".to_owned(),
        format!("route add default via {}", topo::FABRIC_GATEWAY),
    ];
    batch(layout, part, &inside)
}

/// Makes one namespace with its loopback up.
///
/// # Errors
/// A namespace of that name exists, or the right is missing.
pub fn create_netns(layout: &Layout, part: &str) -> Result<()> {
    run(&["netns", "add", &layout.netns_name(part)])?;
    batch(layout, part, &["link set lo up".to_owned()])
}

/// Removes one namespace, and with it every device inside; absent is fine.
pub fn delete_netns(layout: &Layout, part: &str) {
    if layout.netns(part).exists() {
        // A namespace that is busy is unmounted all the same; the kernel frees it with its last user.
        let _ = run(&["netns", "del", &layout.netns_name(part)]);
    }
}

/// Parts of all namespaces of this lab that exist.
#[must_use]
pub fn existing_parts(layout: &Layout) -> Vec<String> {
    let prefix = layout.netns_name("");
    let Ok(entries) = std::fs::read_dir(NETNS_DIR) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.strip_prefix(&prefix).map(str::to_owned))
        .collect()
}

/// Runs lines of `ip -batch` inside the namespace of `part`.
///
/// # Errors
/// The first failing line, with iproute2's words.
pub fn batch(layout: &Layout, part: &str, lines: &[String]) -> Result<()> {
    let ns = layout.netns_name(part);
    let mut child = Command::new("ip")
        .args(["-n", &ns, "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start `ip`")?;
    let text = lines.join("\n") + "\n";
    child.stdin.take().context("no stdin")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("ip -n {ns} -batch: {} (of: {})", words.trim(), lines.join("; "));
    }
    Ok(())
}

/// Runs `ip` with arguments in the lab's own namespace and returns what it prints.
///
/// # Errors
/// The command fails; the message has iproute2's words.
pub fn run(args: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(args).output().context("start `ip`")?;
    if !output.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Mounts a bpffs of the lab's own at `target`.
///
/// # Errors
/// The mount is refused.
pub fn mount_bpffs(layout: &Layout, target: &Path) -> Result<()> {
    std::fs::create_dir_all(target)?;
    let source = layout.cgroup_name();
    nix::mount::mount(
        Some(source.as_str()),
        target,
        Some("bpf"),
        nix::mount::MsFlags::empty(),
        Some("mode=0700"),
    )
    .with_context(|| format!("mount a bpffs at {}", target.display()))
}
