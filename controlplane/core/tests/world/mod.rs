//! A store in a map, manifests as text, and planning until nothing is left to do.

use std::collections::BTreeMap;

use skein_controlplane_core::manifest::{FileId, Format, ManifestSet};
use skein_controlplane_core::plan::{Op, Plan, Unused};
use skein_controlplane_core::{Change, Config, Inputs, Planner, Tables, check, plan};
use skein_store_schema::{ClusterId, StoreKey, StoreValue};

pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) now: u64,
    pub(crate) keys: BTreeMap<String, (Vec<u8>, i64)>,
    pub(crate) manifests: ManifestSet,
    revision: i64,
    unused: Unused,
    /// What a watcher of the keys knows, and the keys that it knows of.
    tables: Tables,
    seen: BTreeMap<String, (Vec<u8>, i64)>,
    planner: Planner,
}

/// Plans until nothing is written; more rounds than this are a circle.
const ROUNDS_MAX: usize = 8;

impl World {
    pub(crate) fn new() -> World {
        let config = Config {
            cluster: "default".parse().unwrap(),
            cluster_id: ClusterId::new(0),
            pool: "default".parse().unwrap(),
            pool_cidrs: vec!["10.1.0.0/22".parse().unwrap()],
            block_mask: 24,
            service_cidr: "10.96.0.0/24".parse().unwrap(),
            identity_grace: 900,
            node_grace: 60,
        };
        config.check().unwrap();
        World {
            config,
            now: 1_800_000_000,
            keys: BTreeMap::new(),
            manifests: ManifestSet::default(),
            revision: 1,
            unused: Unused::new(),
            tables: Tables::default(),
            seen: BTreeMap::new(),
            planner: Planner::default(),
        }
    }

    pub(crate) fn file(&mut self, path: &str, text: &str) {
        self.manifests.put_file(&file(path), text, Format::Yaml);
    }

    pub(crate) fn remove(&mut self, path: &str) {
        self.manifests.remove_file(&file(path));
    }

    pub(crate) fn report<K: StoreKey>(&mut self, key: &K, value: &K::Value) {
        self.put(&key.encode(), value.encode());
    }

    pub(crate) fn put(&mut self, key: &str, value: Vec<u8>) {
        self.revision += 1;
        self.keys.insert(key.to_owned(), (value, self.revision));
    }

    pub(crate) fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        for (key, (value, mod_revision)) in &self.keys {
            let change = Change::Put { value, mod_revision: *mod_revision };
            tables.apply(key.as_bytes(), change).unwrap();
        }
        tables
    }

    /// The same as it grows for a watcher: what did not change is shared with what was before.
    fn watched(&mut self) -> Tables {
        for key in self.seen.keys().filter(|key| !self.keys.contains_key(*key)) {
            self.tables.apply(key.as_bytes(), Change::Delete).unwrap();
        }
        for (key, (value, mod_revision)) in &self.keys {
            if self.seen.get(key).is_none_or(|(_, seen)| seen != mod_revision) {
                let change = Change::Put { value, mod_revision: *mod_revision };
                self.tables.apply(key.as_bytes(), change).unwrap();
            }
        }
        self.seen.clone_from(&self.keys);
        self.tables.clone()
    }

    /// What is to be done: the same for whoever plans for the first time and for whoever remembers.
    pub(crate) fn plan(&mut self) -> Plan {
        let inputs = Inputs {
            config: self.config.clone(),
            now: self.now,
            sources: self.manifests.snapshot(),
            tables: self.watched(),
            unused: self.unused.clone(),
        };
        let fresh = plan(&inputs);
        assert_eq!(self.planner.plan(&inputs), fresh);
        fresh
    }

    pub(crate) fn apply(&mut self, plan: &Plan) {
        assert_eq!(check::plan(plan), []);
        for write in plan.writes() {
            let seen = self.keys.get(&write.key).map_or(0, |(_, revision)| *revision);
            assert_eq!(seen, write.expect, "{}", write.key);
            match &write.op {
                Op::Put(value) => self.put(&write.key, value.clone()),
                Op::Delete => {
                    self.keys.remove(&write.key);
                }
            }
            // Not even between two writes may an address have two owners.
            let found = check::state(&self.tables());
            assert!(found.iter().all(|v| v.rule != "is the address of two services"), "{found:?}");
        }
        self.unused = plan.unused.clone();
    }

    /// Plans and applies until the plan is empty, and returns that last plan.
    pub(crate) fn settle(&mut self) -> Plan {
        for _ in 0..ROUNDS_MAX {
            let plan = self.plan();
            self.apply(&plan);
            if plan.is_empty() {
                assert_eq!(check::state(&self.tables()), []);
                return plan;
            }
        }
        panic!("still writing after {ROUNDS_MAX} rounds: {:?}", self.plan());
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.keys.get(key).map(|(value, _)| String::from_utf8(value.clone()).unwrap())
    }

    pub(crate) fn under(&self, prefix: &str) -> Vec<String> {
        self.keys.keys().filter_map(|k| k.strip_prefix(prefix)).map(str::to_owned).collect()
    }
}

fn file(path: &str) -> FileId {
    FileId { root: 0, path: path.into() }
}
