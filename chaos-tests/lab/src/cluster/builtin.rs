//! The lab's own manifests: the DNS service, and the demo's two services, which exist whatever the user brings.

use anyhow::Result;

use crate::kubelet::ROLE_ANNOTATION;
use crate::layout::Layout;
use crate::topology as topo;

/// Namespace of the demo's own services.
pub const DEMO_NAMESPACE: &str = "skein-demo";
/// A service of three pods in [`DEMO_NAMESPACE`].
pub const HELLO: &str = "hello";
/// A service in [`DEMO_NAMESPACE`] that selects nothing.
pub const NOBODY: &str = "nobody";

/// Writes them into their folder.
///
/// # Errors
/// The folder cannot be written.
pub fn write(layout: &Layout) -> Result<()> {
    std::fs::write(layout.builtin().join("dns.yaml"), dns())?;
    std::fs::write(layout.builtin().join("demo.yaml"), demo())?;
    Ok(())
}

/// The pod has a label of its own: a user's DNS (its label is nearly always `k8s-app: kube-dns`) must not become a backend
/// of the lab's, nor this pod one of the user's.
fn dns() -> String {
    let dns_ip = topo::DNS_IP;
    format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: kube-system}}
---
apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: kube-system, labels: {{k8s-app: kube-dns}}}}
spec:
  clusterIP: {dns_ip}
  selector: {{lab.skein.io/name-server: \"1\"}}
  ports:
    - {{name: dns, port: 53, targetPort: dns, protocol: UDP}}
    - {{name: dns-tcp, port: 53, targetPort: dns-tcp, protocol: TCP}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: lab-dns, namespace: kube-system}}
spec:
  replicas: 1
  selector: {{matchLabels: {{lab.skein.io/name-server: \"1\"}}}}
  template:
    metadata:
      labels: {{lab.skein.io/name-server: \"1\"}}
      annotations: {{{ROLE_ANNOTATION}: dns}}
    spec:
      containers:
        - name: dns
          image: skein-lab/dns
          ports:
            - {{name: dns, containerPort: 53, protocol: UDP}}
            - {{name: dns-tcp, containerPort: 53, protocol: TCP}}
"
    )
}

fn demo() -> String {
    format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: {DEMO_NAMESPACE}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {HELLO}, namespace: {DEMO_NAMESPACE}}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: {HELLO}}}}}
  template:
    metadata: {{labels: {{app: {HELLO}}}}}
    spec:
      containers:
        - name: {HELLO}
          image: skein-lab/echo
          ports:
            - {{name: http, containerPort: 8080}}
            - {{name: udp, containerPort: 8080, protocol: UDP}}
---
apiVersion: v1
kind: Service
metadata: {{name: {HELLO}, namespace: {DEMO_NAMESPACE}}}
spec:
  selector: {{app: {HELLO}}}
  ports:
    - {{name: http, port: 80, targetPort: http}}
    - {{name: udp, port: 80, targetPort: udp, protocol: UDP}}
---
apiVersion: v1
kind: Service
metadata: {{name: {NOBODY}, namespace: {DEMO_NAMESPACE}}}
spec:
  selector: {{app: {NOBODY}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"
    )
}
