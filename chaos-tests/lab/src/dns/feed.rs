//! Keeping the zone as the store is, through the session that every part of Skein uses: it survives restarts of the
//! store, and while the store is away names are answered from what is known.

use std::sync::PoisonError;

use anyhow::Result;
use skein_store_client::{Change, Session, SessionConfig, SyncEvent};
use skein_store_schema::StoreKey;
use skein_store_schema::kinds::service::ServiceKey;
use skein_store_schema::kinds::slice::SliceKey;

use super::Shared;
use super::zone::Zone;

/// Follows the store for ever.
///
/// # Errors
/// The URL is not one.
pub(super) async fn follow(url: String, zone: Shared) -> Result<()> {
    let session = Session::new(SessionConfig::new([url]))?;
    let ranges = vec![ServiceKey::range(), SliceKey::range()];
    let mut stream = session.watch_ranges(ranges, None)?;
    while let Some(event) = stream.next().await {
        apply(&mut zone.lock().unwrap_or_else(PoisonError::into_inner), event);
    }
    Ok(())
}

fn apply(zone: &mut Zone, event: SyncEvent) {
    match event {
        SyncEvent::Begin(snapshot) => {
            *zone = Zone::default();
            for entry in snapshot.entries {
                set(zone, &entry.key, Some(&entry.value));
            }
        }
        SyncEvent::Changes(changes) => {
            for change in changes {
                match change {
                    Change::Put(entry) => set(zone, &entry.key, Some(&entry.value)),
                    Change::Delete { key, .. } => set(zone, &key, None),
                }
            }
        }
        SyncEvent::Lost { reason } => eprintln!("store: {reason}"),
        SyncEvent::InSync { .. } | SyncEvent::Progress { .. } | SyncEvent::Reset { .. } => {}
    }
}

/// Values that cannot be read change nothing here; the control plane and the agents report them.
fn set(zone: &mut Zone, key: &[u8], value: Option<&[u8]>) {
    if let Ok(service) = ServiceKey::decode(key) {
        match value.map(|value| ServiceKey::decode_entry(key, value)) {
            None => zone.service(service, None),
            Some(Ok((_, read))) => zone.service(service, Some(read)),
            Some(Err(_)) => {}
        }
    } else if let Ok(slice) = SliceKey::decode(key) {
        match value.map(|value| SliceKey::decode_entry(key, value)) {
            None => zone.slice(slice, None),
            Some(Ok((_, read))) => zone.slice(slice, Some(read)),
            Some(Err(_)) => {}
        }
    }
}
