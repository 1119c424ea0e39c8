//! The etcd v3 messages, limits and error texts that every part of Skein's store speaks.
