//! `status`: the cluster at a glance.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use skein_store_client::{ClientError, EndpointStatus, Session};

use crate::args::Format;
use crate::failure::PROBLEMS;
use crate::output;
use crate::overview::Overview;
use crate::view::{View, all_ranges};

/// Problems shown in the table; all are in the JSON.
const PROBLEMS_SHOWN_MAX: usize = 20;

/// One member of the store, asked directly.
#[derive(Debug, Serialize)]
struct StoreLine {
    endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    member: String,
    is_leader: bool,
    version: String,
    revision: i64,
    db_size_bytes: i64,
    errors: Vec<String>,
}

impl StoreLine {
    fn of(endpoint: String, answer: Result<EndpointStatus, ClientError>) -> Self {
        let mut line = Self {
            endpoint,
            error: None,
            member: String::new(),
            is_leader: false,
            version: String::new(),
            revision: 0,
            db_size_bytes: 0,
            errors: Vec::new(),
        };
        match answer {
            Err(error) => line.error = Some(error.to_string()),
            Ok(status) => {
                line.member = format!("{:x}", status.member_id);
                line.is_leader = status.leader == status.member_id;
                line.version = status.version;
                line.revision = status.revision;
                line.db_size_bytes = status.db_size;
                line.errors = status.errors;
            }
        }
        line
    }

    fn problems(&self) -> Vec<String> {
        let told = self.error.iter().chain(&self.errors);
        told.map(|error| format!("store {}: {error}", self.endpoint)).collect()
    }
}

#[derive(Debug, Serialize)]
struct Status {
    cluster_id: String,
    store: Vec<StoreLine>,
    #[serde(flatten)]
    overview: Overview,
}

pub(crate) async fn show(
    session: &Session,
    format: Format,
    check: bool,
) -> anyhow::Result<ExitCode> {
    let view = View::read(session, &all_ranges()).await?;
    let answers = session.endpoint_statuses().await;
    let store: Vec<_> =
        answers.into_iter().map(|(endpoint, answer)| StoreLine::of(endpoint, answer)).collect();
    let mut overview = Overview::of(&view, now_unix_ms());
    overview.problems.splice(0..0, store.iter().flat_map(StoreLine::problems));
    let status = Status { cluster_id: format!("{:x}", view.cluster_id), store, overview };
    match format {
        Format::Json => output::json(&status)?,
        Format::Table => output::text(&words(&status))?,
    }
    let failed = check && !status.overview.problems.is_empty();
    Ok(ExitCode::from(if failed { PROBLEMS } else { 0 }))
}

pub(crate) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The status in lines of a label and what there is to say.
fn words(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |label: &str, what: String| {
        let _ = writeln!(text, "{label:<15}{what}");
    };
    for (index, store) in status.store.iter().enumerate() {
        line(if index == 0 { "Store:" } else { "" }, store_words(store));
    }
    let overview = &status.overview;
    let elected = overview
        .control_plane
        .as_deref()
        .map_or_else(|| "none elected".to_owned(), |holder| format!("{holder} elected"));
    line("Control plane:", elected);
    let alive = overview.nodes.iter().filter(|node| node.agent != "away").count();
    line("Nodes:", format!("{}/{} with a living agent", alive, overview.nodes.len()));
    let counts = &overview.counts;
    line(
        "Services:",
        format!(
            "{}, {}/{} backends ready",
            counts.services, counts.backends_ready, counts.backends
        ),
    );
    line(
        "Pods:",
        format!(
            "{}, {} with an address, {} identities, {} published addresses",
            counts.pods, counts.endpoints, counts.identities, counts.ips
        ),
    );
    for pool in &overview.ipam {
        line(
            "IPAM:",
            format!(
                "pool {} ({}, /{} blocks): {}/{} blocks, {}/{} addresses allocated",
                pool.pool,
                pool.cidrs.join(" "),
                pool.mask_size,
                pool.blocks_used,
                pool.blocks_total,
                pool.addresses_used,
                pool.addresses_total,
            ),
        );
    }
    line("Problems:", problem_count(overview.problems.len()));
    for problem in overview.problems.iter().take(PROBLEMS_SHOWN_MAX) {
        let _ = writeln!(text, "  - {problem}");
    }
    if overview.problems.len() > PROBLEMS_SHOWN_MAX {
        let more = overview.problems.len() - PROBLEMS_SHOWN_MAX;
        let _ = writeln!(text, "  … and {more} more (-o json shows all)");
    }
    if !overview.nodes.is_empty() {
        let _ = write!(text, "\n{}", output::table(&overview.nodes));
    }
    let _ = writeln!(text, "(cluster {} at revision {})", status.cluster_id, overview.revision);
    text
}

fn store_words(store: &StoreLine) -> String {
    if store.error.is_some() {
        return format!("{} cannot be reached", store.endpoint);
    }
    let role = if store.is_leader { "leader" } else { "follower" };
    let size = output::bytes(store.db_size_bytes);
    let StoreLine { endpoint, member, version, revision, .. } = store;
    format!("{endpoint} {role} (member {member}, {version}), revision {revision}, {size}")
}

fn problem_count(count: usize) -> String {
    if count == 0 { "none".to_owned() } else { count.to_string() }
}
