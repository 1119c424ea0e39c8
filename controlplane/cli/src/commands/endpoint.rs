//! `endpoint`: status, health, hashkv of single members.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use skein_store_client::{AlarmKind, ByEndpoint, EndpointStatus, KvHash, Session};

use super::maintenance::alarm_word;
use crate::args::{EndpointCommand, Format, Scope};
use crate::failure;
use crate::output::{self, Row};

/// What an endpoint answered, or why it did not.
#[derive(Debug, Serialize)]
struct Line<T> {
    endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    answer: Option<T>,
}

/// The cells behind the endpoint and before the error.
trait Answer: Serialize {
    const HEADERS: &'static [&'static str];
    fn cells(&self) -> Vec<String>;
}

impl<T: Answer> Row for Line<T> {
    const HEADERS: &'static [&'static str] = T::HEADERS;

    fn cells(&self) -> Vec<String> {
        // The headers count the endpoint before the answer and the error behind it.
        let nothing = || vec![String::new(); T::HEADERS.len() - 2];
        let mut cells = vec![self.endpoint.clone()];
        cells.extend(self.answer.as_ref().map_or_else(nothing, T::cells));
        cells.push(self.error.clone().unwrap_or_default());
        cells
    }
}

#[derive(Debug, Serialize)]
struct Status {
    member: String,
    version: String,
    storage_version: String,
    db_size_bytes: i64,
    db_size_in_use_bytes: i64,
    db_size_quota_bytes: i64,
    is_leader: bool,
    leader: String,
    is_learner: bool,
    revision: i64,
    raft_term: u64,
    raft_index: u64,
    raft_applied_index: u64,
    errors: Vec<String>,
}

impl Status {
    fn of(status: EndpointStatus) -> Self {
        Self {
            member: format!("{:x}", status.member_id),
            is_leader: status.leader == status.member_id,
            leader: format!("{:x}", status.leader),
            version: status.version,
            storage_version: status.storage_version,
            db_size_bytes: status.db_size,
            db_size_in_use_bytes: status.db_size_in_use,
            db_size_quota_bytes: status.db_size_quota,
            is_learner: status.is_learner,
            revision: status.revision,
            raft_term: status.raft_term,
            raft_index: status.raft_index,
            raft_applied_index: status.raft_applied_index,
            errors: status.errors,
        }
    }

    fn role(&self) -> &'static str {
        match (self.is_leader, self.is_learner, self.leader.as_str()) {
            (true, _, _) => "leader",
            (false, _, "0") => "no leader",
            (false, true, _) => "learner",
            (false, false, _) => "follower",
        }
    }
}

impl Answer for Status {
    const HEADERS: &'static [&'static str] = &[
        "ENDPOINT", "MEMBER", "VERSION", "ROLE", "SIZE", "IN USE", "REVISION", "TERM", "INDEX",
        "APPLIED", "ERROR",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.member.clone(),
            self.version.clone(),
            self.role().to_owned(),
            output::bytes(self.db_size_bytes),
            output::bytes(self.db_size_in_use_bytes),
            self.revision.to_string(),
            self.raft_term.to_string(),
            self.raft_index.to_string(),
            self.raft_applied_index.to_string(),
        ]
    }
}

#[derive(Debug, Serialize)]
struct Health {
    healthy: bool,
    took_ms: f64,
}

impl Answer for Health {
    const HEADERS: &'static [&'static str] = &["ENDPOINT", "HEALTHY", "TOOK", "ERROR"];

    fn cells(&self) -> Vec<String> {
        let word = if self.healthy { "yes" } else { "no" };
        vec![word.to_owned(), format!("{:.1} ms", self.took_ms)]
    }
}

#[derive(Debug, Serialize)]
struct Hash {
    member: String,
    hash: u32,
    hash_revision: i64,
    compact_revision: i64,
}

impl Hash {
    fn of(hash: KvHash) -> Self {
        Self {
            member: format!("{:x}", hash.member_id),
            hash: hash.hash,
            hash_revision: hash.hash_revision,
            compact_revision: hash.compact_revision,
        }
    }
}

impl Answer for Hash {
    const HEADERS: &'static [&'static str] =
        &["ENDPOINT", "MEMBER", "HASH", "UP TO REVISION", "COMPACTED AT", "ERROR"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.member.clone(),
            self.hash.to_string(),
            self.hash_revision.to_string(),
            self.compact_revision.to_string(),
        ]
    }
}

/// The session to ask: the given endpoints, or every member.
pub(crate) async fn scoped(session: &Session, scope: Scope) -> anyhow::Result<Session> {
    Ok(if scope.cluster { session.of_all_members().await? } else { session.clone() })
}

pub(crate) async fn run(
    session: &Session,
    format: Format,
    command: EndpointCommand,
) -> anyhow::Result<ExitCode> {
    match command {
        EndpointCommand::Status { scope } => {
            let answers = scoped(session, scope).await?.endpoint_statuses().await;
            let mut lines = lines(answers, Status::of);
            for line in &mut lines {
                line.error = line.error.take().or_else(|| told(line.answer.as_ref()?));
            }
            show(format, &lines)
        }
        EndpointCommand::Health { scope } => {
            let session = scoped(session, scope).await?;
            show(format, &health(&session).await)
        }
        EndpointCommand::Hashkv { scope, rev } => {
            let answers = scoped(session, scope).await?.endpoint_hashes(rev).await;
            show(format, &lines(answers, Hash::of))
        }
    }
}

/// What a member says against itself.
fn told(status: &Status) -> Option<String> {
    Some(status.errors.join("; ")).filter(|errors| !errors.is_empty())
}

async fn health(session: &Session) -> Vec<Line<Health>> {
    let milliseconds = |took: Duration| took.as_secs_f64() * 1e3;
    let answers = session.endpoint_healths().await;
    let mut lines = lines(answers, |took| Health { healthy: true, took_ms: milliseconds(took) });
    // Without rights to see alarms, or without a majority, the reads above have said what there is to say.
    let alarms = session.alarms().await.unwrap_or_default();
    let words = |kind: AlarmKind, id: u64| format!("alarm {} of member {id:x}", alarm_word(kind));
    let alarms: Vec<_> = alarms.iter().map(|alarm| words(alarm.kind, alarm.member_id)).collect();
    for line in lines.iter_mut().filter(|_| !alarms.is_empty()) {
        if let Some(answer) = &mut line.answer {
            answer.healthy = false;
            line.error = Some(alarms.join("; "));
        }
    }
    lines
}

fn lines<A, T>(answers: ByEndpoint<A>, of: impl Fn(A) -> T) -> Vec<Line<T>> {
    let line = |(endpoint, answer)| match answer {
        Ok(answer) => Line { endpoint, error: None, answer: Some(of(answer)) },
        Err(error) => {
            let error: skein_store_client::ClientError = error;
            Line { endpoint, error: Some(error.to_string()), answer: None }
        }
    };
    answers.into_iter().map(line).collect()
}

fn show<T: Answer>(format: Format, lines: &[Line<T>]) -> anyhow::Result<ExitCode> {
    output::items(format, lines)?;
    Ok(if lines.iter().all(|line| line.error.is_none()) {
        ExitCode::SUCCESS
    } else if lines.iter().any(|line| line.answer.is_some()) {
        ExitCode::from(failure::PROBLEMS)
    } else {
        ExitCode::from(failure::UNREACHABLE)
    })
}
