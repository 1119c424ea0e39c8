//! `alarm`, `compaction`, `defrag`, `move-leader`.

use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use skein_store_client::{Alarm, AlarmKind, Session};

use super::endpoint::scoped;
use crate::args::{AlarmCommand, CompactionArgs, Format, Scope};
use crate::failure;
use crate::output::{self, Row};

#[derive(Debug, Serialize)]
struct AlarmLine {
    member: String,
    alarm: &'static str,
}

impl AlarmLine {
    fn of(alarm: &Alarm) -> Self {
        Self { member: format!("{:x}", alarm.member_id), alarm: alarm_word(alarm.kind) }
    }
}

impl Row for AlarmLine {
    const HEADERS: &'static [&'static str] = &["MEMBER", "ALARM"];

    fn cells(&self) -> Vec<String> {
        vec![self.member.clone(), self.alarm.to_owned()]
    }
}

/// etcd's word for an alarm.
pub(crate) fn alarm_word(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    }
}

pub(crate) async fn alarm(
    session: &Session,
    format: Format,
    command: AlarmCommand,
) -> anyhow::Result<()> {
    let mut alarms = session.alarms().await?;
    alarms.sort_unstable();
    let lines: Vec<_> = alarms.iter().map(AlarmLine::of).collect();
    match command {
        AlarmCommand::List => Ok(output::items(format, &lines)?),
        AlarmCommand::Disarm => {
            for alarm in &alarms {
                let disarmed = session.disarm(*alarm).await;
                disarmed.with_context(|| format!("member {:x}", alarm.member_id))?;
            }
            let words = format!("{} disarmed", output::counted(lines.len(), "alarm", "alarms"));
            Ok(output::answer(format, &json!({ "disarmed": lines }), &words)?)
        }
    }
}

pub(crate) async fn compact(
    session: &Session,
    format: Format,
    args: &CompactionArgs,
) -> anyhow::Result<()> {
    let revision = args.revision;
    let outcome = match args.physical {
        true => session.compact_physically(revision).await,
        false => session.compact(revision).await,
    };
    outcome.with_context(|| format!("revision {revision}"))?;
    let words = format!("history before revision {revision} dropped");
    Ok(output::answer(format, &json!({ "compacted": revision }), &words)?)
}

#[derive(Debug, Serialize)]
struct DefragLine {
    endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Row for DefragLine {
    const HEADERS: &'static [&'static str] = &["ENDPOINT", "TOOK", "ERROR"];

    fn cells(&self) -> Vec<String> {
        let took = self.took_ms.map(|took| format!("{took} ms"));
        vec![
            self.endpoint.clone(),
            took.unwrap_or_default(),
            self.error.clone().unwrap_or_default(),
        ]
    }
}

pub(crate) async fn defrag(
    session: &Session,
    format: Format,
    scope: Scope,
) -> anyhow::Result<ExitCode> {
    let answers = scoped(session, scope).await?.defragment_each().await;
    let lines: Vec<_> = answers
        .into_iter()
        .map(|(endpoint, answer)| {
            let took_ms = answer.as_ref().ok().map(std::time::Duration::as_millis);
            DefragLine { endpoint, took_ms, error: answer.err().map(|error| error.to_string()) }
        })
        .collect();
    output::items(format, &lines)?;
    let failed = lines.iter().any(|line| line.error.is_some());
    Ok(ExitCode::from(if failed { failure::PROBLEMS } else { 0 }))
}

pub(crate) async fn move_leader(session: &Session, format: Format, id: u64) -> anyhow::Result<()> {
    let session = session.of_all_members().await?;
    let former = session.move_leader(id).await.with_context(|| format!("member {id:x}"))?;
    let words = format!("leadership moved from {former:x} to {id:x}");
    let object = json!({"from": format!("{former:x}"), "to": format!("{id:x}")});
    Ok(output::answer(format, &object, &words)?)
}
