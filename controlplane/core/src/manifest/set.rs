//! All the manifests of a source, file by file, and the snapshot of objects they add up to.
//!
//! Three rules keep a slip of the pen from taking down a running service:
//!
//! * An invalid document leaves the last good version of its object in force. Where this process
//!   has not seen a good version, the object is *held*: its key in the store stays as it is.
//! * A document so broken that it does not even tell its name leaves in force whatever its file
//!   held before and no longer does. If the file was never read without such a document, the
//!   snapshot is not complete, and nothing at all is deleted until the file is repaired.
//! * A file or folder that cannot be read keeps what it held; one never read makes the snapshot
//!   incomplete.
//!
//! An object that stands in several places belongs to the first of them, in the order of folders,
//! file names and lines; the others are reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Document, Format, Outcome, parse};
use crate::object::{Object, ObjectRef};
use crate::source::{Foreign, Origin, Problem, Snapshot};

/// A file of a source. The order of folders is that in which they were given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    pub root: u32,
    pub path: Arc<str>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct ManifestSet {
    files: BTreeMap<FileId, FileEntry>,
    /// Folders that could not be listed, with the reason.
    unreadable: BTreeMap<FileId, String>,
    claims: BTreeMap<ObjectRef, BTreeMap<Claim, Arc<Object>>>,
    held: BTreeMap<ObjectRef, u32>,
    duplicates: BTreeSet<ObjectRef>,
    snapshot: Snapshot,
    /// The snapshot's lists of notes are older than the files.
    stale_notes: bool,
}

/// Where an object stands: the order of claims is the order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    file: FileId,
    /// Position among the file's objects; items of a JSON list share a line.
    position: usize,
    line: u32,
}

fn claim_at(file: &FileId, position: usize, line: u32) -> Claim {
    Claim { file: file.clone(), position, line }
}

#[derive(Clone, Debug, Default)]
struct FileEntry {
    /// Good objects and those kept from before, with their lines.
    objects: Vec<(u32, Arc<Object>)>,
    held: Vec<ObjectRef>,
    foreign: Vec<Foreign>,
    problems: Vec<Problem>,
    /// What it holds is not fully known: see the second rule.
    unknown: bool,
}

impl ManifestSet {
    /// Takes the new content of a file.
    pub fn put_file(&mut self, file: &FileId, text: &str, format: Format) {
        let before = self.files.remove(file);
        let mut entry = read_entry(file, parse(text, format), before.as_ref());
        if let Some(before) = &before {
            reuse_equal(&mut entry, before);
        }
        self.replace(file, before, Some(entry));
    }

    /// Notes that a file is there but cannot be read.
    pub fn put_unreadable_file(&mut self, file: &FileId, reason: &str) {
        let before = self.files.remove(file);
        let mut entry =
            before.clone().unwrap_or(FileEntry { unknown: true, ..FileEntry::default() });
        entry.problems = vec![Problem::new(origin(file, 0), None, reason)];
        self.replace(file, before, Some(entry));
    }

    /// Notes that a file is gone. Forgetting an unknown file changes nothing.
    pub fn remove_file(&mut self, file: &FileId) {
        if let Some(before) = self.files.remove(file) {
            self.replace(file, Some(before), None);
        }
    }

    /// Sets or clears that a folder cannot be listed.
    pub fn set_folder(&mut self, folder: &FileId, unreadable: Option<String>) {
        match unreadable {
            Some(reason) => self.unreadable.insert(folder.clone(), reason),
            None => self.unreadable.remove(folder),
        };
        self.stale_notes = true;
    }

    /// The folders that could not be listed.
    pub fn unreadable_folders(&self) -> impl Iterator<Item = &FileId> {
        self.unreadable.keys()
    }

    /// The files known, in order.
    pub fn files(&self) -> impl Iterator<Item = &FileId> {
        self.files.keys()
    }

    /// What all files add up to. The clone shares its objects with the set.
    pub fn snapshot(&mut self) -> Snapshot {
        if self.stale_notes {
            self.refresh_notes();
            self.stale_notes = false;
        }
        self.snapshot.clone()
    }

    fn replace(&mut self, file: &FileId, before: Option<FileEntry>, after: Option<FileEntry>) {
        let mut touched = BTreeSet::new();
        if let Some(before) = &before {
            self.withdraw(file, before, &mut touched);
        }
        if let Some(after) = after {
            self.claim(file, &after, &mut touched);
            self.files.insert(file.clone(), after);
        }
        for object in touched {
            self.settle(&object);
        }
        self.stale_notes = true;
    }

    fn withdraw(&mut self, file: &FileId, entry: &FileEntry, touched: &mut BTreeSet<ObjectRef>) {
        for (position, (line, object)) in entry.objects.iter().enumerate() {
            let name = object.object_ref();
            if let Some(claims) = self.claims.get_mut(&name) {
                claims.remove(&claim_at(file, position, *line));
                if claims.is_empty() {
                    self.claims.remove(&name);
                }
            }
            touched.insert(name);
        }
        for name in &entry.held {
            if let Some(count) = self.held.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.held.remove(name);
                }
            }
            touched.insert(name.clone());
        }
    }

    fn claim(&mut self, file: &FileId, entry: &FileEntry, touched: &mut BTreeSet<ObjectRef>) {
        for (position, (line, object)) in entry.objects.iter().enumerate() {
            let name = object.object_ref();
            let claims = self.claims.entry(name.clone()).or_default();
            claims.insert(claim_at(file, position, *line), object.clone());
            touched.insert(name);
        }
        for name in &entry.held {
            *self.held.entry(name.clone()).or_default() += 1;
            touched.insert(name.clone());
        }
    }

    /// Brings the snapshot's entry for one object up to date with its claims.
    fn settle(&mut self, name: &ObjectRef) {
        let claims = self.claims.get(name);
        match claims.and_then(|c| c.values().next()) {
            Some(winner) => {
                let same = self.snapshot.objects.get(name).is_some_and(|o| Arc::ptr_eq(o, winner));
                if !same {
                    self.snapshot.objects.insert(winner.clone());
                }
            }
            None => {
                self.snapshot.objects.remove(name);
            }
        }
        if claims.is_some_and(|c| c.len() > 1) {
            self.duplicates.insert(name.clone());
        } else {
            self.duplicates.remove(name);
        }
        if self.held.contains_key(name) && claims.is_none() {
            self.snapshot.held.insert(name.clone());
        } else {
            self.snapshot.held.remove(name);
        }
    }

    /// Problems, foreign kinds and completeness: small lists, made anew.
    fn refresh_notes(&mut self) {
        let mut problems: Vec<Problem> = Vec::new();
        for (folder, reason) in &self.unreadable {
            problems.push(Problem::new(origin(folder, 0), None, reason));
        }
        for name in &self.duplicates {
            problems.extend(self.claims.get(name).into_iter().flat_map(|c| duplicate(name, c)));
        }
        problems.extend(self.files.values().flat_map(|f| f.problems.iter().cloned()));
        problems.sort();
        self.snapshot.problems = problems;
        self.snapshot.foreign = self.files.values().flat_map(|f| f.foreign.clone()).collect();
        self.snapshot.complete =
            self.unreadable.is_empty() && !self.files.values().any(|f| f.unknown);
    }
}

fn origin(file: &FileId, line: u32) -> Origin {
    Origin { file: file.path.clone(), line }
}

fn duplicate(name: &ObjectRef, claims: &BTreeMap<Claim, Arc<Object>>) -> Vec<Problem> {
    let mut places = claims.keys();
    let Some(first) = places.next() else { return Vec::new() };
    let reason =
        format!("{name} stands in {}:{} already, which is used", first.file.path, first.line);
    places.map(|c| Problem::new(origin(&c.file, c.line), Some(name.clone()), &reason)).collect()
}

fn read_entry(file: &FileId, documents: Vec<Document>, before: Option<&FileEntry>) -> FileEntry {
    let mut entry = FileEntry::default();
    let mut invalid = BTreeSet::new();
    let mut nameless = false;
    for document in documents {
        let origin = origin(file, document.line);
        match document.outcome {
            Outcome::Object(object) => entry.objects.push((document.line, object)),
            Outcome::Foreign { api_version, kind, name } => {
                entry.foreign.push(Foreign { origin, api_version, kind, name });
            }
            Outcome::Invalid { object, reason } => {
                nameless |= object.is_none();
                invalid.extend(object.clone());
                entry.problems.push(Problem::new(origin, object, &reason));
            }
        }
    }
    keep_last_good(&mut entry, before, invalid, nameless);
    entry
}

fn keep_last_good(
    entry: &mut FileEntry,
    before: Option<&FileEntry>,
    invalid: BTreeSet<ObjectRef>,
    nameless: bool,
) {
    let present: BTreeSet<ObjectRef> = entry.objects.iter().map(|(_, o)| o.object_ref()).collect();
    let mut kept = BTreeSet::new();
    for (line, object) in before.into_iter().flat_map(|b| &b.objects) {
        let name = object.object_ref();
        if (nameless || invalid.contains(&name)) && !present.contains(&name) {
            entry.objects.push((*line, object.clone()));
            kept.insert(name);
        }
    }
    let before_held = before.into_iter().flat_map(|b| &b.held).filter(|_| nameless).cloned();
    let held = invalid.into_iter().chain(before_held);
    let held: BTreeSet<ObjectRef> =
        held.filter(|n| !kept.contains(n) && !present.contains(n)).collect();
    entry.held = held.into_iter().collect();
    entry.unknown = nameless && before.is_none_or(|b| b.unknown);
}

/// Objects that did not change keep their allocation, so that whoever compares snapshots by
/// pointer sees that nothing changed.
fn reuse_equal(entry: &mut FileEntry, before: &FileEntry) {
    let old: BTreeMap<ObjectRef, &Arc<Object>> =
        before.objects.iter().map(|(_, o)| (o.object_ref(), o)).collect();
    for (_, object) in &mut entry.objects {
        if let Some(same) = old.get(&object.object_ref()).filter(|o| ***o == *object) {
            *object = Arc::clone(same);
        }
    }
}
