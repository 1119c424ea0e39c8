//! One etcd v3 conformance suite, generic over the endpoint under test.
