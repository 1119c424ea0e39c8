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
        let put = self.view.index.upsert(&request.key[..], |found| match found {
            Some((key, history)) => {
                let before = history.live().cloned();
                let version = next_version(rev, request, before.as_ref());
                let event_prev = prev_of_event(history, rev);
                Arc::make_mut(history).push(version.clone());
                (None, (key.clone(), version, before, event_prev))
            }
            None => {
                let key = Key::new(&request.key);
                let version = next_version(rev, request, None);
                let history = Arc::new(History::new(version.clone()));
                (Some((key.clone(), history)), (key, version, None, None))
            }
        });
        let (key, version, before, event_prev) = put;
        let lease_before = before.as_ref().map_or(0, |version| version.lease);
        self.leases.reattach(&key, lease_before, version.lease);
        self.record(key, version, event_prev);
        let prev_kv = before.filter(|_| request.prev_kv).map(|version| version.kv());
        PutResponse { header: self.view.header(), prev_kv }
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
        let event_prev = self.view.index.upsert(&key[..], |found| {
            let event_prev = found.and_then(|(_, history)| {
                let event_prev = prev_of_event(history, rev);
                Arc::make_mut(history).push(tombstone.clone());
                event_prev
            });
            (None, event_prev)
        });
        self.leases.reattach(key, before.lease, 0);
        self.record(key.clone(), tombstone, event_prev);
        Some(before.kv())
    }

    fn record(&mut self, key: Key, version: Version, prev_kv: Option<Bytes>) {
        self.usage.version_added(&key, &version);
        let change = Change { key: key.clone(), delta: version.delta() };
        self.view.changes.insert(version.rev, change);
        self.records.push(Record::new(key, &version, prev_kv));
    }
}

/// What an event of `rev` tells was there before: the value before the revision. It is not always
/// the value before the change, because a transaction may put a key and then delete it.
fn prev_of_event(history: &History, rev: Rev) -> Option<Bytes> {
    history.at(rev.main - 1).map(Version::kv)
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
