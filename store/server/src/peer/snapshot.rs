//! Sending and receiving a snapshot.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use skein_store_mvcc::SnapshotChunks;
use skein_store_raft::Message;
use skein_store_rpc::peer::SnapshotPart;
use skein_store_rpc::peer::peer_client::PeerClient;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Peers;

/// Parts between the thread that makes them and the network: memory of one transfer.
const PARTS_AHEAD: usize = 4;

pub(super) async fn send(
    peers: &Arc<Peers>,
    message: Message,
    chunks: SnapshotChunks,
) -> Result<(), Status> {
    let to = message.to;
    let urls = peers.urls_of(to).ok_or_else(|| Status::not_found("no such member"))?;
    let channel = peers.caller.connect(&urls).await?;
    let (parts, receiver) = mpsc::channel(PARTS_AHEAD);
    tokio::task::spawn_blocking(move || make_parts(message, chunks, &parts));
    let request = peers.caller.request(to, ReceiverStream::new(receiver));
    PeerClient::new(channel).install(request).await.map(drop)
}

fn make_parts(message: Message, chunks: SnapshotChunks, parts: &mpsc::Sender<SnapshotPart>) {
    let first = SnapshotPart { announcement: Some(message), ..SnapshotPart::default() };
    let mut checksum = 0;
    let data = chunks.map(|data| {
        checksum = crc32c::crc32c_append(checksum, &data);
        SnapshotPart { data, ..SnapshotPart::default() }
    });
    let mut open = std::iter::once(first).chain(data).all(|part| parts.blocking_send(part).is_ok());
    if open {
        let last = SnapshotPart { checksum: Some(checksum), ..SnapshotPart::default() };
        open = parts.blocking_send(last).is_ok();
    }
    // The receiver went away; it says why by itself.
    let _ = open;
}

/// Passes a snapshot's data from the network to the thread that writes it. The stream of bytes that
/// comes out ends in an error when parts are missing or differ.
pub(super) fn receive(
    mut parts: Streaming<SnapshotPart>,
) -> impl Iterator<Item = io::Result<Bytes>> {
    let (sender, mut receiver) = mpsc::channel(PARTS_AHEAD);
    tokio::spawn(async move {
        loop {
            let part = match parts.next().await {
                Some(part) => part.map_err(io::Error::other),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            };
            let end = part.as_ref().map_or(true, |part| part.checksum.is_some());
            if sender.send(part).await.is_err() || end {
                return;
            }
        }
    });
    let mut sum = 0;
    std::iter::from_fn(move || {
        let part = match receiver.blocking_recv()? {
            Ok(part) => part,
            Err(error) => return Some(Err(error)),
        };
        match part.checksum {
            None => {
                sum = crc32c::crc32c_append(sum, &part.data);
                Some(Ok(part.data))
            }
            Some(expected) if expected == sum => None,
            Some(_) => Some(Err(io::Error::other("the snapshot changed on its way"))),
        }
    })
}
