//! Going on alone after a majority was lost for ever.

use std::collections::BTreeSet;

use skein_store_mvcc::{Command, MemberOp};
use skein_store_raft::{
    Change, ConfChange, ConfChangeError, Configuration, Entry, EntryKind, HardState,
};

use super::OpenError;
use crate::log::{Log, Recovered};

/// Appends entries that remove every other member, and commits the whole log. What the others never
/// confirmed counts too: it may have been acknowledged by a leader that is lost.
pub(super) fn alone(
    log: &mut Log,
    recovered: &mut Recovered,
    base: (u64, u64),
    configuration: &Configuration,
    id: u64,
) -> Result<(), OpenError> {
    let others = others(configuration, &recovered.entries, id)?;
    let (last, term) = recovered.entries.last().map_or(base, |entry| (entry.index, entry.term));
    let term = term.max(recovered.hard_state.term);
    let removals = others.iter().zip(last + 1..).map(|(&other, index)| {
        let context = Command::Member(MemberOp::Remove(other)).encode();
        let change = ConfChange { changes: vec![Change::Remove(other)], context };
        Entry { index, term, kind: EntryKind::ConfChange, data: change.encode() }
    });
    let removals: Vec<_> = removals.collect();
    let commit = last + removals.len() as u64;
    recovered.hard_state = HardState { term, vote: 0, commit };
    log.note(recovered.hard_state);
    log.append(&removals)?;
    tracing::warn!(removed = removals.len(), "a new cluster goes on with this member alone");
    recovered.entries.extend(removals);
    Ok(())
}

/// Everybody else at the log's end, learners first: the last voter but this one is removed last.
fn others(
    configuration: &Configuration,
    entries: &[Entry],
    id: u64,
) -> Result<Vec<u64>, ConfChangeError> {
    let mut voters: BTreeSet<_> = configuration.voters.iter().copied().collect();
    let mut learners: BTreeSet<_> = configuration.learners.iter().copied().collect();
    learners.extend(&configuration.learners_next);
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::ConfChange) {
        for change in ConfChange::decode(entry.data.clone())?.changes {
            let (Change::AddVoter(member) | Change::AddLearner(member) | Change::Remove(member)) =
                change;
            voters.remove(&member);
            learners.remove(&member);
            match change {
                Change::AddVoter(member) => drop(voters.insert(member)),
                Change::AddLearner(member) => drop(learners.insert(member)),
                Change::Remove(_) => {}
            }
        }
    }
    let all = learners.into_iter().chain(voters);
    Ok(all.filter(|member| *member != id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, change: Change) -> Entry {
        let change = ConfChange { changes: vec![change], ..ConfChange::default() };
        Entry { index, term: 1, kind: EntryKind::ConfChange, data: change.encode() }
    }

    #[test]
    fn the_log_tells_who_else_is_there() {
        let configuration =
            Configuration { voters: vec![1, 2], learners: vec![3], ..Configuration::default() };
        let entries = [
            entry(1, Change::AddVoter(3)),
            entry(2, Change::Remove(2)),
            entry(3, Change::AddLearner(4)),
        ];
        assert_eq!(others(&configuration, &entries, 1), Ok(vec![4, 3]));
        assert_eq!(others(&configuration, &[], 3), Ok(vec![1, 2]));
    }
}
