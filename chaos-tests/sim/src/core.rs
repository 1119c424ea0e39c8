//! Interim core.
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::LeaseRevokeRequest;
use skein_store_mvcc::{
    Applied, Command, LeaseChange, Lessor, Machine, MachineConfig, SnapshotChunks,
};
use skein_store_raft::{
    Configuration, Effects, Message, Node, NodeConfig, NodeStatus, ReadTicket, Restored,
};
use skein_store_server::disk::Disk;
use skein_store_server::log::{Log, LogOptions, Owner};

pub type Reply = Result<Applied, ApiError>;
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

#[derive(Clone, Debug)]
pub struct Proposal {
    pub sequence: u64,
    pub command: Bytes,
    pub changes_members: bool,
}

pub trait Outlet {
    fn send(&mut self, message: Message);
    fn send_snapshot(&mut self, message: Message, chunks: SnapshotChunks);
    fn forward(&mut self, leader: u64, proposals: Vec<Proposal>);
    fn refuse(&mut self, member: u64, sequences: Vec<u64>, error: ApiError);
    fn outcome(&mut self, sequence: u64, outcome: Reply);
    fn confirmed(&mut self, read: u64);
}

pub struct ReplicaConfig {
    pub owner: Owner,
    pub log_dir: PathBuf,
    pub segment_bytes: u64,
    pub election_ticks: usize,
    pub seed: u64,
    pub incarnation: u64,
    pub founders: Vec<u64>,
}

pub struct Replica {
    id: u64,
    node: Node,
    log: Log,
    machine: Machine,
    lessor: Lessor,
    clock: Clock,
    backlog: VecDeque<(u64, Proposal)>,
    fresh: Vec<u64>,
    asked: Vec<(ReadTicket, u32, Vec<u64>)>,
    confirmed: Vec<(u64, Vec<u64>)>,
}

impl Replica {
    pub fn open(config: &ReplicaConfig, disk: Arc<dyn Disk>, clock: Clock) -> Result<Self, String> {
        let options = LogOptions {
            dir: config.log_dir.clone(),
            owner: config.owner,
            segment_bytes: config.segment_bytes,
        };
        let (log, recovered) = Log::open(disk, &options, 0).map_err(|e| e.to_string())?;
        let configuration = Configuration { voters: config.founders.clone(), ..Default::default() };
        let restored = Restored {
            hard_state: recovered.hard_state,
            base: (0, 0),
            configuration,
            entries: recovered.entries,
        };
        let node = Node::new(
            &NodeConfig {
                id: config.owner.member_id,
                election_ticks: config.election_ticks,
                heartbeat_ticks: 1,
                seed: config.seed,
                incarnation: config.incarnation,
            },
            restored,
        )
        .map_err(|e| e.to_string())?;
        Ok(Self {
            id: config.owner.member_id,
            node,
            log,
            machine: Machine::new(&MachineConfig::default()),
            lessor: Lessor::new(),
            clock,
            backlog: VecDeque::new(),
            fresh: vec![],
            asked: vec![],
            confirmed: vec![],
        })
    }
    pub fn tick(&mut self) {
        self.node.tick();
        self.asked.iter_mut().for_each(|a| a.1 += 1);
        if self.asked.iter().any(|a| a.1 >= 5) {
            self.ask_again();
        }
        for id in self.lessor.due((self.clock)(), 200) {
            let command = Command::LeaseRevoke(LeaseRevokeRequest { id }).encode();
            self.backlog
                .push_back((self.id, Proposal { sequence: 0, command, changes_members: false }));
        }
    }
    fn ask_again(&mut self) {
        self.fresh.extend(self.asked.drain(..).flat_map(|a| a.2));
    }
    pub fn step(&mut self, message: Message) {
        let _ = self.node.step(message);
    }
    pub fn propose(&mut self, proposal: Proposal, _out: &mut dyn Outlet) {
        self.backlog.push_back((self.id, proposal));
    }
    pub fn forwarded(&mut self, member: u64, proposals: Vec<Proposal>, out: &mut dyn Outlet) {
        if !self.node.leads() {
            out.refuse(
                member,
                proposals.iter().map(|p| p.sequence).collect(),
                ApiError::LeaderChanged,
            );
            return;
        }
        self.backlog.extend(proposals.into_iter().map(|p| (member, p)));
    }
    pub fn refused(&mut self, sequences: Vec<u64>, error: ApiError, out: &mut dyn Outlet) {
        sequences.into_iter().for_each(|s| out.outcome(s, Err(error)));
    }
    pub fn read(&mut self, read: u64) {
        self.fresh.push(read);
    }
    pub fn work(&mut self, out: &mut dyn Outlet) -> Result<(), String> {
        let leader = self.node.status().leader;
        if leader != 0 && !self.backlog.is_empty() {
            let round: Vec<_> = self.backlog.drain(..).collect();
            if self.node.leads() {
                if self.node.propose(round.iter().map(|p| p.1.command.clone()).collect()).is_err() {
                    for (m, p) in round {
                        if p.sequence != 0 {
                            if m == self.id {
                                out.outcome(p.sequence, Err(ApiError::LeaderChanged))
                            } else {
                                out.refuse(m, vec![p.sequence], ApiError::LeaderChanged)
                            }
                        }
                    }
                }
            } else {
                out.forward(leader, round.into_iter().map(|p| p.1).collect());
            }
        }
        if !self.fresh.is_empty()
            && let Some(ticket) = self.node.read_index()
        {
            self.asked.push((ticket, 0, std::mem::take(&mut self.fresh)));
        }
        while let Some(effects) = self.node.effects().map_err(|e| e.to_string())? {
            self.perform(effects, out)?;
        }
        let applied = self.node.status().applied;
        let ready: Vec<_> = self.confirmed.extract_if(.., |(i, _)| *i <= applied).collect();
        ready.into_iter().flat_map(|r| r.1).for_each(|r| out.confirmed(r));
        Ok(())
    }
    fn perform(&mut self, effects: Effects, out: &mut dyn Outlet) -> Result<(), String> {
        if let Some(l) = effects.leadership {
            if l.leads {
                let leases: Vec<_> =
                    self.machine.leases().iter().map(|(i, l)| (i, l.granted_ttl())).collect();
                self.lessor.promote((self.clock)(), 1000, leases);
            } else {
                self.lessor.demote();
            }
            self.ask_again();
        }
        effects.messages.into_iter().for_each(|m| out.send(m));
        if let Some(h) = effects.hard_state {
            self.log.note(h);
        }
        if effects.must_sync {
            self.log.append(&effects.entries).map_err(|e| e.to_string())?;
        }
        self.node.persisted(effects.number);
        effects.persisted_messages.into_iter().for_each(|m| out.send(m));
        for entry in effects.committed {
            if entry.data.is_empty() {
                self.machine.pass(entry.index);
                self.node.applied(entry.index);
                continue;
            }
            let (command, envelope) =
                Command::decode(entry.data.clone()).map_err(|e| e.to_string())?;
            let reply = self.machine.apply(entry.index, &command);
            if self.node.leads() {
                match reply.as_ref().ok().and_then(|r| r.lease) {
                    Some(LeaseChange::Granted { id, ttl_seconds }) => {
                        self.lessor.grant((self.clock)(), id, ttl_seconds)
                    }
                    Some(LeaseChange::Revoked { id }) => self.lessor.revoke(id),
                    None => {}
                }
            }
            self.node.applied(entry.index);
            if let Some(o) = envelope.origin
                && o.member == self.id
            {
                out.outcome(o.sequence, reply);
            }
        }
        for answer in effects.reads {
            if let Some(at) = self.asked.iter().position(|a| a.0 == answer.ticket) {
                self.confirmed.push((answer.index, self.asked.swap_remove(at).2));
            }
        }
        Ok(())
    }
    pub fn glance<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        look(&self.machine)
    }
    pub fn with_lessor<T>(&mut self, look: impl FnOnce(&mut Lessor, u64) -> T) -> T {
        let now = (self.clock)();
        look(&mut self.lessor, now)
    }
    pub fn leads(&self) -> bool {
        self.node.leads()
    }
    pub fn status(&self) -> NodeStatus {
        self.node.status()
    }
}
