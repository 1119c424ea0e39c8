//! From the client crate's types to ours.

use etcd_client as etcd;
use skein_store_table::{Change, Entry};

use crate::session::Page;

pub(crate) fn entry(kv: etcd::KeyValue) -> Entry {
    let (create_revision, mod_revision) = (kv.create_revision(), kv.mod_revision());
    let (version, lease) = (kv.version(), kv.lease());
    let (key, value) = kv.into_key_value();
    Entry { key, value, create_revision, mod_revision, version, lease }
}

pub(crate) fn page(mut response: etcd::GetResponse) -> Page {
    let (cluster_id, revision) = header(response.header());
    let (count, more) = (response.count(), response.more());
    let entries = response.take_kvs().into_iter().map(entry).collect();
    Page { cluster_id, revision, entries, count, more }
}

pub(crate) fn change(event: &etcd::Event) -> Option<Change> {
    let kv = event.kv()?;
    Some(match event.event_type() {
        etcd::EventType::Put => Change::Put(entry(kv.clone())),
        etcd::EventType::Delete => {
            Change::Delete { key: kv.key().to_vec(), mod_revision: kv.mod_revision() }
        }
    })
}

/// Cluster id and revision of a header; zeros when the server sent none.
pub(crate) fn header(header: Option<&etcd::ResponseHeader>) -> (u64, i64) {
    header.map_or((0, 0), |header| (header.cluster_id(), header.revision()))
}
