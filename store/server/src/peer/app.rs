//! What the peer addresses serve.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use skein_store_rpc::peer::peer_server::PeerServer;
use tonic::body::Body;
use tower_service::Service;

use super::service::PeerService;
pub(crate) use super::service::SnapshotPlace;
use crate::core::Core;
use crate::net::App;

/// Largest frame: one message of consensus holds at least one entry, however large.
const MAX_FRAME_BYTES: usize = 72 << 20;

/// Everything on the peer addresses.
#[derive(Clone)]
pub(crate) struct PeerApp(PeerServer<PeerService>);

impl PeerApp {
    pub(crate) fn new(core: Arc<Core>, place: SnapshotPlace) -> Self {
        let server = PeerServer::new(PeerService::new(core, place));
        Self(server.max_decoding_message_size(MAX_FRAME_BYTES))
    }
}

impl App for PeerApp {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if request.uri().path().starts_with("/skein.peer.v1.Peer/") {
            let answer = self.0.clone().call(request).await;
            return answer.unwrap_or_else(|never| match never {});
        }
        let mut nothing = Response::new(Body::empty());
        *nothing.status_mut() = StatusCode::NOT_FOUND;
        nothing
    }
}
