//! Generated gRPC services (servers and clients) over the messages of `skein-store-api`.
//!
//! The paths on the wire are etcd's (`/etcdserverpb.KV/Range` and so on), so every etcd v3 client
//! can call the servers and the clients can call every etcd.
//!
//! A server implements the trait and wraps itself:
//!
//! ```text
//! use skein_store_rpc::etcdserverpb::kv_server::{Kv, KvServer};
//! let service = KvServer::new(my_kv).max_decoding_message_size(limit);
//! tonic::transport::Server::builder().add_service(service);
//! ```
//!
//! `range_stream`, `watch`, `lease_keep_alive`, `snapshot` and `observe` name their stream types as
//! associated types (`type RangeStreamStream` and so on). Errors become statuses by [`status`].
//!
//! A client reads answers with the helpers of [`skein_store_api::wire`]:
//!
//! ```no_run
//! use skein_store_api::pb::etcdserverpb::RangeRequest;
//! use skein_store_rpc::etcdserverpb::kv_client::KvClient;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut kv = KvClient::connect("http://127.0.0.1:2379").await?;
//! let request = RangeRequest { key: "a".into(), ..Default::default() };
//! let answer = kv.range(request).await?.into_inner();
//! let kvs = skein_store_api::wire::key_values(&answer.kvs)?;
//! # Ok(())
//! # }
//! ```

use skein_store_api::ApiError;

/// KV, Watch, Lease, Cluster, Maintenance and Auth.
pub mod etcdserverpb {
    #![allow(missing_docs, clippy::all, unreachable_pub, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}

/// The lock service.
pub mod v3lockpb {
    #![allow(missing_docs, clippy::all, unreachable_pub, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/v3lockpb.rs"));
}

/// The election service.
pub mod v3electionpb {
    #![allow(missing_docs, clippy::all, unreachable_pub, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/v3electionpb.rs"));
}

/// What members of a cluster say to each other.
pub mod peer {
    #![allow(missing_docs, clippy::all, unreachable_pub, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/skein.peer.v1.rs"));
}

/// The status that carries `error` to a client: exact text, etcd's code.
pub fn status(error: ApiError) -> tonic::Status {
    tonic::Status::new(tonic::Code::from_i32(error.code() as i32), error.message())
}

/// The error that `status` carries, if its text is one of the API's.
pub fn api_error(status: &tonic::Status) -> Option<ApiError> {
    ApiError::from_message(status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_the_exact_error() {
        for &error in ApiError::ALL {
            let status = status(error);
            assert_eq!(status.code() as i32, error.code() as i32);
            assert_eq!(api_error(&status), Some(error));
        }
    }
}
