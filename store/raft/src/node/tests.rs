use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::entry::EntryKind;

const ID: u64 = 0x51;

fn config() -> NodeConfig {
    NodeConfig { id: ID, election_ticks: 10, heartbeat_ticks: 1, seed: 7, incarnation: 1 }
}

fn configuration(voters: &[u64]) -> Configuration {
    Configuration { voters: voters.to_vec(), ..Configuration::default() }
}

/// A fresh member that votes alone.
fn sole() -> Restored {
    Restored { configuration: configuration(&[ID]), ..Restored::default() }
}

/// A disk and a state machine that only remember.
#[derive(Clone, Default)]
struct World {
    hard_state: HardState,
    log: Vec<Entry>,
    applied: Vec<Entry>,
    reads: Vec<ReadIndex>,
    leadership: Option<Leadership>,
}

impl World {
    fn run(&mut self, node: &mut Node) {
        while let Some(effects) = node.effects().expect("entries of known kinds") {
            self.leadership = effects.leadership.or(self.leadership);
            self.hard_state = effects.hard_state.unwrap_or(self.hard_state);
            for entry in effects.entries {
                self.log.retain(|old| old.index < entry.index);
                self.log.push(entry);
            }
            node.persisted(effects.number);
            for entry in effects.committed {
                node.applied(entry.index);
                self.applied.push(entry);
            }
            self.reads.extend(effects.reads);
        }
    }
}

fn started() -> (Node, World) {
    let mut node = Node::new(&config(), sole()).expect("a valid configuration");
    let mut world = World::default();
    node.campaign().expect("an operable node");
    world.run(&mut node);
    (node, world)
}

fn data(world: &World) -> Vec<Bytes> {
    world.applied.iter().map(|e| e.data.clone()).filter(|d| !d.is_empty()).collect()
}

#[test]
fn a_sole_voter_leads_after_campaigning() {
    let (node, world) = started();
    assert_eq!(world.leadership, Some(Leadership { leader: ID, leads: true, term: 1 }));
    assert!(node.decides_alone());
    assert_eq!(world.hard_state.vote, ID);
}

#[test]
fn a_sole_voter_leads_by_time_alone() {
    let mut node = Node::new(&config(), sole()).expect("a valid configuration");
    let mut world = World::default();
    for _ in 0..2 * config().election_ticks {
        node.tick();
        world.run(&mut node);
    }
    assert!(node.decides_alone());
}

#[test]
fn a_batch_takes_consecutive_indexes_and_one_write() {
    let (mut node, mut world) = started();
    let batch: Vec<_> = (0..5u8).map(|i| Bytes::from(vec![i])).collect();
    let first = node.propose(batch.clone()).expect("this node leads");
    let effects = node.effects().expect("known kinds").expect("something to write");
    assert_eq!(effects.entries.len(), 5);
    assert_eq!(effects.entries[0].index, first);
    assert!(effects.must_sync);
    assert!(effects.committed.is_empty(), "nothing commits before it is durable");
    assert!(node.effects().expect("known kinds").is_none());
    node.persisted(effects.number);
    world.run(&mut node);
    assert_eq!(data(&world), batch);
}

#[test]
fn a_follower_takes_no_proposal_and_confirms_no_read() {
    let mut node = Node::new(&config(), sole()).expect("a valid configuration");
    assert_eq!(node.propose(vec![Bytes::from("x")]), Err(ProposeError::NotLeader));
    assert_eq!(node.read_index(), None);
    assert!(!node.decides_alone());
}

#[test]
fn too_much_uncommitted_is_refused() {
    let (mut node, _) = started();
    let big = Bytes::from(vec![0u8; 8 << 20]);
    let mut taken = 0;
    while node.propose(vec![big.clone()]).is_ok() {
        taken += 1;
        assert!(taken < 100, "the bound on uncommitted bytes never held");
    }
    assert_eq!(node.propose(vec![big]), Err(ProposeError::Overloaded));
}

#[test]
fn a_read_waits_for_the_commit_index() {
    let (mut node, mut world) = started();
    node.propose(vec![Bytes::from("a")]).expect("this node leads");
    world.run(&mut node);
    let ticket = node.read_index().expect("this node leads");
    world.run(&mut node);
    let applied = world.applied.last().map(|e| e.index).expect("an applied entry");
    assert_eq!(world.reads, [ReadIndex { ticket, index: applied }]);
    let again = node.read_index().expect("this node leads");
    assert_ne!(ticket, again);
}

#[test]
fn entries_must_connect_to_the_state() {
    let entry = Entry { index: 9, term: 1, kind: EntryKind::Normal, data: Bytes::new() };
    let restored = Restored { base: (4, 1), entries: vec![entry], ..sole() };
    let error = Node::new(&config(), restored).err().expect("a gap");
    assert!(matches!(error, RaftError::Gap { base: 4, first: 9 }));
}

#[test]
fn memory_of_applied_entries_is_bounded() {
    let (mut node, mut world) = started();
    for round in 0..limits::CATCH_UP_ENTRIES / 50 {
        node.propose(vec![Bytes::from(vec![round as u8]); 100]).expect("this node leads");
        world.run(&mut node);
    }
    let kept =
        node.status().last + 1 - raft::Storage::first_index(node.raw.store()).expect("in memory");
    assert_eq!(kept, limits::CATCH_UP_ENTRIES);
}

proptest! {
    /// Whatever the batches and restarts, everything proposed is applied once and in order.
    #[test]
    fn restarts_keep_every_entry(batches in proptest::collection::vec((1usize..20, any::<bool>()), 1..20)) {
        let (mut node, mut world) = started();
        let mut proposed = Vec::new();
        let mut incarnation = 1;
        for (size, restart) in batches {
            let batch: Vec<_> =
                (0..size).map(|i| Bytes::from(format!("{}-{i}", proposed.len()))).collect();
            proposed.extend(batch.clone());
            node.propose(batch).expect("this node leads");
            world.run(&mut node);
            if restart {
                incarnation += 1;
                let restored = Restored {
                    hard_state: world.hard_state,
                    entries: world.log.clone(),
                    ..sole()
                };
                world.applied.clear();
                node = Node::new(&NodeConfig { incarnation, ..config() }, restored).expect("valid");
                node.campaign().expect("an operable node");
                world.run(&mut node);
            }
        }
        prop_assert_eq!(data(&world), proposed);
    }
}
