//! `lease`: grant, revoke, list, timetolive, keep-alive.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use skein_store_client::{ClientError, LeaseId, LeaseInfo, Session};

use crate::args::{Format, LeaseCommand};
use crate::output::{self, Row};

/// Leases asked about at the same time.
const LOOKUPS_AT_ONCE: usize = 32;

#[derive(Debug, Serialize)]
struct LeaseLine {
    lease: String,
    ttl_s: i64,
    granted_ttl_s: i64,
    keys: Vec<String>,
}

impl LeaseLine {
    fn of(info: &LeaseInfo) -> Self {
        let text = |key: &Vec<u8>| String::from_utf8_lossy(key).into_owned();
        Self {
            lease: info.id.to_string(),
            ttl_s: info.ttl_s,
            granted_ttl_s: info.granted_ttl_s,
            keys: info.keys.iter().map(text).collect(),
        }
    }
}

impl Row for LeaseLine {
    const HEADERS: &'static [&'static str] = &["LEASE", "REMAINING", "GRANTED", "KEYS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.lease.clone(),
            format!("{} s", self.ttl_s),
            format!("{} s", self.granted_ttl_s),
            self.keys.join(" "),
        ]
    }
}

pub(crate) async fn run(
    session: &Session,
    format: Format,
    command: LeaseCommand,
) -> anyhow::Result<()> {
    match command {
        LeaseCommand::Grant { ttl } => {
            let (lease, ttl_s) = session.lease_grant(ttl).await?;
            tell(format, lease, ttl_s, &format!("lease {lease} granted for {ttl_s} s"))
        }
        LeaseCommand::Revoke { lease } => {
            session.lease_revoke(lease).await?;
            tell(format, lease, 0, &format!("lease {lease} revoked"))
        }
        LeaseCommand::List => list(session, format).await,
        LeaseCommand::Timetolive { lease } => {
            let revision = session.header().await?.1;
            let line = LeaseLine::of(&session.lease_info(lease).await?);
            Ok(output::listing(format, revision, &[line])?)
        }
        LeaseCommand::KeepAlive { lease, once } => keep_alive(session, format, lease, once).await,
    }
}

fn tell(format: Format, lease: LeaseId, ttl_s: i64, words: &str) -> anyhow::Result<()> {
    let object = json!({"lease": lease.to_string(), "ttl_s": ttl_s});
    Ok(output::answer(format, &object, words)?)
}

async fn list(session: &Session, format: Format) -> anyhow::Result<()> {
    let revision = session.header().await?.1;
    let mut leases = session.leases().await?;
    leases.sort_unstable();
    let mut lines = Vec::new();
    for some in leases.chunks(LOOKUPS_AT_ONCE) {
        let mut lookups = tokio::task::JoinSet::new();
        for &lease in some {
            let session = session.clone();
            lookups.spawn(async move { session.lease_info(lease).await });
        }
        for info in lookups.join_all().await {
            match info {
                Ok(info) => lines.push(LeaseLine::of(&info)),
                // It has run out since it was listed.
                Err(ClientError::LeaseNotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    lines.sort_by(|a, b| a.lease.cmp(&b.lease));
    Ok(output::listing(format, revision, &lines)?)
}

async fn keep_alive(
    session: &Session,
    format: Format,
    lease: LeaseId,
    once: bool,
) -> anyhow::Result<()> {
    loop {
        let ttl_s = session.lease_keep_alive_once(lease).await?;
        tell(format, lease, ttl_s, &format!("lease {lease} renewed for {ttl_s} s"))?;
        if once {
            return Ok(());
        }
        // A third of the time, so that two renewals may fail.
        tokio::time::sleep(Duration::from_millis((ttl_s.max(1) * 333).unsigned_abs())).await;
    }
}
