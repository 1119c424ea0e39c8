//! What members agree on beside the data: alarms and the version they behave as.

use skein_store_api::pb::etcdserverpb::{AlarmMember, AlarmType};

use crate::alarm::Alarms;
use crate::version::{ClusterVersion, Versions};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Active alarms.
    pub alarms: Alarms,
    /// The agreed version.
    pub versions: Versions,
}

/// The body of a snapshot's cluster chunk.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ClusterRecord {
    #[prost(message, repeated, tag = "1")]
    alarms: Vec<AlarmMember>,
    #[prost(message, optional, tag = "2")]
    version: Option<ClusterVersion>,
    #[prost(message, optional, tag = "3")]
    downgrade: Option<ClusterVersion>,
}

impl Cluster {
    /// The record to write; equal states give equal records.
    pub(crate) fn record(&self) -> ClusterRecord {
        ClusterRecord {
            alarms: self.alarms.get(AlarmType::None),
            version: Some(self.versions.cluster),
            downgrade: self.versions.downgrade,
        }
    }

    pub(crate) fn restored(record: &ClusterRecord) -> Cluster {
        let cluster = record.version.unwrap_or(ClusterVersion::FIRST);
        let versions = Versions { cluster, downgrade: record.downgrade };
        Cluster { alarms: Alarms::restored(&record.alarms), versions }
    }
}
