//! `auth`: enable, disable, status.

use serde_json::json;
use skein_store_client::{ErrorKind, Session};

use crate::args::{AuthCommand, Format};
use crate::output;

/// The user and the role that may do everything; the store demands both before it asks anyone.
const ROOT: &str = "root";

pub(crate) async fn run(
    session: &Session,
    format: Format,
    command: AuthCommand,
) -> anyhow::Result<()> {
    match command {
        AuthCommand::Enable => {
            make_root(session).await?;
            session.auth_enable().await?;
            tell(format, true, "authentication enabled")
        }
        AuthCommand::Disable => {
            session.auth_disable().await?;
            tell(format, false, "authentication disabled")
        }
        AuthCommand::Status => {
            let status = session.auth_status().await?;
            let state = if status.enabled { "enabled" } else { "disabled" };
            let words = format!("authentication {state} (auth revision {})", status.auth_revision);
            let object = json!({"enabled": status.enabled, "auth_revision": status.auth_revision});
            Ok(output::answer(format, &object, &words)?)
        }
    }
}

/// Gives the user root the role root, and makes that role, where they are missing. The user itself needs a
/// password, so it must be there.
async fn make_root(session: &Session) -> anyhow::Result<()> {
    let roles = match session.user_roles(ROOT).await {
        Ok(roles) => roles,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(anyhow::Error::from(error)
                .context("there is no user root; add it first: skeinctl user add root"));
        }
        Err(error) => return Err(error.into()),
    };
    if roles.iter().any(|role| role == ROOT) {
        return Ok(());
    }
    if !session.roles().await?.iter().any(|role| role == ROOT) {
        session.role_add(ROOT).await?;
    }
    Ok(session.user_grant_role(ROOT, ROOT).await?)
}

fn tell(format: Format, enabled: bool, words: &str) -> anyhow::Result<()> {
    Ok(output::answer(format, &json!({ "enabled": enabled }), words)?)
}
