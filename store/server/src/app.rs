//! Which service answers a request: gRPC by path, everything else by the HTTP endpoints.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use skein_store_api::ApiError;
use skein_store_rpc::etcdserverpb::auth_server::AuthServer;
use skein_store_rpc::etcdserverpb::cluster_server::ClusterServer;
use skein_store_rpc::etcdserverpb::kv_server::KvServer;
use skein_store_rpc::etcdserverpb::lease_server::LeaseServer;
use skein_store_rpc::etcdserverpb::maintenance_server::MaintenanceServer;
use skein_store_rpc::etcdserverpb::watch_server::WatchServer;
use skein_store_rpc::status;
use skein_store_rpc::v3electionpb::election_server::ElectionServer;
use skein_store_rpc::v3lockpb::lock_server::LockServer;
use tonic::body::Body;
use tower_service::Service;

use crate::core::{Core, REQUIRE_LEADER};
use crate::http_api;
use crate::net::App;
use crate::service::health::HealthService;
use crate::service::watch::WatchService;
use crate::service::{
    AuthService, ClusterService, ElectionService, KvService, LeaseService, LockService,
    MaintenanceService,
};

/// Everything on the client port.
#[derive(Clone)]
pub(crate) struct ClientApp {
    core: Arc<Core>,
    kv: KvServer<KvService>,
    watch: WatchServer<WatchService>,
    lease: LeaseServer<LeaseService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    auth: AuthServer<AuthService>,
    lock: LockServer<LockService>,
    election: ElectionServer<ElectionService>,
    health: HealthService,
}

impl ClientApp {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let receive = core.limits.max_request_bytes + skein_store_api::limits::GRPC_OVERHEAD_BYTES;
        let kv = KvServer::new(KvService::new(Arc::clone(&core)));
        let watch = WatchServer::new(WatchService::new(Arc::clone(&core)));
        let lease = LeaseServer::new(LeaseService::new(Arc::clone(&core)));
        let cluster = ClusterServer::new(ClusterService::new(Arc::clone(&core)));
        let maintenance = MaintenanceServer::new(MaintenanceService::new(Arc::clone(&core)));
        let auth = AuthServer::new(AuthService::new(Arc::clone(&core)));
        Self {
            kv: kv.max_decoding_message_size(receive).max_encoding_message_size(usize::MAX),
            watch: watch.max_decoding_message_size(receive).max_encoding_message_size(usize::MAX),
            lease,
            cluster,
            maintenance,
            auth,
            lock: LockServer::new(LockService::new(Arc::clone(&core))),
            election: ElectionServer::new(ElectionService::new(Arc::clone(&core))),
            health: HealthService::new(Arc::clone(&core)),
            core,
        }
    }

    async fn grpc(&self, request: Request<Incoming>) -> Response<Body> {
        if request.headers().contains_key(REQUIRE_LEADER) && !self.core.state.has_leader() {
            return status(ApiError::NoLeader).into_http();
        }
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        let answer = match service {
            "etcdserverpb.KV" => self.kv.clone().call(request).await,
            "etcdserverpb.Watch" => self.watch.clone().call(request).await,
            "etcdserverpb.Lease" => self.lease.clone().call(request).await,
            "etcdserverpb.Cluster" => self.cluster.clone().call(request).await,
            "etcdserverpb.Maintenance" => self.maintenance.clone().call(request).await,
            "etcdserverpb.Auth" => self.auth.clone().call(request).await,
            "v3lockpb.Lock" => self.lock.clone().call(request).await,
            "v3electionpb.Election" => self.election.clone().call(request).await,
            "grpc.health.v1.Health" => Ok(self.health.call(request).await),
            other => {
                let text = format!("unknown service {other}");
                Ok(tonic::Status::unimplemented(text).into_http())
            }
        };
        as_grpc_says(answer.unwrap_or_else(|never| match never {}))
    }
}

/// tonic refuses a message above the size limit as OUT_OF_RANGE, which etcd's clients read as a
/// compacted or future revision; gRPC's own code for it, and etcd's answer, is RESOURCE_EXHAUSTED.
fn as_grpc_says(mut answer: Response<Body>) -> Response<Body> {
    const TOO_LARGE: &[u8] = b"Error,%20decoded%20message%20length%20too%20large";
    let header = |name| answer.headers().get(name).map(HeaderValue::as_bytes);
    let refused = header(tonic::Status::GRPC_STATUS)
        .is_some_and(|code| code == (tonic::Code::OutOfRange as i32).to_string().as_bytes());
    if refused
        && header(tonic::Status::GRPC_MESSAGE).is_some_and(|text| text.starts_with(TOO_LARGE))
    {
        let code = HeaderValue::from(tonic::Code::ResourceExhausted as i32);
        answer.headers_mut().insert(tonic::Status::GRPC_STATUS, code);
    }
    answer
}

impl App for ClientApp {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if is_grpc(request.headers()) {
            self.grpc(request).await
        } else {
            http_api::answer(&self.core, request.method(), request.uri()).await
        }
    }
}

/// The addresses of `--listen-metrics-urls`: the HTTP endpoints alone.
#[derive(Clone)]
pub(crate) struct MetricsApp(pub(crate) Arc<Core>);

impl App for MetricsApp {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        http_api::answer(&self.0, request.method(), request.uri()).await
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
