//! `member`: list, add, remove, promote, update.

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use skein_store_client::{Member, Session};

use crate::args::{Format, MemberCommand};
use crate::output::{self, Row};

#[derive(Debug, Serialize)]
struct MemberLine {
    id: String,
    name: String,
    peer_urls: Vec<String>,
    client_urls: Vec<String>,
    is_learner: bool,
}

impl MemberLine {
    fn of(member: &Member) -> Self {
        Self {
            id: format!("{:x}", member.id),
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: member.client_urls.clone(),
            is_learner: member.is_learner,
        }
    }
}

impl Row for MemberLine {
    const HEADERS: &'static [&'static str] = &["ID", "NAME", "VOTES", "PEERS AT", "CLIENTS AT"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            if self.is_learner { "no (learner)" } else { "yes" }.to_owned(),
            self.peer_urls.join(" "),
            self.client_urls.join(" "),
        ]
    }
}

pub(crate) async fn run(
    session: &Session,
    format: Format,
    command: MemberCommand,
) -> anyhow::Result<()> {
    let of_member = |id: u64| move || format!("member {id:x}");
    match command {
        MemberCommand::List => list(session, format).await,
        MemberCommand::Add { name, peer_urls, learner } => {
            let outcome = session.member_add(&peer_urls, learner).await;
            let (added, all) = outcome.with_context(|| format!("member {name:?}"))?;
            tell_added(format, &name, &added, &all)
        }
        MemberCommand::Remove { id } => {
            let rest = session.member_remove(id).await.with_context(of_member(id))?;
            tell(format, id, "removed", &rest)
        }
        MemberCommand::Promote { id } => {
            let all = session.member_promote(id).await.with_context(of_member(id))?;
            tell(format, id, "promoted: it votes", &all)
        }
        MemberCommand::Update { id, peer_urls } => {
            let all = session.member_update(id, &peer_urls).await.with_context(of_member(id))?;
            tell(format, id, "updated", &all)
        }
    }
}

async fn list(session: &Session, format: Format) -> anyhow::Result<()> {
    let revision = session.header().await?.1;
    let lines: Vec<_> = session.members().await?.iter().map(MemberLine::of).collect();
    Ok(output::listing(format, revision, &lines)?)
}

fn tell(format: Format, id: u64, what: &str, members: &[Member]) -> anyhow::Result<()> {
    let lines: Vec<_> = members.iter().map(MemberLine::of).collect();
    let object = json!({"member": format!("{id:x}"), "members": lines});
    let words = format!("member {id:x} {what}; {} members", members.len());
    Ok(output::answer(format, &object, &words)?)
}

/// With the flags to start it with.
fn tell_added(
    format: Format,
    name: &str,
    added: &Member,
    members: &[Member],
) -> anyhow::Result<()> {
    let cluster = initial_cluster(name, added.id, members);
    let lines: Vec<_> = members.iter().map(MemberLine::of).collect();
    let object = json!({
        "member": format!("{:x}", added.id),
        "name": name,
        "initial_cluster": cluster,
        "initial_cluster_state": "existing",
        "members": lines,
    });
    let role = if added.is_learner { "as a learner" } else { "with a vote" };
    let words = format!(
        "member {:x} added {role}; {} members. Start it with:\n  --name {name} \
         --initial-advertise-peer-urls {} --initial-cluster-state existing \\\n  \
         --initial-cluster {cluster}",
        added.id,
        members.len(),
        added.peer_urls.join(",")
    );
    Ok(output::answer(format, &object, &words)?)
}

/// `--initial-cluster` of a member that joins: every member by name and peer URL. A member that has been
/// added but not started has no name yet and is left out, except the new one.
fn initial_cluster(name: &str, added: u64, members: &[Member]) -> String {
    let pairs = members.iter().flat_map(|member| {
        let name = if member.id == added { name } else { &member.name };
        let urls = member.peer_urls.iter().filter(move |_| !name.is_empty());
        urls.map(move |url| format!("{name}={url}"))
    });
    pairs.collect::<Vec<_>>().join(",")
}
