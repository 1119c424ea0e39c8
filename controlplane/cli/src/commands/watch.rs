//! `watch`: changes as they come.

use anyhow::bail;
use serde_json::json;
use skein_store_client::{Change, Entry, ResumePoint, Session, SyncEvent};

use super::keys::{KeyLine, range_of};
use crate::args::{Format, WatchArgs};
use crate::output;

pub(crate) async fn follow(
    session: &Session,
    format: Format,
    args: &WatchArgs,
) -> anyhow::Result<()> {
    let range = range_of(&args.key, args.prefix)?;
    let resume = match args.rev {
        Some(revision) => {
            let (cluster_id, now) = session.header().await?;
            if revision > now + 1 {
                bail!("revision {revision} is in the future; the store is at {now}");
            }
            Some(ResumePoint { cluster_id, revision: revision - 1 })
        }
        // Fails now, with the reason, when the store cannot be reached at all.
        None => session.header().await.map(|_| None)?,
    };
    let mut watch = session.watch_ranges(vec![range], resume)?;
    let mut printer = Printer { format, left: args.count.unwrap_or(u64::MAX) };
    let (mut begun, mut lost) = (false, false);
    while printer.left > 0 {
        let Some(event) = watch.next().await else { bail!("the watch has ended") };
        match event {
            SyncEvent::Begin(snapshot) => {
                if let (Some(revision), false) = (args.rev, begun) {
                    bail!("revision {revision} has been compacted");
                }
                if begun {
                    eprintln!("skeinctl: history was compacted meanwhile; this is what is there");
                }
                if begun || args.initial {
                    printer.entries(&snapshot.entries)?;
                }
                begun = true;
            }
            SyncEvent::Changes(changes) => {
                begun = true;
                printer.changes(&changes)?;
            }
            SyncEvent::Lost { reason } => {
                lost = true;
                eprintln!("skeinctl: the store is away: {reason}");
            }
            SyncEvent::InSync { revision } if lost => {
                lost = false;
                eprintln!("skeinctl: the store is back at revision {revision}");
            }
            SyncEvent::Reset { reason } => eprintln!("skeinctl: {reason}"),
            SyncEvent::InSync { .. } | SyncEvent::Progress { .. } => {}
        }
    }
    Ok(())
}

struct Printer {
    format: Format,
    left: u64,
}

impl Printer {
    fn entries(&mut self, entries: &[Entry]) -> anyhow::Result<()> {
        entries.iter().try_for_each(|entry| self.put("IS", entry))
    }

    fn changes(&mut self, changes: &[Change]) -> anyhow::Result<()> {
        for change in changes {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            match change {
                Change::Put(entry) => self.put("PUT", entry)?,
                Change::Delete { key, mod_revision } => self.delete(key, *mod_revision)?,
            }
        }
        Ok(())
    }

    fn put(&self, what: &'static str, entry: &Entry) -> anyhow::Result<()> {
        let line = KeyLine::of(entry, false);
        let mut object = serde_json::to_value(&line)?;
        object["type"] = what.into();
        let words = format!("{what:<3} {} {} {}", line.mod_revision, line.key, line.value_line());
        Ok(output::answer(self.format, &object, &words)?)
    }

    fn delete(&self, key: &[u8], revision: i64) -> anyhow::Result<()> {
        let key = String::from_utf8_lossy(key);
        let object = json!({"type": "DELETE", "key": key, "mod_revision": revision});
        Ok(output::answer(self.format, &object, &format!("DEL {revision} {key}"))?)
    }
}
