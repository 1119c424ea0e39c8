//! Changes: all those of one command make one revision.

use std::sync::Arc;

use bytes::Bytes;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
};

use crate::events::Record;
use crate::history::{History, Rev, Version};
use crate::key::{Key, KeyRange};
use crate::lease::Leases;
use crate::record;
use crate::usage::Usage;
use crate::view::{Change, View};

/// The write of one command. The view's revision moves with the first change, so that ranges
/// inside of a transaction see what came before them.
pub(crate) struct Write<'a> {
    pub(crate) view: &'a mut View,
    pub(crate) leases: &'a mut Leases,
    pub(crate) usage: &'a mut Usage,
    pub(crate) records: Vec<Record>,
}

/// What [`Write::put`] needs to hold, checked before anything is changed.
pub(crate) fn check_put(
    view: &View,
    leases: &Leases,
    request: &PutRequest,
) -> Result<(), ApiError> {
    if request.lease != 0 && leases.get(request.lease).is_none() {
        return Err(ApiError::LeaseNotFound);
    }
    if (request.ignore_value || request.ignore_lease) && view.live(&request.key).is_none() {
        return Err(ApiError::KeyNotFound);
    }
    Ok(())
}

impl Write<'_> {
    /// The place of the next change.
    fn next_rev(&mut self) -> Rev {
        if self.records.is_empty() {
            self.view.revision += 1;
        }
        Rev { main: self.view.revision, sub: self.records.len() as u32 }
    }

    pub(crate) fn put(&mut self, request: &PutRequest) -> PutResponse {
        let rev = self.next_rev();
        let (key, version, before) = self.view.index.upsert(&request.key[..], |found| {
            let before = found.as_ref().and_then(|(_, history)| history.live()).cloned();
            let version = next_version(rev, request, before.as_ref());
            match found {
                Some((key, history)) => {
                    Arc::make_mut(history).push(version.clone());
                    (None, (key.clone(), version, before))
                }
                None => {
                    let key = Key::new(&request.key);
                    let history = Arc::new(History::new(version.clone()));
                    (Some((key.clone(), history)), (key, version, before))
                }
            }
        });
        let lease_before = before.as_ref().map_or(0, |version| version.lease);
        self.leases.reattach(&key, lease_before, version.lease);
        let prev_kv = before.map(|version| version.kv());
        let shown = prev_kv.clone().filter(|_| request.prev_kv);
        self.record(key, version, prev_kv);
        PutResponse { header: self.view.header(), prev_kv: shown }
    }

    pub(crate) fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let range = KeyRange::new(&request.key, &request.range_end);
        let keys: Vec<Key> =
            self.view.scan(&range, self.view.revision).map(|(key, _)| key.clone()).collect();
        let mut prev_kvs = Vec::new();
        for key in &keys {
            let prev_kv = self.delete(key);
            if request.prev_kv {
                prev_kvs.extend(prev_kv);
            }
        }
        DeleteRangeResponse { header: self.view.header(), deleted: keys.len() as i64, prev_kvs }
    }

    /// Deletes a key that exists and returns its last value; does nothing to one that does not.
    pub(crate) fn delete(&mut self, key: &Key) -> Option<Bytes> {
        let before = self.view.live(key)?.clone();
        let rev = self.next_rev();
        let event = record::delete_event(key, rev.main);
        let tombstone = Version { rev, create: 0, version: 0, lease: 0, event };
        self.view.index.upsert(&key[..], |found| {
            if let Some((_, history)) = found {
                Arc::make_mut(history).push(tombstone.clone());
            }
            (None, ())
        });
        self.leases.reattach(key, before.lease, 0);
        let prev_kv = before.kv();
        self.record(key.clone(), tombstone, Some(prev_kv.clone()));
        Some(prev_kv)
    }

    fn record(&mut self, key: Key, version: Version, prev_kv: Option<Bytes>) {
        self.usage.version_added(&key, &version);
        let change = Change { key: key.clone(), delta: version.delta() };
        self.view.changes.insert(version.rev, change);
        self.records.push(Record::new(key, &version, prev_kv));
    }
}

fn next_version(rev: Rev, request: &PutRequest, before: Option<&Version>) -> Version {
    let before_kv = before.map(Version::kv);
    let value = match (&before_kv, request.ignore_value) {
        (Some(kv), true) => record::value(kv),
        _ => &request.value,
    };
    let lease = match (before, request.ignore_lease) {
        (Some(before), true) => before.lease,
        _ => request.lease,
    };
    let create = before.map_or(rev.main, |version| version.create);
    let version = before.map_or(1, |version| version.version + 1);
    let event = record::put_event(&record::Put {
        key: &request.key,
        value,
        create_revision: create,
        mod_revision: rev.main,
        version,
        lease,
    });
    Version { rev, create, version, lease, event }
}
