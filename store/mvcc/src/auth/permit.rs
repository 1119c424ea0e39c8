//! What a caller may do.

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::request_op::Request;
use skein_store_api::pb::etcdserverpb::{DeleteRangeRequest, PutRequest, RequestOp, TxnRequest};

use super::{Auth, AuthCommand, ROOT, Reach, Spans, User};
use crate::command::{Author, Command};
use crate::lease::{Lease, Leases};

/// The permissions of one caller at one state. Everything is permitted while authentication is
/// not enabled.
///
/// # Errors
/// All checks answer alike: [`ApiError::UserEmpty`] without an identity where one is needed,
/// [`ApiError::AuthOldRevision`] with one from before the last change of users or roles,
/// [`ApiError::PermissionDenied`], and for what only root may do [`ApiError::UserNotFound`].
#[derive(Clone, Copy, Debug)]
pub struct Permit<'a> {
    auth: &'a Auth,
    leases: &'a Leases,
    author: Option<&'a Author>,
}

type Permitted = Result<(), ApiError>;

impl<'a> Permit<'a> {
    pub(crate) fn new(auth: &'a Auth, leases: &'a Leases, author: Option<&'a Author>) -> Self {
        Self { auth, leases, author }
    }

    /// Whether the caller has role root.
    pub fn admin(&self) -> Permitted {
        if !self.auth.enabled {
            return Ok(());
        }
        let name = self.author.map(|author| author.user.as_str()).filter(|name| !name.is_empty());
        let user = self.auth.users.get(name.ok_or(ApiError::UserEmpty)?);
        if is_root(user.ok_or(ApiError::UserNotFound)?) {
            return Ok(());
        }
        Err(ApiError::PermissionDenied)
    }

    /// Whether the caller has an identity at all.
    pub fn identified(&self) -> Permitted {
        if self.auth.enabled && self.author.is_none() {
            return Err(ApiError::UserEmpty);
        }
        Ok(())
    }

    /// Whether the caller may see this user: themselves, or root.
    pub fn user(&self, name: &str) -> Permitted {
        let own = self.author.is_some_and(|author| author.user == name);
        self.admin().or_else(|error| if own { Ok(()) } else { Err(error) })
    }

    /// Whether the caller may see this role: one of their own, or root.
    pub fn role(&self, name: &str) -> Permitted {
        let user = self.author.and_then(|author| self.auth.users.get(&author.user));
        let own = user.is_some_and(|user| user.roles.contains(name));
        self.admin().or_else(|error| if own { Ok(()) } else { Err(error) })
    }

    /// Reading a range.
    pub fn read(&self, key: &[u8], range_end: &[u8]) -> Permitted {
        self.reach(key, range_end, |reach| &reach.read)
    }

    /// Changing a range.
    pub fn write(&self, key: &[u8], range_end: &[u8]) -> Permitted {
        self.reach(key, range_end, |reach| &reach.write)
    }

    /// Writing every key that is attached to a lease. A lease that does not exist has none.
    pub fn lease_write(&self, id: i64) -> Permitted {
        self.lease_keys(id, |key| self.write(key, b""))
    }

    /// Reading every key that is attached to a lease.
    pub fn lease_read(&self, id: i64) -> Permitted {
        self.lease_keys(id, |key| self.read(key, b""))
    }

    /// Reading every key that is attached to any lease.
    pub fn leases_read(&self) -> Permitted {
        self.identified()?;
        if self.admin().is_ok() {
            return Ok(());
        }
        self.leases
            .iter()
            .flat_map(|(_, lease)| lease.keys())
            .try_for_each(|key| self.read(key, b""))
    }

    /// A transaction: all its compares and both branches, whichever is taken.
    pub fn txn(&self, request: &TxnRequest) -> Permitted {
        for compare in &request.compare {
            self.read(&compare.key, &compare.range_end)?;
        }
        request.success.iter().chain(&request.failure).try_for_each(|op| self.op(op))
    }

    /// A command, where it is applied.
    pub(crate) fn command(&self, command: &Command) -> Permitted {
        if !self.auth.enabled {
            return Ok(());
        }
        match command {
            Command::Put(request) => self.put(request),
            Command::DeleteRange(request) => {
                self.write(&request.key, &request.range_end)?;
                self.delete_reads(request)
            }
            Command::Txn(request) => self.txn(request),
            Command::LeaseRevoke(request) => self.lease_write(request.id),
            // Judged by the member that proposes them: they are not about keys.
            Command::Compact(_)
            | Command::LeaseGrant(_)
            | Command::Member(_)
            | Command::Alarm(_)
            | Command::Version(_) => Ok(()),
            // Whoever authenticates has no identity yet.
            Command::Auth(AuthCommand::Authenticate(_)) => Ok(()),
            Command::Auth(_) => self.admin(),
        }
    }

    /// Who may not revoke a lease may not attach a key to it either.
    fn put(&self, request: &PutRequest) -> Permitted {
        self.write(&request.key, b"")?;
        self.lease_write(request.lease)?;
        if request.prev_kv { self.read(&request.key, b"") } else { Ok(()) }
    }

    fn delete_reads(&self, request: &DeleteRangeRequest) -> Permitted {
        if request.prev_kv { self.read(&request.key, &request.range_end) } else { Ok(()) }
    }

    fn op(&self, op: &RequestOp) -> Permitted {
        match &op.request {
            Some(Request::RequestRange(range)) => self.read(&range.key, &range.range_end),
            Some(Request::RequestPut(put)) => self.put(put),
            Some(Request::RequestDeleteRange(delete)) => {
                self.delete_reads(delete)?;
                self.write(&delete.key, &delete.range_end)
            }
            Some(Request::RequestTxn(nested)) => self.txn(nested),
            None => Ok(()),
        }
    }

    fn lease_keys(&self, id: i64, judge: impl Fn(&[u8]) -> Permitted) -> Permitted {
        if self.admin().is_ok() {
            return Ok(());
        }
        self.leases.get(id).into_iter().flat_map(Lease::keys).try_for_each(judge)
    }

    fn reach(&self, key: &[u8], range_end: &[u8], of: fn(&Reach) -> &Spans) -> Permitted {
        let auth = self.auth;
        if !auth.enabled {
            return Ok(());
        }
        let author = self.author.filter(|author| author.auth_revision != 0);
        let author = author.ok_or(ApiError::UserEmpty)?;
        if author.auth_revision < auth.revision {
            return Err(ApiError::AuthOldRevision);
        }
        let user = auth.users.get(&author.user).ok_or(ApiError::PermissionDenied)?;
        let reached = auth.reach.get(&author.user).is_some_and(|r| of(r).cover(key, range_end));
        if is_root(user) || reached { Ok(()) } else { Err(ApiError::PermissionDenied) }
    }
}

fn is_root(user: &User) -> bool {
    user.roles.contains(ROOT)
}
