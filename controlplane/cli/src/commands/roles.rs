//! `role`: add, delete, list, get, grant-permission, revoke-permission.

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::json;
use skein_store_client::{Access, KeyRange, Permission, Session};

use crate::args::{Format, Keys, RoleCommand};
use crate::output::{self, Row};

/// One permission of a role; a role without any has one line that says so.
#[derive(Debug, Serialize)]
pub(crate) struct RoleLine {
    role: String,
    access: &'static str,
    key: String,
    range_end: String,
    keys: String,
}

impl RoleLine {
    pub(crate) fn of(role: &str, permissions: &[Permission]) -> Vec<Self> {
        let line = |permission: &Permission| Self {
            role: role.to_owned(),
            access: access_word(permission.access),
            key: String::from_utf8_lossy(&permission.key).into_owned(),
            range_end: String::from_utf8_lossy(&permission.range_end).into_owned(),
            keys: keys_words(&permission.key, &permission.range_end),
        };
        permissions.iter().map(line).collect()
    }
}

impl Row for RoleLine {
    const HEADERS: &'static [&'static str] = &["ROLE", "MAY", "KEYS"];

    fn cells(&self) -> Vec<String> {
        vec![self.role.clone(), self.access.to_owned(), self.keys.clone()]
    }
}

#[derive(Debug, Serialize)]
struct NameLine {
    role: String,
}

impl Row for NameLine {
    const HEADERS: &'static [&'static str] = &["ROLE"];

    fn cells(&self) -> Vec<String> {
        vec![self.role.clone()]
    }
}

fn access_word(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::ReadWrite => "readwrite",
    }
}

/// A range as people say it.
fn keys_words(key: &[u8], end: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let prefix = KeyRange::prefix(key);
    match end {
        [] => text(key),
        [0] if key == [0] => "all keys".to_owned(),
        [0] => format!("{} and all later", text(key)),
        end if prefix.end() == end => format!("{}…", text(key)),
        end => format!("{} up to {}", text(key), text(end)),
    }
}

/// A range as it is granted: first key and range end.
fn range_of(keys: &Keys) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    if keys.key.is_empty() && !keys.prefix && !keys.from_key {
        bail!("the key is empty; with --prefix that means every key");
    }
    let key = keys.key.as_bytes();
    Ok(match (&keys.range_end, keys.prefix, keys.from_key) {
        (Some(end), _, _) => (key.to_vec(), end.as_bytes().to_vec()),
        (None, true, _) => {
            let range = KeyRange::prefix(key);
            (range.start().to_vec(), range.end().to_vec())
        }
        (None, false, true) if key.is_empty() => (vec![0], vec![0]),
        (None, false, true) => (key.to_vec(), vec![0]),
        (None, false, false) => (key.to_vec(), Vec::new()),
    })
}

pub(crate) async fn run(
    session: &Session,
    format: Format,
    command: RoleCommand,
) -> anyhow::Result<()> {
    let of_role = |name: &str| format!("role {name:?}");
    match command {
        RoleCommand::Add { name } => {
            session.role_add(&name).await.with_context(|| of_role(&name))?;
            tell(format, &name, "added")
        }
        RoleCommand::Delete { name } => {
            session.role_delete(&name).await.with_context(|| of_role(&name))?;
            tell(format, &name, "deleted")
        }
        RoleCommand::Get { name } => {
            let permissions = session.role_permissions(&name).await;
            let permissions = permissions.with_context(|| of_role(&name))?;
            Ok(output::items(format, &RoleLine::of(&name, &permissions))?)
        }
        RoleCommand::List => {
            let roles = session.roles().await?.into_iter();
            let lines: Vec<_> = roles.map(|role| NameLine { role }).collect();
            Ok(output::items(format, &lines)?)
        }
        RoleCommand::GrantPermission { name, access, keys } => {
            let (key, range_end) = range_of(&keys)?;
            let permission = Permission { access: access.into(), key, range_end };
            session.role_grant(&name, &permission).await.with_context(|| of_role(&name))?;
            let words = keys_words(&permission.key, &permission.range_end);
            tell(format, &name, &format!("may {} {words}", access_word(permission.access)))
        }
        RoleCommand::RevokePermission { name, keys } => {
            let (key, end) = range_of(&keys)?;
            session.role_revoke(&name, &key, &end).await.with_context(|| of_role(&name))?;
            tell(
                format,
                &name,
                &format!("has no permission of its own for {}", keys_words(&key, &end)),
            )
        }
    }
}

fn tell(format: Format, name: &str, what: &str) -> anyhow::Result<()> {
    Ok(output::answer(format, &json!({ "role": name }), &format!("role {name} {what}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: &str, end: Option<&str>, prefix: bool, from_key: bool) -> Keys {
        Keys { key: key.to_owned(), range_end: end.map(str::to_owned), prefix, from_key }
    }

    #[test]
    fn ranges_are_granted_as_etcd_writes_them() {
        for (given, range, words) in [
            (keys("a", None, false, false), ("a", ""), "a"),
            (keys("a/", None, true, false), ("a/", "a0"), "a/…"),
            (keys("a", Some("c"), false, false), ("a", "c"), "a up to c"),
            (keys("a", None, false, true), ("a", "\0"), "a and all later"),
            (keys("", None, true, false), ("\0", "\0"), "all keys"),
            (keys("", None, false, true), ("\0", "\0"), "all keys"),
        ] {
            let (key, end) = range_of(&given).unwrap();
            assert_eq!((key.as_slice(), end.as_slice()), (range.0.as_bytes(), range.1.as_bytes()));
            assert_eq!(keys_words(&key, &end), words);
        }
        assert!(range_of(&keys("", None, false, false)).is_err());
    }
}
