//! The JSON gateway: `/v3/…` for clients that have no gRPC.
//!
//! A call is turned into the gRPC call it stands for and goes the way of all calls, with the same
//! bounds, counters and errors; its answer is turned back.

mod json;
mod routes;

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Frame;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::app::{AnswerBody, RequestBody};

/// A gRPC request that a call was turned into.
pub(crate) type GrpcRequest = Request<Body>;

/// Base64 makes four bytes of three, and names stand around them.
const JSON_PER_MESSAGE: usize = 2;

struct Route {
    grpc: &'static str,
    request: MessageDescriptor,
    answer: MessageDescriptor,
    /// The client may send several requests.
    requests_stream: bool,
    answers_stream: bool,
}

/// All routes. Clones are cheap where it stands behind a reference count.
pub(crate) struct Gateway {
    routes: HashMap<&'static str, Route>,
    largest: usize,
}

/// The protocol's description cannot be used by the gateway: a mistake of the build.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// It is not one.
    #[error("the description of the protocol cannot be read")]
    Description(#[from] prost_reflect::DescriptorError),
    /// It lacks a method.
    #[error("the JSON gateway's route to {0} leads nowhere")]
    NoRoute(&'static str),
}

impl Gateway {
    /// For messages of up to `largest` bytes.
    pub(crate) fn new(largest: usize) -> Result<Self, GatewayError> {
        let pool = DescriptorPool::decode(skein_store_rpc::JSON_DESCRIPTORS)?;
        let route = |&(path, grpc): &(&'static str, &'static str)| {
            let (service, name) = grpc.trim_start_matches('/').split_once('/')?;
            let service = pool.get_service_by_name(service)?;
            let method = service.methods().find(|method| method.name() == name)?;
            let route = Route {
                grpc,
                request: method.input(),
                answer: method.output(),
                requests_stream: method.is_client_streaming(),
                answers_stream: method.is_server_streaming(),
            };
            Some((path, route))
        };
        let routes =
            routes::ROUTES.iter().map(|row| route(row).ok_or(GatewayError::NoRoute(row.1)));
        Ok(Self { routes: routes.collect::<Result<_, _>>()?, largest })
    }

    /// Whether the gateway answers this path.
    pub(crate) fn serves(path: &str) -> bool {
        behind_version(path).is_some()
    }

    /// The gRPC request that a call stands for.
    ///
    /// # Errors
    /// The answer to a call that stands for none.
    pub(crate) async fn take(
        &self,
        request: Request<RequestBody>,
    ) -> Result<GrpcRequest, Response<Body>> {
        let route = self
            .route(request.uri().path())
            .ok_or_else(|| refusal(&Status::not_found("Not Found")))?;
        if request.method() != Method::POST {
            return Err(refusal(&Status::unimplemented("Method Not Allowed")));
        }
        let (parts, body) = request.into_parts();
        let text = Limited::new(body, JSON_PER_MESSAGE * self.largest).collect().await;
        let too_large = || Status::resource_exhausted("the request is too large");
        let refused = |error: Box<dyn std::error::Error + Send + Sync>| {
            refusal(&error.downcast::<Status>().map_or_else(|_| too_large(), |status| *status))
        };
        let text = text.map_err(refused)?.to_bytes();
        let frames = json::to_grpc(&text, &route.request).map_err(|status| refusal(&status))?;
        let body = match route.requests_stream && route.grpc.ends_with("/Watch") {
            // A watch goes on when its client has said all it wants to say.
            true => Body::new(Open(Some(frames))),
            false => Body::new(Full::new(frames)),
        };
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static(route.grpc);
        *request.extensions_mut() = parts.extensions;
        let grpc = HeaderValue::from_static("application/grpc");
        request.headers_mut().insert(header::CONTENT_TYPE, grpc);
        if let Some(token) = parts.headers.get(header::AUTHORIZATION) {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        Ok(request)
    }

    /// The answer for the client, of one that a gRPC request got.
    pub(crate) async fn give(&self, path: &str, answer: Response<AnswerBody>) -> Response<Body> {
        let Some(route) = self.route(path) else {
            return refusal(&Status::not_found("Not Found"));
        };
        if let Some(status) = failure(answer.headers()) {
            return refusal(&status);
        }
        let messages = Messages { body: answer.into_body(), gathered: BytesMut::new() };
        if route.answers_stream {
            let lines = lines(messages, route.answer.clone());
            return reply(Code::Ok, Body::new(StreamBody::new(lines)));
        }
        match only(messages, &route.answer).await {
            Ok(text) => reply(Code::Ok, Body::new(Full::from(text))),
            Err(status) => refusal(&status),
        }
    }

    fn route(&self, path: &str) -> Option<&Route> {
        self.routes.get(behind_version(path)?)
    }
}

/// `/v3beta/` is an older name of `/v3/`.
fn behind_version(path: &str) -> Option<&str> {
    path.strip_prefix("/v3/").or_else(|| path.strip_prefix("/v3beta/"))
}

fn failure(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}

fn refusal(status: &Status) -> Response<Body> {
    reply(status.code(), Body::new(Full::from(json::of_status(status).to_string())))
}

fn reply(code: Code, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let status = http::StatusCode::from_u16(json::http_status(code));
    *response.status_mut() = status.unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

async fn only(mut messages: Messages, kind: &MessageDescriptor) -> Result<String, Status> {
    let first = messages.next().await?.ok_or_else(|| Status::internal("no answer"))?;
    while messages.next().await?.is_some() {}
    json::of_message(&first, kind)
}

/// A text for each message, on a line of its own.
fn lines(
    mut messages: Messages,
    kind: MessageDescriptor,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    async_stream::stream! {
        loop {
            let next = match messages.next().await {
                Ok(None) => return,
                Ok(Some(message)) => json::of_message(&message, &kind),
                Err(status) => Err(status),
            };
            let (line, last) = match next {
                Ok(result) => (format!("{{\"result\":{result}}}\n"), false),
                Err(status) => (format!("{{\"error\":{}}}\n", json::of_status(&status)), true),
            };
            yield Ok(Frame::data(Bytes::from(line)));
            if last {
                return;
            }
        }
    }
}

/// The messages of a gRPC answer.
struct Messages {
    body: AnswerBody,
    gathered: BytesMut,
}

impl Messages {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let [_, a, b, c, d, ..] = self.gathered[..] {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if self.gathered.len() >= json::PREFIX_BYTES + length {
                    self.gathered.advance(json::PREFIX_BYTES);
                    return Ok(Some(self.gathered.split_to(length).freeze()));
                }
            }
            let Some(frame) = self.body.frame().await.transpose()? else { return Ok(None) };
            match frame.into_data() {
                Ok(mut data) => {
                    self.gathered.extend_from_slice(&data.copy_to_bytes(data.remaining()))
                }
                Err(frame) => {
                    if let Some(status) = frame.trailers_ref().and_then(failure) {
                        return Err(status);
                    }
                }
            }
        }
    }
}

/// Bytes, and then nothing for ever.
struct Open(Option<Bytes>);

impl hyper::body::Body for Open {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_leads_to_a_method() {
        let gateway = Gateway::new(1).expect("the description fits");
        assert_eq!(gateway.routes.len(), routes::ROUTES.len(), "no path stands there twice");
        assert!(gateway.route("/v3/kv/range").is_some() && gateway.route("/v3/kv").is_none());
        assert!(Gateway::serves("/v3/nothing") && !Gateway::serves("/version"));
    }

    #[test]
    fn texts_become_messages_and_back() {
        let gateway = Gateway::new(1).expect("the description fits");
        let kind = &gateway.route("/v3/kv/put").expect("a route").request;
        let text = r#"{"key":"YQ==","lease":"7"}"#;
        let two = json::to_grpc(format!("{text} {text}").as_bytes(), kind).expect("readable");
        assert_eq!(two.len() % 2, 0);
        let message = &two[json::PREFIX_BYTES..two.len() / 2];
        assert_eq!(json::of_message(message, kind).expect("writable"), text);
        let wrong = json::to_grpc(br#"{"key":"a!"}"#, kind).expect_err("no base64");
        assert_eq!(wrong.code(), Code::InvalidArgument);
        assert_eq!(json::to_grpc(b"", kind).expect("defaults").len(), json::PREFIX_BYTES);
    }
}
