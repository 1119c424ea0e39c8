//! What a source of Kubernetes objects hands over, whatever it reads from.

use std::fmt;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::Serialize;

use crate::object::{Kind, Object, ObjectRef};

/// Everything a source knows at one moment. Clones share their contents; an object that did not
/// change keeps its allocation from one snapshot to the next.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The valid objects.
    pub objects: Objects,
    /// Objects that are there but not readable, and of which no good version was seen: whatever
    /// the store has of them stays as it is.
    pub held: OrdSet<ObjectRef>,
    /// The source knows all its objects: what is absent does not exist. While false, nothing may
    /// be deleted for being absent.
    pub complete: bool,
    /// What is wrong, in the order of places.
    pub problems: Vec<Problem>,
    /// Well-formed objects of kinds that are not ours.
    pub foreign: Vec<Foreign>,
}

/// Objects by kind and name: one map for each kind, so that a change of one kind leaves the
/// others' maps as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects([OrdMap<ObjectRef, Arc<Object>>; Kind::ALL.len()]);

impl Objects {
    pub fn of(&self, kind: Kind) -> &OrdMap<ObjectRef, Arc<Object>> {
        &self.0[kind as usize]
    }

    pub fn get(&self, name: &ObjectRef) -> Option<&Arc<Object>> {
        self.of(name.kind).get(name)
    }

    pub fn insert(&mut self, object: Arc<Object>) {
        let name = object.object_ref();
        self.0[name.kind as usize].insert(name, object);
    }

    pub fn remove(&mut self, name: &ObjectRef) {
        self.0[name.kind as usize].remove(name);
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(OrdMap::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both share their maps: then they are equal. The reverse does not hold.
    pub fn ptr_eq(&self, other: &Objects) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a.ptr_eq(b))
    }

    /// Whether both hold the same. What they share is not looked at.
    pub fn same(&self, other: &Objects) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a.diff(b).next().is_none())
    }
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Origin {
    /// The file or folder.
    pub file: Arc<str>,
    /// Counted from 1; 0 where no line applies.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// Something in a source that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Problem {
    pub origin: Origin,
    /// The object it concerns, as far as that can be told.
    pub object: Option<ObjectRef>,
    pub reason: String,
}

impl Problem {
    pub fn new(origin: Origin, object: Option<ObjectRef>, reason: &str) -> Problem {
        Problem { origin, object, reason: reason.to_owned() }
    }
}

/// An object of a kind that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Foreign {
    pub origin: Origin,
    pub api_version: String,
    pub kind: String,
    pub name: String,
}
