//! Reading folders of Kubernetes YAML the way a kubelet and its controllers would: what they run is kept, the rest listed.
//!
//! The control plane reads the same folders on its own. What is wrong with documents is told here by the very rules it
//! judges them by, so that both say the same; only of workloads, which it leaves alone, the lab itself is the judge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;
use skein_controlplane_core::manifest::{FileId, Format, ManifestSet, Outcome, parse};

/// A manifest larger than this is not one (Kubernetes itself refuses objects over 1.5 MiB; lists hold several).
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The objects of all folders that the lab acts on.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Deployments.
    pub deployments: Vec<Deployment>,
    /// Replica sets that stand alone.
    pub replica_sets: Vec<ReplicaSet>,
    /// Stateful sets.
    pub stateful_sets: Vec<StatefulSet>,
    /// Daemon sets.
    pub daemon_sets: Vec<DaemonSet>,
    /// Pods that stand alone.
    pub pods: Vec<Pod>,
    /// Services.
    pub services: Vec<Service>,
    /// Kinds the lab has no part in, by kind and API version, with the number of objects.
    pub left_alone: BTreeMap<(String, String), usize>,
    /// Files and documents that are not as they must be, in words: place and reason.
    pub problems: Vec<String>,
}

/// Reads every manifest below the folders, in the order of folders and paths.
///
/// # Errors
/// A folder that cannot be listed.
pub fn load(folders: &[PathBuf]) -> Result<Objects> {
    let mut objects = Objects::default();
    let mut judged = ManifestSet::default();
    for (root, folder) in (0..).zip(folders) {
        for file in files_below(folder)? {
            let name = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy();
            let id = FileId { root, path: name.as_ref().into() };
            let Some(format) = Format::of_name(&name) else { continue };
            match read_text(&file) {
                Ok(text) => {
                    judged.put_file(&id, &text, format);
                    objects.read_text(&name, &text);
                }
                Err(reason) => judged.put_unreadable_file(&id, &reason),
            }
        }
    }
    for problem in judged.snapshot().problems {
        let origin = problem.origin;
        objects.problems.push(match origin.line {
            0 => format!("{}: {}", origin.file, problem.reason),
            line => format!("{}:{line}: {}", origin.file, problem.reason),
        });
    }
    Ok(objects)
}

fn read_text(path: &Path) -> Result<String, String> {
    let size = path.metadata().map_or(0, |meta| meta.len());
    if size > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// A value that differs when any file below the folders changed: paths, sizes and times of change.
///
/// # Errors
/// A folder that cannot be listed.
pub fn fingerprint(folders: &[PathBuf]) -> Result<Vec<(PathBuf, u64, std::time::SystemTime)>> {
    let mut all = Vec::new();
    for folder in folders {
        for file in files_below(folder)? {
            if let Ok(meta) = file.metadata() {
                all.push((file, meta.len(), meta.modified()?));
            }
        }
    }
    Ok(all)
}

/// Links to files are followed, links to folders are not, as the control plane has it: they may lead in circles, and
/// volumes of ConfigMaps show the same files through one.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("list the folder {}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.')) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&path)?);
        } else if is_manifest(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Pipes and devices are none: reading them may never end.
fn is_manifest(path: &Path) -> bool {
    path.to_str().and_then(Format::of_name).is_some() && path.is_file()
}

impl Objects {
    /// Reads the documents of one file; `origin` names it in problems. Text that is no object is left to the judge.
    pub fn read_text(&mut self, origin: &str, text: &str) {
        for (line, document) in documents(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            if let Ok(value) = serde_saphyr::from_str::<Value>(document) {
                self.add(&format!("{origin}:{line}"), value);
            }
        }
    }

    fn add(&mut self, origin: &str, value: Value) {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let (api, kind) = (text("apiVersion"), text("kind"));
        match (api.as_str(), kind.as_str()) {
            ("apps/v1", "Deployment") => self.run(origin, value, |o| &mut o.deployments),
            ("apps/v1", "ReplicaSet") => self.run(origin, value, |o| &mut o.replica_sets),
            ("apps/v1", "StatefulSet") => self.run(origin, value, |o| &mut o.stateful_sets),
            ("apps/v1", "DaemonSet") => self.run(origin, value, |o| &mut o.daemon_sets),
            ("v1", "Pod") => self.pods.extend(taken::<Pod>(value)),
            ("v1", "Service") => self.services.extend(taken::<Service>(value)),
            ("v1", "Namespace" | "Node") | ("discovery.k8s.io/v1", "EndpointSlice") => {}
            ("", _) | (_, "") => {}
            (_, list) if list.ends_with("List") && value["items"].is_array() => {
                for item in value["items"].as_array().cloned().unwrap_or_default() {
                    self.add(origin, item);
                }
            }
            _ => *self.left_alone.entry((kind, api)).or_default() += 1,
        }
    }

    /// Keeps a workload, or says why not.
    fn run<T>(&mut self, origin: &str, value: Value, list: impl Fn(&mut Self) -> &mut Vec<T>)
    where
        T: DeserializeOwned + Metadata<Ty = ObjectMeta> + Resource<Scope = NamespaceResourceScope>,
    {
        match runnable::<T>(value) {
            Ok(object) => list(self).push(object),
            Err(reason) => self.problems.push(format!("{origin}: {}: {reason}", T::KIND)),
        }
    }
}

/// A workload whose pods the control plane will take: it is asked about one with the workload's own name and its
/// template's labels.
fn runnable<T>(value: Value) -> Result<T, String>
where
    T: DeserializeOwned + Metadata<Ty = ObjectMeta>,
{
    let labels = value["spec"]["template"]["metadata"]["labels"].clone();
    let object = serde_json::from_value::<T>(value).map_err(|error| error.to_string())?;
    let meta = object.metadata();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "spec": {"containers": []},
        "metadata": {"name": meta.name, "namespace": meta.namespace, "labels": labels},
    });
    match judged(&pod) {
        None => Ok(object),
        Some(reason) => Err(reason),
    }
}

/// Why the control plane would refuse an object.
fn judged(object: &Value) -> Option<String> {
    parse(&object.to_string(), Format::Json).into_iter().find_map(|document| {
        match document.outcome {
            Outcome::Invalid { reason, .. } => Some(reason),
            Outcome::Object(_) | Outcome::Foreign { .. } => None,
        }
    })
}

/// An object that the control plane takes too; it is the one who tells what is wrong with others.
fn taken<T: DeserializeOwned>(value: Value) -> Option<T> {
    match judged(&value) {
        None => serde_json::from_value(value).ok(),
        Some(_) => None,
    }
}

/// The documents of a YAML stream with the line each begins on. Cut by hand, so that one broken document does not take
/// the rest of its file with it.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let end = at + line.len();
        let separates = |rest: &str| rest.is_empty() || rest.starts_with(char::is_whitespace);
        if line.strip_prefix("---").is_some_and(separates) {
            found.push((start_line, &text[start..at]));
            // What stands beside the dashes belongs to the document after them.
            (start, start_line) = (at + "---".len(), index + 1);
        }
        at = end;
    }
    found.push((start_line, &text[start..]));
    let content = |line: &str| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with(['#', '%'])
    };
    found
        .into_iter()
        .filter_map(|(line, text)| Some((line + text.lines().position(content)?, text)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads a folder with this file and a link that leads back into the folder.
    fn loaded(name: &str, text: &str) -> Objects {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        std::os::unix::fs::symlink(".", folder.path().join("circle")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("endless.yaml")).unwrap();
        load(&[folder.path().to_owned()]).unwrap()
    }

    #[test]
    fn one_broken_document_does_not_stop_the_rest() {
        let text = "# a comment\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n\
                    spec: {ports: [{port: 80}]}\n--- # broken\nkind: [broken\n---\n\
                    apiVersion: batch/v1\nkind: Job\n---\napiVersion: v1\nkind: Service\n\
                    metadata: {name: b}\nspec: {ports: [{port: 80}]}\n---\n# no more\n";
        let objects = loaded("shop.yaml", text);
        let names: Vec<_> =
            objects.services.iter().filter_map(|s| s.metadata.name.clone()).collect();
        assert_eq!(names, ["a", "b"]);
        let job = ("Job".to_owned(), "batch/v1".to_owned());
        assert_eq!(objects.left_alone, BTreeMap::from([(job, 1)]));
        assert_eq!(objects.problems.len(), 1, "{:?}", objects.problems);
        let problem = &objects.problems[0];
        assert!(problem.starts_with("shop.yaml:8:") || problem.starts_with("shop.yaml:9:"));
    }

    #[test]
    fn a_workload_whose_pods_would_be_refused_is_told_and_left_out() {
        let text = "\u{feff}%YAML 1.2\n---\napiVersion: apps/v1\nkind: Deployment\n\
                    metadata: {name: ../../up}\n---\napiVersion: apps/v1\nkind: DaemonSet\n\
                    metadata: {name: a}\nspec: {selector: {}, template: {metadata: {labels: {a: \"b;c\"}}}}\n";
        let objects = loaded("up.yaml", text);
        assert!(objects.deployments.is_empty() && objects.daemon_sets.is_empty(), "{objects:?}");
        let problems = &objects.problems;
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("up.yaml:3: Deployment: metadata.name:"), "{problems:?}");
        assert!(problems[1].starts_with("up.yaml:7: DaemonSet: metadata.labels:"), "{problems:?}");
    }

    #[test]
    fn lists_are_opened() {
        let text = r#"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}]}"#;
        let mut objects = Objects::default();
        objects.read_text("list.json", text);
        assert_eq!(objects.pods.len(), 1);
    }
}
