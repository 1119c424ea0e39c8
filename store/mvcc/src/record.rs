//! The two records that go to clients, written once per change and shared from then on.
//!
//! An event of a put is
//!
//! ```text
//! 12 <length> <KeyValue>                  field 2 (kv); field 1 (type) is PUT = 0, so absent
//! ```
//!
//! and one of a delete `08 01 12 <length> <KeyValue>`, whose KeyValue holds key and mod_revision
//! only. The KeyValue that ranges return is the tail of these bytes. Its fields are written in
//! order of their numbers, so that everything before the value is, as it stands, the record that
//! a keys-only range returns. With the previous value the event is followed by
//! `1a <length> <KeyValue>`: protobuf allows to append fields.

use bytes::Bytes;
use skein_store_api::pb::mvccpb::KeyValue;

const KEY: u8 = 0x0a;
const CREATE_REVISION: u8 = 0x10;
const MOD_REVISION: u8 = 0x18;
const VERSION: u8 = 0x20;
const VALUE: u8 = 0x2a;
const LEASE: u8 = 0x30;

const EVENT_TYPE: u8 = 0x08;
const EVENT_KV: u8 = 0x12;
const EVENT_PREV_KV: u8 = 0x1a;
const TYPE_DELETE: u8 = 1;

/// What a put leaves behind, before it is encoded.
pub(crate) struct Put<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

impl<'a> From<&'a KeyValue> for Put<'a> {
    fn from(kv: &'a KeyValue) -> Self {
        Self {
            key: &kv.key,
            value: &kv.value,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }
}

/// The event of a put.
pub(crate) fn put_event(put: &Put<'_>) -> Bytes {
    let kv_len = field_len(put.key.len())
        + int_len(put.create_revision)
        + int_len(put.mod_revision)
        + int_len(put.version)
        + if put.value.is_empty() { 0 } else { field_len(put.value.len()) }
        + int_len(put.lease);
    let mut out = Vec::with_capacity(field_len(kv_len));
    out.push(EVENT_KV);
    put_varint(&mut out, kv_len as u64);
    put_bytes(&mut out, KEY, put.key);
    put_int(&mut out, CREATE_REVISION, put.create_revision);
    put_int(&mut out, MOD_REVISION, put.mod_revision);
    put_int(&mut out, VERSION, put.version);
    if !put.value.is_empty() {
        put_bytes(&mut out, VALUE, put.value);
    }
    put_int(&mut out, LEASE, put.lease);
    debug_assert_eq!(out.len(), out.capacity(), "no byte is kept for nothing");
    out.into()
}

/// The event of a delete.
pub(crate) fn delete_event(key: &[u8], mod_revision: i64) -> Bytes {
    let kv_len = field_len(key.len()) + int_len(mod_revision);
    let mut out = Vec::with_capacity(2 + field_len(kv_len));
    out.extend_from_slice(&[EVENT_TYPE, TYPE_DELETE, EVENT_KV]);
    put_varint(&mut out, kv_len as u64);
    put_bytes(&mut out, KEY, key);
    put_int(&mut out, MOD_REVISION, mod_revision);
    out.into()
}

/// `event` together with the value before it.
pub(crate) fn with_prev(event: &[u8], prev_kv: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(event.len() + field_len(prev_kv.len()));
    out.extend_from_slice(event);
    put_bytes(&mut out, EVENT_PREV_KV, prev_kv);
    out.into()
}

/// The KeyValue inside an event that this module encoded.
pub(crate) fn kv_of_event(event: &Bytes) -> Bytes {
    let at = if event.first() == Some(&EVENT_TYPE) { 2 } else { 0 };
    let (_, length) = varint(&event[at + 1..]);
    event.slice(at + 1 + length..)
}

/// The record that a keys-only range returns: everything before the value.
pub(crate) fn keys_only(kv: &Bytes) -> Bytes {
    kv.slice(..value_field(kv))
}

/// The record without its value but with its lease, as a keys-only range that sorts by value
/// returns it.
pub(crate) fn without_value(kv: &Bytes, lease: i64) -> Bytes {
    let head = &kv[..value_field(kv)];
    let mut out = Vec::with_capacity(head.len() + int_len(lease));
    out.extend_from_slice(head);
    put_int(&mut out, LEASE, lease);
    out.into()
}

/// The value inside a KeyValue that this module encoded.
pub(crate) fn value(kv: &[u8]) -> &[u8] {
    let at = value_field(kv);
    if kv.get(at) != Some(&VALUE) {
        return &[];
    }
    let (length, digits) = varint(&kv[at + 1..]);
    let start = at + 1 + digits;
    &kv[start..start + length as usize]
}

/// Where the value field begins, or would begin.
fn value_field(kv: &[u8]) -> usize {
    let (key_length, digits) = varint(&kv[1..]);
    let mut at = 1 + digits + key_length as usize;
    while let Some(&(CREATE_REVISION | MOD_REVISION | VERSION)) = kv.get(at) {
        at += 1 + varint(&kv[at + 1..]).1;
    }
    at
}

/// A varint at the start of `bytes` and the number of its bytes.
fn varint(bytes: &[u8]) -> (u64, usize) {
    let mut number = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return (number, at + 1);
        }
    }
    (number, bytes.len())
}

fn varint_len(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Length of a one-byte tag, a length and as many bytes.
fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// Length of an integer field; zero is not written.
fn int_len(number: i64) -> usize {
    if number == 0 { 0 } else { 1 + varint_len(number as u64) }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_int(out: &mut Vec<u8>, tag: u8, number: i64) {
    if number != 0 {
        out.push(tag);
        put_varint(out, number as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;
    use skein_store_api::pb::mvccpb::{Event, event::EventType};
    use skein_store_api::wire;

    proptest! {
        #[test]
        fn records_are_what_prost_reads_and_writes(
            key in proptest::collection::vec(any::<u8>(), 1..300),
            value in proptest::collection::vec(any::<u8>(), 0..300),
            create in 1i64..i64::MAX, version in 1i64..1_000_000, lease in any::<i64>(),
        ) {
            let mod_revision = create.saturating_add(version);
            let event = put_event(&Put {
                key: &key, value: &value, create_revision: create, mod_revision, version, lease,
            });
            let expected = KeyValue {
                key: key.clone().into(), value: value.clone().into(), lease,
                create_revision: create, mod_revision, version,
            };
            let kv = kv_of_event(&event);
            prop_assert_eq!(&kv, &expected.encode_to_vec());
            prop_assert_eq!(super::value(&kv), &value[..]);
            let as_event = Event { kv: kv.clone(), ..Default::default() };
            prop_assert_eq!(&event, &as_event.encode_to_vec());
            let bare = KeyValue { value: Bytes::new(), ..expected.clone() };
            prop_assert_eq!(without_value(&kv, lease), bare.encode_to_vec());
            let bare = KeyValue { lease: 0, ..bare };
            prop_assert_eq!(keys_only(&kv), bare.encode_to_vec());

            let gone = delete_event(&key, mod_revision);
            let both = wire::watch_event(&with_prev(&gone, &kv)).unwrap();
            prop_assert_eq!(both.kind, EventType::Delete);
            prop_assert_eq!(both.prev_kv, Some(expected));
            let tomb = KeyValue { key: key.into(), mod_revision, ..Default::default() };
            prop_assert_eq!(kv_of_event(&gone), tomb.encode_to_vec());
            prop_assert_eq!(both.kv, tomb);
        }
    }
}
