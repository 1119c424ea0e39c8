//! Reading folders of Kubernetes YAML the way a kubelet and its controllers would: what they run is kept, the rest listed.
//!
//! The control plane reads the same folders on its own and judges documents in detail; here a document that does not
//! parse is a line in `problems`, and nothing else stops.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use serde::de::DeserializeOwned;
use serde_json::Value;

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
    /// Kinds the lab has no part in, with the number of objects.
    pub left_alone: BTreeMap<String, usize>,
    /// Files and documents that could not be read, in words.
    pub problems: Vec<String>,
}

/// Reads every manifest below the folders, in the order of folders and paths.
///
/// # Errors
/// A folder that cannot be listed.
pub fn load(folders: &[PathBuf]) -> Result<Objects> {
    let mut objects = Objects::default();
    for folder in folders {
        for file in files_below(folder)? {
            objects.read_file(&file);
        }
    }
    Ok(objects)
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

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("list the folder {}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path)?);
        } else if is_manifest(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|n| n.to_string_lossy().starts_with('.'));
    let known = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
    known && !hidden
}

impl Objects {
    fn read_file(&mut self, path: &Path) {
        let size = path.metadata().map_or(0, |meta| meta.len());
        if size > FILE_BYTES_MAX {
            self.problems.push(format!("{}: larger than {FILE_BYTES_MAX} bytes", path.display()));
            return;
        }
        match std::fs::read_to_string(path) {
            Ok(text) => self.read_text(&path.display().to_string(), &text),
            Err(error) => self.problems.push(format!("{}: {error}", path.display())),
        }
    }

    /// Reads the documents of one file; `origin` names it in problems.
    pub fn read_text(&mut self, origin: &str, text: &str) {
        for (line, document) in documents(text) {
            match serde_saphyr::from_str::<Value>(document) {
                Ok(Value::Null) => {}
                Ok(value) => self.add(&format!("{origin}:{line}"), value),
                Err(error) => {
                    let first = error.to_string();
                    let first = first.lines().next().unwrap_or_default();
                    self.problems.push(format!("{origin}:{line}: {first}"));
                }
            }
        }
    }

    fn add(&mut self, origin: &str, value: Value) {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let (api, kind) = (text("apiVersion"), text("kind"));
        match (api.as_str(), kind.as_str()) {
            ("apps/v1", "Deployment") => self.keep(origin, value, |o| &mut o.deployments),
            ("apps/v1", "ReplicaSet") => self.keep(origin, value, |o| &mut o.replica_sets),
            ("apps/v1", "StatefulSet") => self.keep(origin, value, |o| &mut o.stateful_sets),
            ("apps/v1", "DaemonSet") => self.keep(origin, value, |o| &mut o.daemon_sets),
            ("v1", "Pod") => self.keep(origin, value, |o| &mut o.pods),
            ("v1", "Service") => self.keep(origin, value, |o| &mut o.services),
            ("v1", "Namespace" | "Node") => {}
            (_, "") => self.problems.push(format!("{origin}: a document without a kind")),
            (_, list) if list.ends_with("List") && value["items"].is_array() => {
                for item in value["items"].as_array().cloned().unwrap_or_default() {
                    self.add(origin, item);
                }
            }
            _ => *self.left_alone.entry(kind).or_default() += 1,
        }
    }

    fn keep<T: DeserializeOwned>(
        &mut self,
        origin: &str,
        value: Value,
        list: impl Fn(&mut Self) -> &mut Vec<T>,
    ) {
        match serde_json::from_value::<T>(value) {
            Ok(object) => list(self).push(object),
            Err(error) => self.problems.push(format!("{origin}: {error}")),
        }
    }
}

/// The documents of a YAML stream with the line each begins on. Cut by hand, so that one broken document does not take
/// the rest of its file with it.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let end = at + line.len();
        if line.starts_with("---") && line.trim_end().trim_start_matches("---").trim().is_empty() {
            found.push((start_line, &text[start..at]));
            (start, start_line) = (end, index + 2);
        }
        at = end;
    }
    found.push((start_line, &text[start..]));
    found.retain(|(_, text)| text.lines().any(|l| !l.trim().is_empty() && !l.starts_with('#')));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_document_does_not_stop_the_rest() {
        let text = "# a comment\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\n\
                    kind: [broken\n---\napiVersion: batch/v1\nkind: Job\n---\napiVersion: v1\n\
                    kind: Service\nmetadata: {name: b}\n";
        let mut objects = Objects::default();
        objects.read_text("shop.yaml", text);
        let names: Vec<_> =
            objects.services.iter().filter_map(|s| s.metadata.name.clone()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(objects.left_alone, BTreeMap::from([("Job".to_owned(), 1)]));
        assert_eq!(objects.problems.len(), 1, "{:?}", objects.problems);
        assert!(objects.problems[0].starts_with("shop.yaml:7:"), "{}", objects.problems[0]);
    }

    #[test]
    fn lists_are_opened() {
        let text =
            r#"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod"}]}"#;
        let mut objects = Objects::default();
        objects.read_text("list.json", text);
        assert_eq!(objects.pods.len(), 1);
    }
}
