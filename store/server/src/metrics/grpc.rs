//! Calls by method and outcome, as the Go interceptor that etcd uses counts them: every series
//! exists from the start, so that rates of rare failures can be taken.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tonic::Code;

use super::count;

/// Which side of a call sends several messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Neither.
    Unary,
    /// The server.
    Server,
    /// Both.
    Bidi,
}

use Kind::{Bidi, Server, Unary};

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Unary => "unary",
            Server => "server_stream",
            Bidi => "bidi_stream",
        }
    }
}

/// Every method by service.
const METHODS: &[(&str, &[(&str, Kind)])] = &[
    (
        "etcdserverpb.KV",
        &[
            ("Range", Unary),
            ("RangeStream", Server),
            ("Put", Unary),
            ("DeleteRange", Unary),
            ("Txn", Unary),
            ("Compact", Unary),
        ],
    ),
    ("etcdserverpb.Watch", &[("Watch", Bidi)]),
    (
        "etcdserverpb.Lease",
        &[
            ("LeaseGrant", Unary),
            ("LeaseRevoke", Unary),
            ("LeaseKeepAlive", Bidi),
            ("LeaseTimeToLive", Unary),
            ("LeaseLeases", Unary),
        ],
    ),
    (
        "etcdserverpb.Cluster",
        &[
            ("MemberAdd", Unary),
            ("MemberRemove", Unary),
            ("MemberUpdate", Unary),
            ("MemberList", Unary),
            ("MemberPromote", Unary),
        ],
    ),
    (
        "etcdserverpb.Maintenance",
        &[
            ("Alarm", Unary),
            ("Status", Unary),
            ("Defragment", Unary),
            ("Hash", Unary),
            ("HashKV", Unary),
            ("Snapshot", Server),
            ("MoveLeader", Unary),
            ("Downgrade", Unary),
        ],
    ),
    (
        "etcdserverpb.Auth",
        &[
            ("AuthEnable", Unary),
            ("AuthDisable", Unary),
            ("AuthStatus", Unary),
            ("Authenticate", Unary),
            ("UserAdd", Unary),
            ("UserGet", Unary),
            ("UserList", Unary),
            ("UserDelete", Unary),
            ("UserChangePassword", Unary),
            ("UserGrantRole", Unary),
            ("UserRevokeRole", Unary),
            ("RoleAdd", Unary),
            ("RoleGet", Unary),
            ("RoleList", Unary),
            ("RoleDelete", Unary),
            ("RoleGrantPermission", Unary),
            ("RoleRevokePermission", Unary),
        ],
    ),
    ("v3lockpb.Lock", &[("Lock", Unary), ("Unlock", Unary)]),
    (
        "v3electionpb.Election",
        &[
            ("Campaign", Unary),
            ("Proclaim", Unary),
            ("Leader", Unary),
            ("Observe", Server),
            ("Resign", Unary),
        ],
    ),
    ("grpc.health.v1.Health", &[("Check", Unary), ("Watch", Server)]),
];

/// Outcomes in the order of their numbers, as grpc-go names them.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "Canceled"),
    (Code::Unknown, "Unknown"),
    (Code::InvalidArgument, "InvalidArgument"),
    (Code::DeadlineExceeded, "DeadlineExceeded"),
    (Code::NotFound, "NotFound"),
    (Code::AlreadyExists, "AlreadyExists"),
    (Code::PermissionDenied, "PermissionDenied"),
    (Code::ResourceExhausted, "ResourceExhausted"),
    (Code::FailedPrecondition, "FailedPrecondition"),
    (Code::Aborted, "Aborted"),
    (Code::OutOfRange, "OutOfRange"),
    (Code::Unimplemented, "Unimplemented"),
    (Code::Internal, "Internal"),
    (Code::Unavailable, "Unavailable"),
    (Code::DataLoss, "DataLoss"),
    (Code::Unauthenticated, "Unauthenticated"),
];

/// One method's counters.
pub(crate) struct Method {
    pub(crate) kind: Kind,
    started: Counter,
    handled: [Counter; CODES.len()],
}

impl Method {
    /// A call begins.
    pub(crate) fn started(&self) {
        self.started.inc();
    }

    /// A call has ended.
    pub(crate) fn handled(&self, code: Code) {
        if let Some(counter) = self.handled.get(code as usize) {
            counter.inc();
        }
    }
}

/// All methods' counters, and the bytes of their messages.
pub(crate) struct GrpcMetrics {
    methods: HashMap<String, Arc<Method>>,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
}

type Labels = Vec<(&'static str, &'static str)>;

impl GrpcMetrics {
    pub(super) fn register(r: &mut Registry) -> Self {
        let started = Family::<Labels, Counter>::default();
        let handled = Family::<Labels, Counter>::default();
        let mut methods = HashMap::new();
        for &(service, names) in METHODS {
            for &(name, kind) in names {
                let labels: Labels = vec![
                    ("grpc_method", name),
                    ("grpc_service", service),
                    ("grpc_type", kind.label()),
                ];
                let of_code = |(_, code): (Code, &'static str)| {
                    let labels = [vec![("grpc_code", code)], labels.clone()].concat();
                    handled.get_or_create_owned(&labels)
                };
                let method = Method {
                    kind,
                    started: started.get_or_create_owned(&labels),
                    handled: CODES.map(of_code),
                };
                methods.insert(format!("/{service}/{name}"), Arc::new(method));
            }
        }
        r.register("grpc_server_started", "RPCs started on the server", started);
        r.register("grpc_server_handled", "RPCs completed on the server, failed or not", handled);
        Self {
            methods,
            received: count(r, "etcd_network_client_grpc_received_bytes", "Bytes from clients"),
            sent: count(r, "etcd_network_client_grpc_sent_bytes", "Bytes to clients"),
        }
    }

    /// The method at this path.
    pub(crate) fn method(&self, path: &str) -> Option<&Arc<Method>> {
        self.methods.get(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `rpc Name(stream? Request) returns (stream? Response);` in a service of a package.
    fn declared(text: &str) -> Vec<(String, Kind)> {
        let (mut package, mut service, mut found) = ("", "", Vec::new());
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split([' ', ';', '(', '{']).collect();
            match words[..] {
                ["package", name, ..] => package = name,
                ["service", name, ..] => service = name,
                ["rpc", name, ..] => {
                    let kind = match line.matches("stream ").count() {
                        0 => Unary,
                        1 => Server,
                        _ => Bidi,
                    };
                    found.push((format!("/{package}.{service}/{name}"), kind));
                }
                _ => {}
            }
        }
        found
    }

    #[test]
    fn every_declared_method_is_counted_by_its_kind() {
        let metrics = GrpcMetrics::register(&mut Registry::default());
        let protos = [
            include_str!("../../../api/proto/rpc.proto"),
            include_str!("../../../api/proto/lock.proto"),
            include_str!("../../../api/proto/election.proto"),
        ];
        let declared: Vec<_> = protos.iter().flat_map(|text| declared(text)).collect();
        assert_eq!(declared.len() + 2, metrics.methods.len(), "and the health service's two");
        for (path, kind) in declared {
            assert_eq!(metrics.method(&path).map(|method| method.kind), Some(kind), "{path}");
        }
    }

    #[test]
    fn codes_stand_at_their_numbers() {
        for (at, (code, _)) in CODES.iter().enumerate() {
            assert_eq!(*code as usize, at);
        }
    }
}
