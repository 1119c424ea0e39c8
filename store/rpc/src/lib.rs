//! Generated gRPC services (servers and clients) over the messages of `skein-store-api`.
