//! What a request says of who sent it.

use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request};

use crate::net::Peer;

/// Where clients put their token, and where HTTP gateways do.
const TOKEN_FIELDS: [&str; 2] = ["token", "authorization"];

/// In front of a token in HTTP's manner.
const BEARER: &str = "Bearer ";

/// Set by etcd's gateway, whose own certificate says nothing of who sent a request through it.
const GATEWAY_FIELD: &str = "grpcgateway-accept";

/// The metadata of a request and the connection that it came by.
pub(crate) struct Sender {
    metadata: MetadataMap,
    extensions: Extensions,
}

impl Sender {
    /// Takes a request apart. Copies nothing.
    pub(crate) fn of<T>(request: Request<T>) -> (Sender, T) {
        let (metadata, extensions, message) = request.into_parts();
        (Sender { metadata, extensions }, message)
    }

    /// The connection.
    pub(crate) fn peer(&self) -> Option<&Peer> {
        self.extensions.get()
    }

    /// The token. One that is no text is given and fits nobody.
    pub(super) fn token(&self) -> Option<&str> {
        let given = TOKEN_FIELDS.iter().find_map(|field| self.metadata.get(*field))?;
        let text = given.to_str().unwrap_or_default();
        Some(text.strip_prefix(BEARER).unwrap_or(text))
    }

    /// The common name of the client's certificate, which was verified with the connection.
    pub(super) fn common_name(&self) -> Option<&str> {
        let gateway = self.metadata.contains_key(GATEWAY_FIELD);
        self.peer().filter(|_| !gateway).and_then(|peer| peer.common_name.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(fields: &[(&'static str, &'static str)], common_name: Option<&str>) -> Sender {
        let mut request = Request::new(());
        for (field, value) in fields {
            request.metadata_mut().insert(*field, value.parse().expect("text"));
        }
        let common_name = common_name.map(Into::into);
        request.extensions_mut().insert(Peer { common_name, ..Peer::default() });
        Sender::of(request).0
    }

    #[test]
    fn tokens_are_found_where_clients_put_them() {
        assert_eq!(sender(&[], None).token(), None);
        assert_eq!(sender(&[("token", "t")], None).token(), Some("t"));
        assert_eq!(sender(&[("authorization", "t")], None).token(), Some("t"));
        assert_eq!(sender(&[("authorization", "Bearer t")], None).token(), Some("t"));
        assert_eq!(sender(&[("authorization", "x"), ("token", "t")], None).token(), Some("t"));
    }

    #[test]
    fn a_gateways_certificate_names_nobody() {
        assert_eq!(sender(&[], Some("alice")).common_name(), Some("alice"));
        assert_eq!(sender(&[], None).common_name(), None);
        let through = sender(&[(GATEWAY_FIELD, "application/json")], Some("alice"));
        assert_eq!(through.common_name(), None);
    }
}
