//! The version that all members of a cluster agree to behave as, and the way back from it.
//!
//! Members of two builds may live in one cluster while it is upgraded. What only the newer build
//! understands must not reach the log before all have it, so each command has a version that the
//! cluster must be at. The rules of a downgrade are etcd's (3.7, server/etcdserver/version).

use std::fmt;

use skein_store_api::ApiError;

use crate::command::Command;

/// Major and minor version; patches of one minor version understand each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct ClusterVersion {
    /// Major version.
    #[prost(uint32, tag = "1")]
    pub major: u32,
    /// Minor version.
    #[prost(uint32, tag = "2")]
    pub minor: u32,
}

impl ClusterVersion {
    /// What a fresh store begins with. It is the same in every build, later ones included, so that
    /// members of different builds begin with equal states.
    pub const FIRST: ClusterVersion = ClusterVersion { major: 3, minor: 7 };

    /// What this build behaves as.
    pub const OWN: ClusterVersion = ClusterVersion { major: 3, minor: 7 };

    /// The oldest that a cluster of this build can be at: one downgrade below what it began with.
    /// Commands that need no more may always be proposed.
    pub const OLDEST: ClusterVersion = ClusterVersion { major: 3, minor: 6 };

    /// Reads `3.6` and `3.6.1`, whose patch does not matter.
    ///
    /// # Errors
    /// [`ApiError::WrongDowngradeVersionFormat`] for anything else.
    pub fn parse(text: &str) -> Result<ClusterVersion, ApiError> {
        let parts: Option<Vec<u32>> = text.split('.').map(number).collect();
        match parts.as_deref() {
            Some(&[major, minor] | &[major, minor, _]) => Ok(ClusterVersion { major, minor }),
            _ => Err(ApiError::WrongDowngradeVersionFormat),
        }
    }

    /// The only version that a cluster may be taken back to.
    pub fn one_below(self) -> Option<ClusterVersion> {
        let minor = self.minor.checked_sub(1)?;
        Some(ClusterVersion { minor, ..self })
    }

    /// The version a cluster must be at before this command may be proposed.
    pub fn needed_by(command: &Command) -> ClusterVersion {
        match command {
            Command::Put(_)
            | Command::DeleteRange(_)
            | Command::Txn(_)
            | Command::Compact(_)
            | Command::LeaseGrant(_)
            | Command::LeaseRevoke(_)
            | Command::Alarm(_)
            | Command::Version(_)
            | Command::Member(_)
            | Command::Auth(_) => ClusterVersion::OLDEST,
        }
    }

    /// The two numbers that error texts and answers use.
    pub fn short(self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// As etcd tells it, with a patch of 0.
impl fmt::Display for ClusterVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.0", self.major, self.minor)
    }
}

/// A change of the agreed version: exactly one of the fields is set.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct VersionRequest {
    /// From now on the cluster behaves as this version.
    #[prost(message, optional, tag = "1")]
    pub set: Option<ClusterVersion>,
    /// A downgrade begins, or the one under way is given up.
    #[prost(message, optional, tag = "2")]
    pub downgrade: Option<Downgrade>,
}

/// A downgrade that is wanted.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Downgrade {
    /// Where to; nothing gives it up.
    #[prost(message, optional, tag = "1")]
    pub target: Option<ClusterVersion>,
}

/// The agreed version and where it is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// What the cluster behaves as.
    pub cluster: ClusterVersion,
    /// The target of the downgrade under way.
    pub downgrade: Option<ClusterVersion>,
}

impl Default for Versions {
    fn default() -> Self {
        Versions { cluster: ClusterVersion::FIRST, downgrade: None }
    }
}

impl Versions {
    /// Whether a downgrade to `target` may begin.
    ///
    /// # Errors
    /// [`ApiError::InvalidDowngradeTargetVersion`], [`ApiError::DowngradeInProcess`].
    pub fn check_downgrade(&self, target: ClusterVersion) -> Result<(), ApiError> {
        if self.cluster.one_below() != Some(target) {
            return Err(ApiError::InvalidDowngradeTargetVersion);
        }
        if self.downgrade.is_some() { Err(ApiError::DowngradeInProcess) } else { Ok(()) }
    }

    /// What the leader should make the cluster behave as, when all members run at least `oldest`.
    pub fn wanted(&self, oldest: ClusterVersion) -> ClusterVersion {
        self.downgrade.map_or(oldest, |target| target.min(oldest))
    }

    pub(crate) fn apply(&mut self, request: &VersionRequest) -> Result<(), ApiError> {
        match (request.set, request.downgrade) {
            (Some(version), _) => self.cluster = version,
            (None, Some(Downgrade { target: Some(target) })) => {
                self.check_downgrade(target)?;
                self.downgrade = Some(target);
            }
            (None, Some(Downgrade { target: None })) if self.downgrade.is_none() => {
                return Err(ApiError::NoInflightDowngrade);
            }
            (None, _) => self.downgrade = None,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V36: ClusterVersion = ClusterVersion { major: 3, minor: 6 };

    #[test]
    fn versions_are_read_as_etcd_reads_them() {
        for text in ["3.6", "3.6.0", "3.6.5"] {
            assert_eq!(ClusterVersion::parse(text), Ok(V36), "{text}");
        }
        for text in ["", "3", "abc", "v3.6.0", "3.6.0.0", "3.", "3.+6"] {
            let read = ClusterVersion::parse(text);
            assert_eq!(read, Err(ApiError::WrongDowngradeVersionFormat), "{text}");
        }
        assert_eq!((V36.to_string(), V36.short()), ("3.6.0".into(), "3.6".into()));
    }

    #[test]
    fn a_downgrade_goes_one_step_and_back() {
        let mut versions = Versions::default();
        let begin = VersionRequest {
            downgrade: Some(Downgrade { target: Some(V36) }),
            ..Default::default()
        };
        let cancel =
            VersionRequest { downgrade: Some(Downgrade { target: None }), ..Default::default() };
        assert_eq!(versions.apply(&cancel), Err(ApiError::NoInflightDowngrade));
        assert_eq!(versions.apply(&begin), Ok(()));
        assert_eq!(versions.apply(&begin), Err(ApiError::DowngradeInProcess));
        assert_eq!(versions.wanted(ClusterVersion::OWN), V36);
        let set = VersionRequest { set: Some(V36), ..Default::default() };
        assert_eq!(versions.apply(&set), Ok(()));
        // The target is where the cluster is now, and no longer one below.
        assert_eq!(versions.apply(&begin), Err(ApiError::InvalidDowngradeTargetVersion));
        assert_eq!(versions.apply(&cancel), Ok(()));
        assert_eq!(versions.wanted(ClusterVersion::OWN), ClusterVersion::OWN);
    }
}
