//! `get`, `put`, `del`: keys as they are stored.

use std::io::{Read, Write};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::{Value, json};
use skein_store_client::{Entry, KeyRange, Page, RangeRequest, Session};
use skein_store_schema::{LeaseId, describe};

use crate::args::{DelArgs, Format, GetArgs, PutArgs};
use crate::failure::NotFound;
use crate::output::{self, Row};

/// A key as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct KeyLine {
    pub(crate) key: String,
    /// The kind that the schema knows the key as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<&'static str>,
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<String>,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) value: Value,
    /// Why the value is not what its key demands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) invalid: Option<String>,
}

impl KeyLine {
    pub(crate) fn of(entry: &Entry, keys_only: bool) -> Self {
        let (kind, value, invalid) = if keys_only {
            let key = skein_store_schema::Key::decode(&entry.key).ok();
            (key.map(|key| key.doc().kind), Value::Null, None)
        } else {
            decoded(&entry.key, &entry.value)
        };
        Self {
            key: String::from_utf8_lossy(&entry.key).into_owned(),
            kind,
            create_revision: entry.create_revision,
            mod_revision: entry.mod_revision,
            version: entry.version,
            lease: LeaseId::new(entry.lease).map(|lease| lease.to_string()),
            value,
            invalid,
        }
    }

    /// The value on one line.
    pub(crate) fn value_line(&self) -> String {
        let value = match &self.value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        match &self.invalid {
            Some(reason) => format!("INVALID ({reason}) {value}"),
            None => value,
        }
    }
}

/// A stored pair as its kind sees it; what is of no kind as JSON or text.
fn decoded(key: &[u8], value: &[u8]) -> (Option<&'static str>, Value, Option<String>) {
    let plain = || Value::String(String::from_utf8_lossy(value).into_owned());
    match describe(key, value) {
        Ok(described) => (Some(described.key.doc().kind), described.value, None),
        Err(error) if error.is_other_kind() => {
            (None, serde_json::from_slice(value).unwrap_or_else(|_| plain()), None)
        }
        Err(error) => (None, plain(), Some(error.to_string())),
    }
}

impl Row for KeyLine {
    const HEADERS: &'static [&'static str] = &["KEY", "REVISION", "VALUE"];

    fn cells(&self) -> Vec<String> {
        vec![self.key.clone(), self.mod_revision.to_string(), self.value_line()]
    }
}

pub(crate) fn range_of(key: &str, prefix: bool) -> anyhow::Result<KeyRange> {
    match (key.is_empty(), prefix) {
        (true, false) => bail!("the key is empty; with --prefix that means every key"),
        (_, true) => Ok(KeyRange::prefix(key)),
        (false, false) => Ok(KeyRange::single(key)),
    }
}

pub(crate) async fn get(session: &Session, format: Format, args: &GetArgs) -> anyhow::Result<()> {
    let range = range_of(&args.key, args.prefix)?;
    let page = read(session, &range, args).await?;
    if args.count_only {
        let (revision, count) = (page.revision, page.count);
        let words = format!("{} at revision {revision}", keys(count));
        let object = json!({"revision": revision, "count": count});
        return Ok(output::answer(format, &object, &words)?);
    }
    if !args.prefix && page.entries.is_empty() {
        let at = page.revision;
        return Err(NotFound(format!("key {:?} does not exist at revision {at}", args.key)).into());
    }
    if args.value_only {
        let mut out = std::io::stdout().lock();
        for entry in &page.entries {
            out.write_all(&entry.value)?;
            out.write_all(b"\n")?;
        }
        return Ok(());
    }
    let lines: Vec<_> =
        page.entries.iter().map(|entry| KeyLine::of(entry, args.keys_only)).collect();
    match (format, &lines[..]) {
        (Format::Table, [line]) if !args.prefix => output::text(&whole(line, page.revision))?,
        _ => output::listing(format, page.revision, &lines)?,
    }
    if page.more {
        eprintln!("skeinctl: {} more keys are not shown (--limit)", page.count - args.limit);
    }
    Ok(())
}

/// Reads in pages what has no limit, and by one request what has.
async fn read(session: &Session, range: &KeyRange, args: &GetArgs) -> anyhow::Result<Page> {
    let request = RangeRequest {
        revision: args.rev,
        limit: args.limit,
        keys_only: args.keys_only,
        count_only: args.count_only,
        serializable: false,
    };
    if args.prefix && request == RangeRequest::default() {
        let all = session.range(range).await?;
        let (cluster_id, revision) = (all.cluster_id, all.revision);
        let (count, entries) = (all.entries.len() as i64, all.entries);
        return Ok(Page { cluster_id, revision, entries, count, more: false });
    }
    let mut page = session.page(range, request).await?;
    if args.rev > 0 {
        page.revision = args.rev;
    }
    Ok(page)
}

/// A single key with everything about it.
fn whole(line: &KeyLine, revision: i64) -> String {
    let mut text = format!("{}\n", line.key);
    let kind = line.kind.map(|kind| format!("{kind}, ")).unwrap_or_default();
    let lease = line.lease.as_ref().map(|lease| format!(", lease {lease}")).unwrap_or_default();
    text.push_str(&format!(
        "  {kind}created at revision {}, changed at {} (version {}){lease}\n",
        line.create_revision, line.mod_revision, line.version
    ));
    let value = match &line.value {
        Value::String(value) => value.clone(),
        value => serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()),
    };
    if let Some(reason) = &line.invalid {
        text.push_str(&format!("  INVALID: {reason}\n"));
    }
    text.push_str(&format!("{value}\n(at revision {revision})\n"));
    text
}

pub(crate) async fn put(session: &Session, format: Format, args: PutArgs) -> anyhow::Result<()> {
    let value = match args.value.as_str() {
        "-" => {
            let mut value = Vec::new();
            std::io::stdin().lock().read_to_end(&mut value).context("standard input")?;
            value
        }
        text => text.as_bytes().to_vec(),
    };
    if let Err(error) = describe(args.key.as_bytes(), &value)
        && !error.is_other_kind()
        && !args.force
    {
        bail!("{error} (--force writes it all the same)");
    }
    let revision = session.put(args.key, value, args.lease).await?;
    let words = format!("written at revision {revision}");
    Ok(output::answer(format, &json!({ "revision": revision }), &words)?)
}

pub(crate) async fn delete(
    session: &Session,
    format: Format,
    args: &DelArgs,
) -> anyhow::Result<()> {
    let range = range_of(&args.key, args.prefix)?;
    let deleted = session.delete_range(&range).await?;
    let (revision, count) = (deleted.revision, deleted.value);
    if count == 0 {
        return Err(NotFound(format!("nothing to delete at {:?}", args.key)).into());
    }
    let words = format!("{} deleted at revision {revision}", keys(count));
    Ok(output::answer(format, &json!({"revision": revision, "deleted": count}), &words)?)
}

fn keys(count: i64) -> String {
    output::counted(usize::try_from(count).unwrap_or(0), "key", "keys")
}
