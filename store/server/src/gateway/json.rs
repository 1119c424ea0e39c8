//! Messages as JSON: protobuf's own mapping, with the names that the protocol files use, as etcd's
//! gateway writes them. Bytes are base64, 64-bit numbers are strings, defaults are left out.

use bytes::{BufMut, Bytes, BytesMut};
use prost_reflect::prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;
use tonic::{Code, Status};

/// Before each message of a gRPC stream: one byte of flags and the length.
pub(super) const PREFIX_BYTES: usize = 5;

/// The messages in a text, as they stand in a gRPC request. Texts follow each other; none at all is
/// a message of defaults.
pub(super) fn to_grpc(text: &[u8], kind: &MessageDescriptor) -> Result<Bytes, Status> {
    let wrong = |error: serde_json::Error| Status::invalid_argument(error.to_string());
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut frames = BytesMut::new();
    let values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    for value in values {
        let value = value.map_err(wrong)?;
        let message = DynamicMessage::deserialize_with_options(kind.clone(), value, &options);
        put_frame(&mut frames, &message.map_err(wrong)?);
    }
    if frames.is_empty() {
        put_frame(&mut frames, &DynamicMessage::new(kind.clone()));
    }
    Ok(frames.freeze())
}

fn put_frame(frames: &mut BytesMut, message: &DynamicMessage) {
    const PLAIN: u8 = 0;
    frames.put_u8(PLAIN);
    frames.put_u32(message.encoded_len() as u32);
    frames.put_slice(&message.encode_to_vec());
}

/// An encoded message as a text.
pub(super) fn of_message(bytes: &[u8], kind: &MessageDescriptor) -> Result<String, Status> {
    let broken = |text: String| Status::internal(text);
    let message =
        DynamicMessage::decode(kind.clone(), bytes).map_err(|error| broken(error.to_string()))?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut text = Vec::new();
    let mut writer = serde_json::Serializer::new(&mut text);
    let written = message.serialize_with_options(&mut writer, &options);
    written.map_err(|error| broken(error.to_string()))?;
    String::from_utf8(text).map_err(|error| broken(error.to_string()))
}

/// An error as etcd's gateway writes it.
pub(super) fn of_status(status: &Status) -> Value {
    serde_json::json!({ "code": status.code() as i32, "message": status.message() })
}

/// The HTTP status for an outcome (grpc-gateway, runtime/errors.go).
pub(super) fn http_status(code: Code) -> u16 {
    match code {
        Code::Ok => 200,
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::DeadlineExceeded => 504,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::PermissionDenied => 403,
        Code::Unauthenticated => 401,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    }
}
