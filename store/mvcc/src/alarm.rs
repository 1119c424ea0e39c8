//! Alarms: what the cluster has agreed is wrong, and what it refuses because of it.
//!
//! A member that meets trouble proposes the alarm; from its place in the log on every member
//! refuses alike. Which commands are refused is etcd's choice (3.7): reads always go on, also with
//! a corrupt cluster.

use std::collections::BTreeSet;

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::alarm_request::AlarmAction;
use skein_store_api::pb::etcdserverpb::request_op::Request;
use skein_store_api::pb::etcdserverpb::{AlarmMember, AlarmRequest, AlarmType, TxnRequest};

use crate::command::Command;

/// The active alarms, by kind and member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms(BTreeSet<(i32, u64)>);

impl Alarms {
    /// Those of one kind, or all for [`AlarmType::None`].
    pub fn get(&self, kind: AlarmType) -> Vec<AlarmMember> {
        let wanted = |&&(alarm, _): &&(i32, u64)| kind == AlarmType::None || alarm == kind as i32;
        self.0.iter().filter(wanted).map(|&key| member_of(key)).collect()
    }

    /// Whether any member has raised an alarm of this kind.
    pub fn active(&self, kind: AlarmType) -> bool {
        self.0.range((kind as i32, 0)..=(kind as i32, u64::MAX)).next().is_some()
    }

    /// Whether this member has raised this alarm.
    pub fn raised(&self, kind: AlarmType, member: u64) -> bool {
        self.0.contains(&(kind as i32, member))
    }

    pub(crate) fn restored(alarms: &[AlarmMember]) -> Alarms {
        Alarms(alarms.iter().map(|alarm| (alarm.alarm, alarm.member_id)).collect())
    }

    /// The alarms that the request names, or asks for.
    pub(crate) fn apply(&mut self, request: &AlarmRequest) -> Vec<AlarmMember> {
        let key = (request.alarm, request.member_id);
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => self.get(request.alarm()),
            Ok(AlarmAction::Activate) if request.alarm != AlarmType::None as i32 => {
                self.0.insert(key);
                vec![member_of(key)]
            }
            Ok(AlarmAction::Deactivate) if self.0.remove(&key) => vec![member_of(key)],
            Ok(AlarmAction::Activate | AlarmAction::Deactivate) | Err(_) => Vec::new(),
        }
    }

    /// What the active alarms keep from being applied.
    pub(crate) fn check(&self, command: &Command) -> Result<(), ApiError> {
        if self.0.is_empty() {
            return Ok(());
        }
        if self.active(AlarmType::Corrupt) && changes_data(command) {
            return Err(ApiError::Corrupt);
        }
        if self.active(AlarmType::Nospace) && takes_space(command) {
            return Err(ApiError::NoSpace);
        }
        Ok(())
    }
}

fn member_of((alarm, member_id): (i32, u64)) -> AlarmMember {
    AlarmMember { member_id, alarm }
}

fn changes_data(command: &Command) -> bool {
    match command {
        Command::Put(_)
        | Command::DeleteRange(_)
        | Command::Txn(_)
        | Command::Compact(_)
        | Command::LeaseGrant(_)
        | Command::LeaseRevoke(_) => true,
        Command::Alarm(_) | Command::Version(_) | Command::Member(_) | Command::Auth(_) => false,
    }
}

/// Whether a command can make the store larger, so that a lack of space refuses it. A transaction
/// counts when any of its branches puts, whichever is taken.
fn takes_space(command: &Command) -> bool {
    match command {
        Command::Put(_) | Command::LeaseGrant(_) => true,
        Command::Txn(request) => puts(request),
        Command::DeleteRange(_)
        | Command::Compact(_)
        | Command::LeaseRevoke(_)
        | Command::Alarm(_)
        | Command::Version(_)
        | Command::Member(_)
        | Command::Auth(_) => false,
    }
}

fn puts(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(nested)) => puts(nested),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => false,
    })
}
