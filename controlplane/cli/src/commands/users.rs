//! `user`: add, delete, list, get, passwd, grant-role, revoke-role.

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use skein_store_client::Session;

use super::roles::RoleLine;
use crate::args::{Format, UserCommand};
use crate::output::{self, Row};
use crate::password;

#[derive(Debug, Serialize)]
struct UserLine {
    user: String,
    roles: Vec<String>,
}

impl Row for UserLine {
    const HEADERS: &'static [&'static str] = &["USER", "ROLES"];

    fn cells(&self) -> Vec<String> {
        vec![self.user.clone(), self.roles.join(" ")]
    }
}

pub(crate) async fn run(
    session: &Session,
    format: Format,
    command: UserCommand,
) -> anyhow::Result<()> {
    let of_user = |name: &str| format!("user {name:?}");
    match command {
        UserCommand::Add { name, password, no_password } => {
            let password = if no_password { None } else { Some(password::new(password, &name)?) };
            let added = session.user_add(&name, password.as_deref()).await;
            added.with_context(|| of_user(&name))?;
            tell(format, &name, "added")
        }
        UserCommand::Delete { name } => {
            session.user_delete(&name).await.with_context(|| of_user(&name))?;
            tell(format, &name, "deleted")
        }
        UserCommand::List => list(session, format).await,
        UserCommand::Get { name, detail } => get(session, format, name, detail).await,
        UserCommand::Passwd { name, password } => {
            let password = password::new(password, &name)?;
            let changed = session.user_change_password(&name, &password).await;
            changed.with_context(|| of_user(&name))?;
            tell(format, &name, "has a new password")
        }
        UserCommand::GrantRole { name, role } => {
            let granted = session.user_grant_role(&name, &role).await;
            granted.with_context(|| format!("user {name:?}, role {role:?}"))?;
            tell(format, &name, &format!("has role {role}"))
        }
        UserCommand::RevokeRole { name, role } => {
            let revoked = session.user_revoke_role(&name, &role).await;
            revoked.with_context(|| format!("user {name:?}, role {role:?}"))?;
            tell(format, &name, &format!("has role {role} no more"))
        }
    }
}

fn tell(format: Format, name: &str, what: &str) -> anyhow::Result<()> {
    Ok(output::answer(format, &json!({ "user": name }), &format!("user {name} {what}"))?)
}

async fn list(session: &Session, format: Format) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for user in session.users().await? {
        let roles = session.user_roles(&user).await?;
        lines.push(UserLine { user, roles });
    }
    Ok(output::items(format, &lines)?)
}

async fn get(session: &Session, format: Format, name: String, detail: bool) -> anyhow::Result<()> {
    let roles = session.user_roles(&name).await.with_context(|| format!("user {name:?}"))?;
    if !detail {
        return Ok(output::items(format, &[UserLine { user: name, roles }])?);
    }
    let mut lines = Vec::new();
    for role in &roles {
        lines.extend(RoleLine::of(role, &session.role_permissions(role).await?));
    }
    Ok(output::items(format, &lines)?)
}
