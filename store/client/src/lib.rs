//! The client session on any etcd v3 endpoint.
