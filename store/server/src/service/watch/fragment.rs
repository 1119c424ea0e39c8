//! Cutting a response that is too large for one message.

use prost::Message;
use skein_store_api::pb::etcdserverpb::WatchResponse;

/// Bytes that tag and length of one event take at most.
const EVENT_OVERHEAD: usize = 6;

/// The pieces of `response`, each below `limit` bytes unless a single event is larger; all but the
/// last are marked as fragments.
pub(super) fn split(response: WatchResponse, limit: usize) -> Vec<WatchResponse> {
    if response.events.len() < 2 || response.encoded_len() < limit {
        return vec![response];
    }
    let WatchResponse { events, header, watch_id, .. } = response;
    let empty = WatchResponse { header, watch_id, fragment: true, ..WatchResponse::default() };
    let envelope = empty.encoded_len();
    let mut pieces = Vec::new();
    let mut piece = empty.clone();
    let mut bytes = envelope;
    for event in events {
        let more = event.len() + EVENT_OVERHEAD;
        if !piece.events.is_empty() && bytes + more >= limit {
            pieces.push(std::mem::replace(&mut piece, empty.clone()));
            bytes = envelope;
        }
        bytes += more;
        piece.events.push(event);
    }
    piece.fragment = false;
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(lengths: &[usize]) -> WatchResponse {
        let events = lengths.iter().map(|&len| vec![7; len].into()).collect();
        WatchResponse { watch_id: 3, events, ..WatchResponse::default() }
    }

    #[test]
    fn what_fits_stays_whole() {
        let whole = response(&[10, 10]);
        assert_eq!(split(whole.clone(), 1000), [whole]);
        let single = response(&[2000]);
        assert_eq!(split(single.clone(), 1000), [single]);
    }

    #[test]
    fn pieces_keep_order_and_only_the_last_is_unmarked() {
        let pieces = split(response(&[400, 400, 400, 1500, 10]), 1000);
        let counts: Vec<_> = pieces.iter().map(|piece| piece.events.len()).collect();
        assert_eq!(counts, [2, 1, 1, 1]);
        let marks: Vec<_> = pieces.iter().map(|piece| piece.fragment).collect();
        assert_eq!(marks, [true, true, true, false]);
        assert!(pieces.iter().all(|piece| piece.watch_id == 3));
    }
}
