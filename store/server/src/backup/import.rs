//! From a file to the machine.

use bytes::Bytes;
use prost::Message;
use skein_store_api::pb::authpb::{Role, User};
use skein_store_api::pb::mvccpb::KeyValue;
use skein_store_bolt::{Bucket, Entry};
use skein_store_mvcc::{AuthChunk, Machine, MachineConfig, Rebuild, Record, RecordedChange};

use super::buckets::{self, LeaseValue, RevisionKey};
use super::file::{SnapshotFile, hex};
use super::{BackupError, RestoreConfig};

/// The machine that the file holds, with etcd's changes of the revision that `config` asks for, as
/// of `applied_index` of a log to come.
///
/// # Errors
/// The file is damaged.
pub(super) fn read(
    file: &SnapshotFile,
    config: &RestoreConfig,
    applied_index: u64,
) -> Result<Machine, BackupError> {
    let all = file.bolt.buckets().map_err(file.structure())?;
    let reader = Reader { file, buckets: &all };
    let mut rebuild = Rebuild::default();
    reader.auth(&mut rebuild)?;
    let latest = reader.history(&mut rebuild)?;
    reader.leases(&mut rebuild)?;
    let finished = reader.compaction(buckets::FINISHED_COMPACT)?;
    let scheduled = reader.compaction(buckets::SCHEDULED_COMPACT)?;
    let compacted = finished.max(scheduled);
    let (revision, compacted) = bumped(latest, compacted, config.bump_revision)?;
    rebuild
        .finish(revision, compacted, applied_index, &MachineConfig::default())
        .map_err(|source| BackupError::History { path: file.path().to_owned(), source })
}

/// With a bump, nothing older than the new revision can be read any more: a watcher that saw
/// revisions which the snapshot does not have is told so instead of being left with its past.
fn bumped(latest: i64, compacted: i64, bump: u64) -> Result<(i64, i64), BackupError> {
    if bump == 0 {
        return Ok((latest, compacted));
    }
    let revision = latest.checked_add_unsigned(bump);
    let revision = revision.ok_or(BackupError::BumpTooFar { latest, bump })?;
    Ok((revision, compacted.max(revision)))
}

struct Reader<'a> {
    file: &'a SnapshotFile,
    buckets: &'a [Bucket],
}

impl Reader<'_> {
    /// Calls `each` with every entry of a bucket; a bucket that is not there is empty.
    fn each(
        &self,
        bucket: &str,
        mut each: impl FnMut(Entry) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let structure = self.file.structure();
        let Some(found) = self.buckets.iter().find(|found| found.name == bucket) else {
            return Ok(());
        };
        for entry in self.file.bolt.entries(found).map_err(&structure)? {
            each(entry.map_err(&structure)?)?;
        }
        Ok(())
    }

    fn value(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, BackupError> {
        let mut value = None;
        self.each(bucket, |entry| {
            if entry.key == key {
                value = Some(entry.value);
            }
            Ok(())
        })?;
        Ok(value)
    }

    /// Users and roles. (Members are new ones in every restored cluster, and alarms were theirs.)
    fn auth(&self, rebuild: &mut Rebuild) -> Result<(), BackupError> {
        let enabled = self.value(buckets::AUTH, buckets::AUTH_ENABLED)?;
        let enabled = enabled.is_some_and(|value| *value == [1]);
        let revision = match self.value(buckets::AUTH, buckets::AUTH_REVISION)? {
            None => return Ok(()),
            Some(value) => value.as_ref().try_into().map(u64::from_be_bytes).map_err(|_| {
                self.wrong(buckets::AUTH, buckets::AUTH_REVISION.as_bytes(), "not a revision")
            })?,
        };
        let (mut users, mut roles) = (Vec::new(), Vec::new());
        self.each(buckets::AUTH_USERS, |entry| {
            let wrong = |_| self.wrong(buckets::AUTH_USERS, &entry.key, "not a user");
            users.push(User::decode(entry.value.clone()).map_err(wrong)?);
            Ok(())
        })?;
        self.each(buckets::AUTH_ROLES, |entry| {
            let wrong = |_| self.wrong(buckets::AUTH_ROLES, &entry.key, "not a role");
            roles.push(Role::decode(entry.value.clone()).map_err(wrong)?);
            Ok(())
        })?;
        rebuild
            .auth(AuthChunk { enabled, revision, users, roles })
            .map_err(|source| BackupError::History { path: self.file.path().to_owned(), source })
    }

    /// Reads the history; the newest revision in it, or 0.
    fn history(&self, rebuild: &mut Rebuild) -> Result<i64, BackupError> {
        let mut latest = 0;
        self.each(buckets::KEY, |entry| {
            let wrong = |what| self.wrong(buckets::KEY, &entry.key, what);
            let revision = RevisionKey::decode(&entry.key).ok_or(wrong("not a revision"))?;
            latest = revision.main;
            // An earlier restore with a bump left its revision here, with nothing in it.
            if entry.value.is_empty() {
                return Ok(());
            }
            let change = match revision.tombstone {
                false => RecordedChange::Put(entry.value.clone()),
                true => {
                    let kv = KeyValue::decode(entry.value.clone());
                    RecordedChange::Delete(kv.map_err(|_| wrong("not a KeyValue"))?.key)
                }
            };
            let RevisionKey { main, sub, .. } = revision;
            let path = || self.file.path().to_owned();
            rebuild
                .record(Record { main, sub, change })
                .map_err(|source| BackupError::History { path: path(), source })
        })?;
        Ok(latest)
    }

    fn leases(&self, rebuild: &mut Rebuild) -> Result<(), BackupError> {
        self.each(buckets::LEASE, |entry| {
            let wrong = |what| self.wrong(buckets::LEASE, &entry.key, what);
            let lease = LeaseValue::decode(entry.value.clone());
            let lease = lease.map_err(|_| wrong("not a lease"))?;
            if *entry.key != lease.id.to_be_bytes() {
                return Err(wrong("the lease has another id than its key"));
            }
            let path = || self.file.path().to_owned();
            rebuild
                .lease(lease.id, lease.ttl_seconds)
                .map_err(|source| BackupError::History { path: path(), source })
        })
    }

    /// The revision of a compaction, -1 when there was none.
    fn compaction(&self, key: &str) -> Result<i64, BackupError> {
        let Some(value) = self.value(buckets::META, key)? else { return Ok(-1) };
        let revision = RevisionKey::decode(&value);
        let revision = revision.filter(|revision| !revision.tombstone && revision.main >= 0);
        let wrong = || self.wrong(buckets::META, key.as_bytes(), "not a revision");
        revision.map(|revision| revision.main).ok_or_else(wrong)
    }

    fn wrong(&self, bucket: &'static str, key: &[u8], what: &'static str) -> BackupError {
        let printable = std::str::from_utf8(key).ok();
        let printable = printable.filter(|text| text.chars().all(|c| c.is_ascii_graphic()));
        let key = printable.map_or_else(|| hex(key), str::to_owned);
        BackupError::Record { path: self.file.path().to_owned(), bucket, key, what }
    }
}
