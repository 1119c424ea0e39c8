//! Large folders of manifests, for tests and benchmarks.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

/// Services in one file.
const SERVICES_PER_FILE: usize = 500;

/// Writes Services `s0`… in namespace `bench`, each with one EndpointSlice `s0-1`… of `endpoints`
/// (at most 250) ready endpoints.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn write(folder: &Path, services: usize, endpoints: usize) -> io::Result<()> {
    for first in (0..services).step_by(SERVICES_PER_FILE) {
        let mut text = String::new();
        for n in first..services.min(first + SERVICES_PER_FILE) {
            service(&mut text, n, endpoints);
        }
        fs::write(folder.join(format!("bench-{first:06}.yaml")), text)?;
    }
    Ok(())
}

fn service(text: &mut String, n: usize, endpoints: usize) {
    let addresses: Vec<String> = (1..=endpoints)
        .map(|e| {
            format!("{{addresses: [10.{}.{}.{e}], nodeName: n{}}}", 128 + n / 256, n % 256, e % 3)
        })
        .collect();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: bench}}\n\
         spec: {{selector: {{app: s{n}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: s{n}-1, namespace: bench, labels: {{kubernetes.io/service-name: s{n}}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints: [{}]\n",
        addresses.join(", ")
    );
}
