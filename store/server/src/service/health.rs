//! The gRPC health service (grpc.health.v1), with the whole server as its only subject.

use std::sync::Arc;

use http::{Request, Response};
use prost::Message;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::{Status, codegen::BoxFuture};
use tonic_prost::ProstCodec;

use crate::core::{Core, stopped};

/// grpc.health.v1.HealthCheckRequest.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HealthCheckRequest {
    /// Empty for the server as a whole.
    #[prost(string, tag = "1")]
    service: String,
}

/// grpc.health.v1.HealthCheckResponse.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HealthCheckResponse {
    /// 1 serving, 2 not serving.
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

#[derive(Clone)]
pub(crate) struct HealthService {
    core: Arc<Core>,
}

impl HealthService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    pub(crate) async fn call<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let mut grpc = Grpc::new(ProstCodec::<HealthCheckResponse, HealthCheckRequest>::default());
        match request.uri().path() {
            "/grpc.health.v1.Health/Check" => grpc.unary(self.clone(), request).await,
            "/grpc.health.v1.Health/Watch" => grpc.server_streaming(self.clone(), request).await,
            _ => Status::unimplemented("unknown method").into_http(),
        }
    }

    fn check(&self, request: &HealthCheckRequest) -> Result<HealthCheckResponse, Status> {
        if !request.service.is_empty() {
            return Err(Status::not_found("unknown service"));
        }
        Ok(HealthCheckResponse { status: SERVING })
    }
}

impl UnaryService<HealthCheckRequest> for HealthService {
    type Response = HealthCheckResponse;
    type Future = std::future::Ready<Result<tonic::Response<HealthCheckResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<HealthCheckRequest>) -> Self::Future {
        std::future::ready(self.check(request.get_ref()).map(tonic::Response::new))
    }
}

type Updates =
    std::pin::Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

impl ServerStreamingService<HealthCheckRequest> for HealthService {
    type Response = HealthCheckResponse;
    type ResponseStream = Updates;
    type Future = BoxFuture<tonic::Response<Updates>, Status>;

    /// The first answer comes at once, the next when the member stops.
    fn call(&mut self, request: tonic::Request<HealthCheckRequest>) -> Self::Future {
        let first = self.check(request.get_ref());
        let mut stopping = self.core.stopping.clone();
        let updates = async_stream::stream! {
            yield first;
            stopped(&mut stopping).await;
            yield Ok(HealthCheckResponse { status: NOT_SERVING });
        };
        Box::pin(async move { Ok(tonic::Response::new(Box::pin(updates) as Updates)) })
    }
}
