//! From Kubernetes' types to [`Object`], with every field checked that anyone relies on later.

mod error;
mod network;
mod workload;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use skein_store_schema as schema;

pub use error::ConvertError;

use crate::object::{DEFAULT_NAMESPACE, Object};
use error::{At, Checked};

/// An object as Kubernetes' types hold it.
#[derive(Debug)]
pub enum Raw {
    Namespace(Namespace),
    Node(Box<Node>),
    Pod(Box<Pod>),
    Service(Box<Service>),
    Slice(EndpointSlice),
}

/// Checks and reduces an object.
///
/// # Errors
/// The first field that is missing or out of range, by its path.
pub fn object(raw: Raw) -> Checked<Object> {
    match raw {
        Raw::Namespace(raw) => workload::namespace(raw).map(Object::Namespace),
        Raw::Node(raw) => workload::node(*raw).map(Object::Node),
        Raw::Pod(raw) => workload::pod(*raw).map(Object::Pod),
        Raw::Service(raw) => network::service(*raw).map(Object::Service),
        Raw::Slice(raw) => network::slice(raw).map(Object::Slice),
    }
}

fn name_of(metadata: &ObjectMeta) -> Checked<&str> {
    let name = metadata.name.as_deref().filter(|n| !n.is_empty());
    name.ok_or_else(|| ConvertError::new("metadata.name", "missing"))
}

fn namespace_of(metadata: &ObjectMeta) -> Checked<schema::Namespace> {
    let namespace = metadata.namespace.as_deref().filter(|n| !n.is_empty());
    namespace.unwrap_or(DEFAULT_NAMESPACE).parse().at("metadata.namespace")
}

fn port_number(port: i32, field: &str) -> Checked<schema::PortNumber> {
    u16::try_from(port)
        .ok()
        .and_then(schema::PortNumber::new)
        .ok_or_else(|| ConvertError::new(field, format!("{port} is not a port (1 to 65535)")))
}

fn protocol(protocol: Option<&str>, field: &str) -> Checked<schema::Protocol> {
    match protocol {
        None | Some("TCP") => Ok(schema::Protocol::Tcp),
        Some("UDP") => Ok(schema::Protocol::Udp),
        Some("SCTP") => Ok(schema::Protocol::Sctp),
        Some(other) => Err(ConvertError::new(field, format!("{other:?} is not TCP, UDP or SCTP"))),
    }
}

#[cfg(test)]
mod tests;
