//! From the client crate's types to ours.

use etcd_client as etcd;
use skein_store_table::{Change, Entry};

pub(crate) fn entry(kv: etcd::KeyValue) -> Entry {
    let (create_revision, mod_revision) = (kv.create_revision(), kv.mod_revision());
    let (version, lease) = (kv.version(), kv.lease());
    let (key, value) = kv.into_key_value();
    Entry { key, value, create_revision, mod_revision, version, lease }
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
