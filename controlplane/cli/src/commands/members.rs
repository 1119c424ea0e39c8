//! `member list`.

use serde::Serialize;
use skein_store_client::{Member, Session};

use crate::args::Format;
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
    fn of(member: Member) -> Self {
        Self {
            id: format!("{:x}", member.id),
            name: member.name,
            peer_urls: member.peer_urls,
            client_urls: member.client_urls,
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

pub(crate) async fn list(session: &Session, format: Format) -> anyhow::Result<()> {
    let revision = session.header().await?.1;
    let lines: Vec<_> = session.members().await?.into_iter().map(MemberLine::of).collect();
    Ok(output::listing(format, revision, &lines)?)
}
