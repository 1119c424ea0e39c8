//! A cluster out of network namespaces on one machine.
