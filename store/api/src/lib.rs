//! The etcd v3 messages, limits and error texts that every part of Skein's store speaks.
//!
//! Pure: no runtime, no sockets. [`pb`] holds the messages, [`ApiError`] every error text of
//! etcd 3.7 with its gRPC code, [`limits`] the bounds of a request, [`ids`] the numbers that must
//! not be mixed up, [`wire`] the helpers to read records that responses carry in encoded form.
//!
//! # Values are carried encoded
//!
//! The store keeps a value once, as an encoded [`pb::mvccpb::KeyValue`]. Responses therefore
//! declare `kvs`, `prev_kv`, `prev_kvs` and `events` as [`bytes::Bytes`]; on the wire that is the
//! same length-delimited record that etcd's typed fields produce. Readers decode on demand:
//!
//! ```
//! use prost::Message;
//! use skein_store_api::pb::{etcdserverpb::RangeResponse, mvccpb::KeyValue};
//! use skein_store_api::wire;
//!
//! let kv = KeyValue { key: "a".into(), value: "1".into(), mod_revision: 2, ..Default::default() };
//! let response = RangeResponse { kvs: vec![kv.encode_to_vec().into()], ..Default::default() };
//! assert_eq!(wire::key_values(&response.kvs).unwrap(), vec![kv]);
//! ```

pub mod error;
pub mod ids;
pub mod limits;
pub mod secret;
pub mod wire;

/// Generated messages, one module per protocol package.
pub mod pb {
    /// Requests and responses of the KV, Watch, Lease, Cluster, Maintenance and Auth services.
    pub mod etcdserverpb {
        include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
    }
    /// Keys, values and events.
    pub mod mvccpb {
        include!(concat!(env!("OUT_DIR"), "/mvccpb.rs"));
    }
    /// Users, roles and permissions.
    pub mod authpb {
        include!(concat!(env!("OUT_DIR"), "/authpb.rs"));
    }
    /// The lock service's messages.
    pub mod v3lockpb {
        include!(concat!(env!("OUT_DIR"), "/v3lockpb.rs"));
    }
    /// The election service's messages.
    pub mod v3electionpb {
        include!(concat!(env!("OUT_DIR"), "/v3electionpb.rs"));
    }
}

pub use error::{ApiError, Code};
pub use ids::{ClusterId, LeaseId, MemberId, Revision};
