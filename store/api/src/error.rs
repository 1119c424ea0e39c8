//! Every error of the API, with the exact text and gRPC code of etcd 3.7.
//!
//! Clients of etcd recognise an error by its text (the Go client looks the text up in a table), so
//! the texts are part of the wire contract. Source: etcd 3.7, api/v3rpc/rpctypes/error.go; the
//! codes of two errors follow what the server really sends (server/etcdserver/api/v3rpc/util.go).

/// gRPC status codes, with their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// The caller gave up.
    Canceled = 1,
    /// An error without a code of its own.
    Unknown = 2,
    /// The request is wrong whatever the state of the store.
    InvalidArgument = 3,
    /// The caller's time was over.
    DeadlineExceeded = 4,
    /// What the request names does not exist.
    NotFound = 5,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// A bound is reached.
    ResourceExhausted = 8,
    /// The state of the store does not allow it.
    FailedPrecondition = 9,
    /// A revision or value outside of what is kept or allowed.
    OutOfRange = 11,
    /// The service is not offered.
    Unimplemented = 12,
    /// A broken invariant inside the server.
    Internal = 13,
    /// The member cannot serve now; trying again may help.
    Unavailable = 14,
    /// Stored data is damaged.
    DataLoss = 15,
    /// The caller's identity could not be established.
    Unauthenticated = 16,
}

macro_rules! api_errors {
    ($($(#[$doc:meta])* $name:ident, $code:ident, $text:literal;)+) => {
        /// An error that a client sees. `Display` is the exact text, prefix included.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum ApiError {
            $($(#[$doc])* #[error($text)] $name,)+
        }

        impl ApiError {
            /// Every error, for tables and tests.
            pub const ALL: &[ApiError] = &[$(ApiError::$name),+];

            /// The gRPC code it is sent with.
            pub fn code(self) -> Code {
                match self { $(ApiError::$name => Code::$code,)+ }
            }

            /// The exact text it is sent with.
            pub fn message(self) -> &'static str {
                match self { $(ApiError::$name => $text,)+ }
            }
        }
    };
}

api_errors! {
    /// The key of a request is empty.
    EmptyKey, InvalidArgument, "etcdserver: key is not provided";
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    KeyNotFound, InvalidArgument, "etcdserver: key not found";
    /// `ignore_value` together with a value.
    ValueProvided, InvalidArgument, "etcdserver: value is provided";
    /// `ignore_lease` together with a lease.
    LeaseProvided, InvalidArgument, "etcdserver: lease is provided";
    /// More operations in a transaction than allowed.
    TooManyOps, InvalidArgument, "etcdserver: too many operations in txn request";
    /// One transaction branch changes a key twice.
    DuplicateKey, InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// The `client-api-version` metadata is malformed.
    InvalidClientApiVersion, InvalidArgument, "etcdserver: invalid client api version";
    /// Sort order or target outside of the known ones.
    InvalidSortOption, InvalidArgument, "etcdserver: invalid sort option";
    /// The revision is older than what compaction kept.
    Compacted, OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// The revision does not exist yet.
    FutureRevision, OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// The store's quota is reached.
    NoSpace, ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// The lease does not exist or has expired.
    LeaseNotFound, NotFound, "etcdserver: requested lease not found";
    /// A lease of that id exists.
    LeaseExists, FailedPrecondition, "etcdserver: lease already exists";
    /// The time to live is above the maximum.
    LeaseTtlTooLarge, OutOfRange, "etcdserver: too large lease TTL";
    /// The watch was cancelled by its client.
    WatchCanceled, Canceled, "etcdserver: watch canceled";
    /// A member of that id exists.
    MemberExists, FailedPrecondition, "etcdserver: member ID already exist";
    /// A member with one of those peer addresses exists.
    PeerUrlExists, FailedPrecondition, "etcdserver: Peer URLs already exists";
    /// The change would leave too few started members. etcd's server sends it as Unknown.
    MemberNotEnoughStarted, Unknown,
        "etcdserver: re-configuration failed due to not enough started members";
    /// Member addresses that are no URLs.
    MemberBadUrls, InvalidArgument, "etcdserver: given member URLs are invalid";
    /// No member of that id.
    MemberNotFound, NotFound, "etcdserver: member not found";
    /// Promotion of a member that votes already.
    MemberNotLearner, FailedPrecondition, "etcdserver: can only promote a learner member";
    /// Promotion of a learner that lags.
    LearnerNotReady, FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader";
    /// The cluster holds as many learners as allowed.
    TooManyLearners, FailedPrecondition, "etcdserver: too many learner members in cluster";
    /// The caller speaks to another cluster.
    ClusterIdMismatch, FailedPrecondition, "etcdserver: cluster ID mismatch";
    /// The encoded request is above the limit.
    RequestTooLarge, InvalidArgument, "etcdserver: request is too large";
    /// The member has too much work queued. etcd's server sends it as Unknown.
    TooManyRequests, Unknown, "etcdserver: too many requests";
    /// Authentication cannot be enabled without user root.
    RootUserNotExist, FailedPrecondition, "etcdserver: root user does not exist";
    /// User root lacks role root.
    RootRoleNotExist, FailedPrecondition, "etcdserver: root user does not have root role";
    /// A user of that name exists.
    UserExists, FailedPrecondition, "etcdserver: user name already exists";
    /// The user name is empty, or no identity was given where one is needed.
    UserEmpty, InvalidArgument, "etcdserver: user name is empty";
    /// No user of that name.
    UserNotFound, FailedPrecondition, "etcdserver: user name not found";
    /// A role of that name exists.
    RoleExists, FailedPrecondition, "etcdserver: role name already exists";
    /// No role of that name.
    RoleNotFound, FailedPrecondition, "etcdserver: role name not found";
    /// The role name is empty.
    RoleEmpty, InvalidArgument, "etcdserver: role name is empty";
    /// Wrong user or password.
    AuthFailed, InvalidArgument, "etcdserver: authentication failed, invalid user ID or password";
    /// A password for a user who has none. etcd sends it without a code of its own.
    NoPasswordUser, Unknown,
        "auth: authentication failed, password was given for no password user";
    /// A password that bcrypt would cut off. etcd sends it without a code of its own.
    PasswordTooLong, Unknown, "bcrypt: password length exceeds 72 bytes";
    /// This member can only verify tokens. etcd sends it without a code of its own.
    VerifyOnlyKey, Unknown, "auth: token signing attempted with verify-only key";
    /// A grant without a permission.
    PermissionNotGiven, InvalidArgument, "etcdserver: permission not given";
    /// The user may not do this.
    PermissionDenied, PermissionDenied, "etcdserver: permission denied";
    /// The user does not hold the role.
    RoleNotGranted, FailedPrecondition, "etcdserver: role is not granted to the user";
    /// The role does not hold the permission.
    PermissionNotGranted, FailedPrecondition,
        "etcdserver: permission is not granted to the role";
    /// The call needs authentication to be enabled.
    AuthNotEnabled, FailedPrecondition, "etcdserver: authentication is not enabled";
    /// The token is unknown or has expired.
    InvalidAuthToken, Unauthenticated, "etcdserver: invalid auth token";
    /// A change that would lock the administrators out.
    InvalidAuthManagement, InvalidArgument, "etcdserver: invalid auth management";
    /// Permissions changed since the token was given.
    AuthOldRevision, InvalidArgument, "etcdserver: revision of auth store is old";
    /// The member knows no leader.
    NoLeader, Unavailable, "etcdserver: no leader";
    /// Only the leader does this.
    NotLeader, FailedPrecondition, "etcdserver: not leader";
    /// Leadership moved while the request waited.
    LeaderChanged, Unavailable, "etcdserver: leader changed";
    /// The cluster's version does not offer the call.
    NotCapable, FailedPrecondition, "etcdserver: not capable";
    /// The member is shutting down.
    Stopped, Unavailable, "etcdserver: server stopped";
    /// The outcome is not known in time.
    Timeout, Unavailable, "etcdserver: request timed out";
    /// Time-out around an election.
    TimeoutLeaderFail, Unavailable,
        "etcdserver: request timed out, possibly due to previous leader failure";
    /// Time-out around a lost connection between members.
    TimeoutConnectionLost, Unavailable,
        "etcdserver: request timed out, possibly due to connection lost";
    /// Time-out while the member caught up.
    TimeoutWaitAppliedIndex, Unavailable,
        "etcdserver: request timed out, waiting for the applied index took too long";
    /// Too few members are healthy for the change.
    Unhealthy, Unavailable, "etcdserver: unhealthy cluster";
    /// The member's data differs from its peers'.
    Corrupt, DataLoss, "etcdserver: corrupt cluster";
    /// A learner does not serve the call.
    NotSupportedForLearner, FailedPrecondition, "etcdserver: rpc not supported for learner";
    /// Leadership cannot move to that member.
    BadLeaderTransferee, FailedPrecondition, "etcdserver: bad leader transferee";
    /// The downgrade's target is no version.
    WrongDowngradeVersionFormat, InvalidArgument,
        "etcdserver: wrong downgrade target version format";
    /// The downgrade's target is not one minor version below.
    InvalidDowngradeTargetVersion, InvalidArgument,
        "etcdserver: invalid downgrade target version";
    /// A downgrade before the cluster has a version.
    ClusterVersionUnavailable, FailedPrecondition,
        "etcdserver: cluster version not found during downgrade";
    /// A downgrade is under way.
    DowngradeInProcess, FailedPrecondition,
        "etcdserver: cluster has a downgrade job in progress";
    /// No downgrade is under way.
    NoInflightDowngrade, FailedPrecondition, "etcdserver: no inflight downgrade job";
    /// A streamed range in another order than that of the keys.
    RangeStreamSort, Unimplemented, "RangeStream does not support custom sort orders";
    /// A streamed range with bounds on revisions.
    RangeStreamFilter, Unimplemented, "RangeStream does not support revision filters";
    /// The request was cancelled while it waited.
    RequestCanceled, Canceled, "etcdserver: request canceled";
    /// The request's deadline passed while it waited.
    DeadlineExceeded, DeadlineExceeded, "etcdserver: context deadline exceeded";
}

impl ApiError {
    /// The error with that text, as a client recognises it.
    pub fn from_message(text: &str) -> Option<ApiError> {
        Self::ALL.iter().copied().find(|e| e.message() == text)
    }
}

/// Reasons in the `cancel_reason` of a watch response. They are no gRPC errors: the stream goes on.
pub mod cancel_reason {
    /// A watch id that the stream uses already.
    pub const DUPLICATE_WATCH_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
    /// A range whose end lies before its start.
    pub const EMPTY_WATCH_RANGE: &str = "mvcc: watcher range is empty";
    /// A start revision below zero. (A watch whose revisions compaction removed is cancelled with a
    /// compact revision and without a reason.)
    pub const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
    /// What a caller is told who may not watch.
    pub fn of_refusal(error: super::ApiError) -> &'static str {
        match error {
            super::ApiError::InvalidAuthToken => INVALID_AUTH_TOKEN,
            super::ApiError::AuthOldRevision => AUTH_OLD_REVISION,
            super::ApiError::UserEmpty => USER_EMPTY,
            _ => PERMISSION_DENIED,
        }
    }

    /// A caller who may not read the range. Here etcd prints the whole gRPC status.
    pub const PERMISSION_DENIED: &str =
        "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    /// A token that is unknown or has expired.
    pub const INVALID_AUTH_TOKEN: &str =
        "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token";
    /// A caller who did not say who they are.
    pub const USER_EMPTY: &str =
        "rpc error: code = InvalidArgument desc = etcdserver: user name is empty";
    /// A token from before the last change of users or roles.
    pub const AUTH_OLD_REVISION: &str =
        "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_text_is_unique_and_names_its_error() {
        let texts: HashSet<_> = ApiError::ALL.iter().map(|e| e.message()).collect();
        assert_eq!(texts.len(), ApiError::ALL.len());
        for &error in ApiError::ALL {
            let prefixed = error.message().starts_with("etcdserver: ");
            // What etcd's table of errors does not know goes out as it stands.
            let own = matches!(error.code(), Code::Unimplemented | Code::Unknown);
            assert!(prefixed || own, "{error:?}");
            assert_eq!(error.to_string(), error.message());
            assert_eq!(ApiError::from_message(error.message()), Some(error));
        }
        assert_eq!(ApiError::from_message("etcdserver: something else"), None);
    }
}
