//! The store member: disk, gRPC services, member driver.
