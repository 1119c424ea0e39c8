//! Reading the records that responses carry in encoded form.

use bytes::Bytes;
use prost::{DecodeError, Message};

use crate::pb::mvccpb::{Event, KeyValue, event::EventType};

/// An event with its records decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchEvent {
    /// Put or delete.
    pub kind: EventType,
    /// The key as the event left it; of a delete only key and mod_revision are set.
    pub kv: KeyValue,
    /// The key before the event, when it was asked for and is still known.
    pub prev_kv: Option<KeyValue>,
}

/// Decodes one encoded `KeyValue`. The key and value share the record's memory.
///
/// # Errors
/// When `record` is not an encoded `KeyValue`.
pub fn key_value(record: &Bytes) -> Result<KeyValue, DecodeError> {
    KeyValue::decode(record.clone())
}

/// Decodes a response's `kvs` or `prev_kvs`.
///
/// # Errors
/// When one of them is not an encoded `KeyValue`.
pub fn key_values(records: &[Bytes]) -> Result<Vec<KeyValue>, DecodeError> {
    records.iter().map(key_value).collect()
}

/// Decodes one encoded `Event` of a watch response.
///
/// # Errors
/// When `record` is not an encoded `Event`, or its key and value are not encoded `KeyValue`s.
pub fn watch_event(record: &Bytes) -> Result<WatchEvent, DecodeError> {
    let event = Event::decode(record.clone())?;
    let kind = event.r#type();
    let prev_kv = event.prev_kv.as_ref().map(key_value).transpose()?;
    Ok(WatchEvent { kind, kv: key_value(&event.kv)?, prev_kv })
}

/// Decodes a watch response's `events`.
///
/// # Errors
/// As [`watch_event`].
pub fn watch_events(records: &[Bytes]) -> Result<Vec<WatchEvent>, DecodeError> {
    records.iter().map(watch_event).collect()
}

/// The end of the range that holds exactly the keys starting with `prefix`, for `range_end`.
/// An empty prefix, or one of 0xff bytes only, gives `"\0"`: every key from `prefix` on.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let Some(last) = prefix.iter().rposition(|&b| b != u8::MAX) else {
        return Bytes::from_static(b"\0");
    };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_end_is_the_next_prefix() {
        assert_eq!(prefix_end(b"a/"), &b"a0"[..]);
        assert_eq!(prefix_end(b"a\xff"), &b"b"[..]);
        assert_eq!(prefix_end(b"\xff\xff"), &b"\0"[..]);
        assert_eq!(prefix_end(b""), &b"\0"[..]);
    }

    #[test]
    fn an_event_round_trips_with_its_previous_value() {
        let kv = KeyValue { key: "k".into(), mod_revision: 7, ..Default::default() };
        let prev = KeyValue { key: "k".into(), value: "old".into(), ..Default::default() };
        let event = Event {
            r#type: EventType::Delete.into(),
            kv: kv.encode_to_vec().into(),
            prev_kv: Some(prev.encode_to_vec().into()),
        };
        let read = watch_event(&event.encode_to_vec().into()).unwrap();
        assert_eq!(read, WatchEvent { kind: EventType::Delete, kv, prev_kv: Some(prev) });
    }
}
