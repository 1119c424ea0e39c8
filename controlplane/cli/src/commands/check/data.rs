//! `check data`: whether all members hold the same.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use skein_store_client::{ClientError, KeyRange, KvHash, Session};
use tokio::time::Instant;

use super::verdict::{self, Verdict};
use crate::args::{Format, Global};
use crate::commands::compare::{self, Counts, Side};
use crate::failure;
use crate::output::{self, Row};

/// Between two rounds of asking, while a member is behind or compacting.
const ASK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, Serialize)]
struct MemberLine {
    endpoint: String,
    member: String,
    hash: u32,
    compact_revision: i64,
    same: bool,
}

impl Row for MemberLine {
    const HEADERS: &'static [&'static str] =
        &["ENDPOINT", "MEMBER", "HASH", "COMPACTED AT", "VERDICT"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.endpoint.clone(),
            self.member.clone(),
            self.hash.to_string(),
            self.compact_revision.to_string(),
            if self.same { "same" } else { "DIFFERS" }.to_owned(),
        ]
    }
}

/// How the keys of a member that differs compare with those of one that does not.
#[derive(Debug, Serialize)]
struct Finding {
    endpoint: String,
    compared_with: String,
    counts: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_key: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    revision: i64,
    same: bool,
    /// Whether more than half agree, so that the rest is wrong.
    majority: bool,
    items: Vec<MemberLine>,
    findings: Vec<Finding>,
}

pub(super) async fn check(
    session: &Session,
    global: &Global,
    only_endpoints: bool,
) -> anyhow::Result<ExitCode> {
    let session = if only_endpoints { session.clone() } else { session.of_all_members().await? };
    let revision = session.header().await?.1;
    let (hashes, verdict) = ask_all(&session, revision, global.timeout).await?;
    let (reference, outliers, majority) = match verdict {
        Verdict::Differ { reference, outliers, majority } => (reference, outliers, majority),
        _ => (0, Vec::new(), true),
    };
    let endpoints = session.endpoints();
    let mut findings = Vec::new();
    for &outlier in &outliers {
        let pair = (endpoints[reference].as_str(), endpoints[outlier].as_str());
        findings.push(look_closer(&session, pair, revision).await?);
    }
    let line = |(at, hash): (usize, &KvHash)| MemberLine {
        endpoint: endpoints[at].clone(),
        member: format!("{:x}", hash.member_id),
        hash: hash.hash,
        compact_revision: hash.compact_revision,
        same: !outliers.contains(&at),
    };
    let items: Vec<_> = hashes.iter().enumerate().map(line).collect();
    let report = Report { revision, same: outliers.is_empty(), majority, items, findings };
    match global.output {
        Format::Json => output::json(&report)?,
        Format::Table => output::text(&words(&report))?,
    }
    Ok(ExitCode::from(if report.same { 0 } else { failure::PROBLEMS }))
}

/// The hashes of all members at one revision, once every member has that revision and none is compacting.
async fn ask_all(
    session: &Session,
    revision: i64,
    patience: Duration,
) -> anyhow::Result<(Vec<KvHash>, Verdict)> {
    let deadline = Instant::now() + patience;
    loop {
        let mut hashes = Vec::new();
        let mut behind = None;
        for (endpoint, answer) in session.endpoint_hashes(revision).await {
            match answer {
                Ok(hash) => hashes.push(hash),
                Err(error) if is_behind(&error) => behind = Some(endpoint),
                Err(error) => return Err(error).context(format!("endpoint {endpoint}")),
            }
        }
        match (behind, verdict::judge(&hashes)) {
            (None, Verdict::Strangers) => {
                bail!("the endpoints belong to different stores; compare those by diff")
            }
            (Some(endpoint), _) if Instant::now() >= deadline => {
                bail!("endpoint {endpoint} has not reached revision {revision} (--timeout)")
            }
            (None, Verdict::Incomparable) if Instant::now() >= deadline => {
                bail!("the members are compacted at different revisions (--timeout)")
            }
            (Some(_), _) | (None, Verdict::Incomparable) => tokio::time::sleep(ASK_AGAIN).await,
            (None, verdict) => return Ok((hashes, verdict)),
        }
    }
}

/// Whether a member does not know the revision yet.
fn is_behind(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { reason, .. } if reason.contains("future revision"))
}

/// Compares what two members hold now, asking each for itself.
async fn look_closer(
    session: &Session,
    (good, other): (&str, &str),
    revision: i64,
) -> anyhow::Result<Finding> {
    let side = |endpoint| {
        let all = KeyRange::prefix("");
        session.with_endpoint(endpoint).map(|session| Side::of_member(session, all, revision))
    };
    let (mut a, mut b) = (side(good)?, side(other)?);
    let (mut first_key, mut last_key) = (None, None);
    let counts = compare::compare(&mut a, &mut b, |difference| {
        let key = String::from_utf8_lossy(difference.key()).into_owned();
        first_key.get_or_insert_with(|| key.clone());
        last_key = Some(key);
    })
    .await
    .with_context(|| format!("comparing the keys of {good} and {other}"))?;
    let (endpoint, compared_with) = (other.to_owned(), good.to_owned());
    Ok(Finding { endpoint, compared_with, counts, first_key, last_key })
}

fn words(report: &Report) -> String {
    let mut text = output::table(&report.items);
    if report.same {
        let members = output::counted(report.items.len(), "member holds", "members hold");
        text.push_str(&format!("{members} the same (at revision {})\n", report.revision));
        return text;
    }
    for finding in &report.findings {
        text.push_str(&finding_words(finding));
    }
    if !report.majority {
        text.push_str("No more than half agree, so the hashes do not say which member is right.\n");
    }
    text.push_str(&format!("The members differ (at revision {})\n", report.revision));
    text
}

fn finding_words(finding: &Finding) -> String {
    let Finding { endpoint, compared_with, counts, .. } = finding;
    let (Some(first), Some(last)) = (&finding.first_key, &finding.last_key) else {
        return format!(
            "{endpoint} holds the same {} as {compared_with} now; its history differs\n",
            output::counted(usize::try_from(counts.equal).unwrap_or(usize::MAX), "key", "keys")
        );
    };
    format!(
        "{endpoint} against {compared_with}: {} different, {} missing, {} too many, {} equal; \
         first {first:?}, last {last:?}\n",
        counts.different, counts.only_a, counts.only_b, counts.equal
    )
}
