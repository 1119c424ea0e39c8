//! Users, roles and what they permit: the replicated half of authentication.
//!
//! Passwords are hashed and checked, tokens signed and remembered, by the members; here stands
//! what they must agree on. Rules, their order and their errors are those of etcd 3.7 (its
//! `server/auth/store.go` and `server/etcdserver/apply/auth.go`).

mod change;
mod command;
mod permit;
mod read;
mod record;
mod spans;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use skein_store_api::pb::authpb::Permission;
use skein_store_api::pb::authpb::permission::Type;

pub use change::AuthChange;
pub(crate) use command::AuthRecord;
pub use command::{AuthCommand, Authentication};
pub use permit::Permit;
pub use record::AuthChunk;

use spans::Spans;

/// The user that must exist before authentication is enabled, and the role that permits all.
pub const ROOT: &str = "root";

/// The revision of users and roles of a store that never had any, as etcd has it.
const FIRST_REVISION: u64 = 1;

/// Users and roles, as of one revision of theirs.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    enabled: bool,
    revision: u64,
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, Role>,
    /// What each user may read and write, of all their roles together. Follows from the rest.
    reach: BTreeMap<String, Reach>,
}

#[derive(Clone, Default, PartialEq)]
struct User {
    /// bcrypt's text; empty, no password fits.
    hash: Bytes,
    no_password: bool,
    roles: BTreeSet<String>,
}

/// Permissions by key; those of one key in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq)]
struct Role {
    permissions: Vec<Permission>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Reach {
    read: Spans,
    write: Spans,
}

/// Without the hash.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("User");
        shown.field("no_password", &self.no_password).field("roles", &self.roles).finish()
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            enabled: false,
            revision: FIRST_REVISION,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
            reach: BTreeMap::new(),
        }
    }
}

impl Auth {
    /// Whether callers need an identity.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Grows with every change of users and roles.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Works out anew what users may reach. Changes are rare and checks are many.
    fn refresh(&mut self) {
        let reach = self.users.iter().map(|(name, user)| (name.clone(), self.reach_of(user)));
        self.reach = reach.collect();
    }

    fn reach_of(&self, user: &User) -> Reach {
        let roles = user.roles.iter().filter_map(|name| self.roles.get(name));
        let permissions: Vec<_> = roles.flat_map(|role| &role.permissions).collect();
        let spans = |kind: Type| {
            let holds =
                |p: &&&Permission| [kind as i32, Type::Readwrite as i32].contains(&p.perm_type);
            Spans::merge(permissions.iter().filter(holds).map(|p| (&p.key[..], &p.range_end[..])))
        };
        Reach { read: spans(Type::Read), write: spans(Type::Write) }
    }
}
