//! A member's turn: it takes what gathered, works, and lets out what came of it.

use bytes::Bytes;
use skein_chaos_model::{Answer, Request};
use skein_store_mvcc::{Command, Envelope, Origin, Renewal};
use skein_store_raft::Message;
use skein_store_server::replica::Proposal;

use crate::host::{Input, Outbox, Output};
use crate::planted::Planted;
use crate::translate;
use crate::world::{Event, TICK_US, Told, World};

impl World {
    /// Something reaches a member. Nobody is there to take it when the process is gone.
    pub(crate) fn arrive(&mut self, member: u64, input: Input) {
        if !self.host(member).is_up() {
            match input {
                Input::Ask(operation) => self.reply(operation, Told::Refused),
                Input::Snapshot { from, .. } => self.snapshot_breaks(from, member),
                _ => {}
            }
            return;
        }
        self.host(member).inbox.push_back(input);
        self.plan_turn(member);
    }

    pub(crate) fn plan_turn(&mut self, member: u64) {
        let now = self.now;
        let host = self.host(member);
        if !host.turn_planned {
            host.turn_planned = true;
            let at = now.max(host.busy_until).max(host.paused_until);
            self.plan(at, Event::Turn { member });
        }
    }

    pub(crate) fn turn(&mut self, member: u64) {
        let now = self.now;
        let host = self.host(member);
        host.turn_planned = false;
        if host.busy_until.max(host.paused_until) > now {
            return self.plan_turn(member);
        }
        if !host.is_up() {
            return;
        }
        host.set_clock(now);
        let mut out = Outbox::default();
        for input in host.take_inputs() {
            self.take(member, input, &mut out);
        }
        let host = self.host(member);
        let Some(core) = &mut host.core else { return };
        let worked = core.work(&mut out).and_then(|()| {
            core.snapshot_if_due(|job| {
                job();
                Ok(None)
            });
            core.scavenge();
            core.work(&mut out)
        });
        host.busy_until = now + host.disk.take_spent_us();
        let stopped = host.disk.is_stopped();
        let removed = core.is_removed();
        self.let_out(member, out.0);
        self.look(member);
        match worked {
            _ if stopped => self.process_ends(member, "it stopped in a disk operation"),
            Err(error) => self.process_ends(member, &chain(&error)),
            Ok(()) if removed => {
                self.host(member).gone = true;
                self.process_ends(member, "it was removed");
            }
            Ok(()) => {}
        }
    }

    fn take(&mut self, member: u64, input: Input, out: &mut Outbox) {
        let input = match input {
            Input::Ask(operation) => return self.ask(member, operation, out),
            Input::Snapshot { from, message, chunks } => {
                let arrived = self.host(member).receive(message, chunks);
                self.say(format_args!("member {member} takes a snapshot: {arrived}"));
                if !self.send_once(member, from, Input::SnapshotSent { to: member, arrived }) {
                    self.snapshot_breaks(from, member);
                }
                return;
            }
            other => other,
        };
        if let Input::Message(message) = &input {
            let Message { from, kind, term, log_term, index, commit, entries, .. } = message;
            self.trace.detail(
                self.now,
                format_args!(
                    "{from} -> {member} kind {kind} term {term} index {index} of term {log_term} \
                     commit {commit} with {} entries",
                    entries.len()
                ),
            );
        }
        let Some(core) = &mut self.host(member).core else { return };
        match input {
            Input::Tick => core.tick(),
            Input::Message(message) => core.step(message),
            Input::Forward { from, proposals } => core.forwarded(from, proposals, out),
            Input::Refused { sequences, error } => core.refused(sequences, error, out),
            Input::SnapshotSent { to, arrived } => core.snapshot_sent(to, arrived),
            Input::Ask(_) | Input::Snapshot { .. } => {}
        }
    }

    /// A client's request reaches the member.
    fn ask(&mut self, member: u64, operation: usize, out: &mut Outbox) {
        // It may have begun another life since it was asked.
        self.operation(operation).life = self.hosts[&member].life;
        let request = self.operation(operation).request.clone();
        if let Some(command) = translate::command(&request) {
            return self.propose(member, operation, &command, out);
        }
        let planted = self.planted;
        let host = self.host(member);
        let number = host.number(operation);
        let Some(core) = &mut host.core else { return };
        let at_once = matches!(request, Request::Range { serializable: true, .. })
            || planted == Some(Planted::ReadWithoutIndex);
        match request {
            // Only the leader has clocks for leases.
            Request::KeepAlive { .. } if !core.leads() => {
                host.waiting.remove(&number);
                self.reply(operation, Told::Refused);
            }
            _ if at_once => out.0.push(Output::Confirmed(number)),
            _ => core.read(number),
        }
    }

    fn propose(&mut self, member: u64, operation: usize, command: &Command, out: &mut Outbox) {
        self.proposals += 1;
        let twice =
            self.planted == Some(Planted::ProposedTwice) && self.proposals.is_multiple_of(7);
        let host = self.host(member);
        let sequence = host.number(operation);
        let origin = Some(Origin { member, sequence });
        let command = command.encode_in(&Envelope { origin, author: None });
        let Some(core) = &mut host.core else { return };
        for _ in 0..=usize::from(twice) {
            let command = command.clone();
            core.propose(Proposal { sequence, command, changes_members: false }, out);
        }
    }

    /// What a member lets out leaves it when its disk is done.
    fn let_out(&mut self, member: u64, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(message) => self.send(member, message),
                Output::SendSnapshot(message, chunks) => {
                    self.send_snapshot(member, message, chunks);
                }
                Output::Forward { leader, proposals } => {
                    self.send_once(member, leader, Input::Forward { from: member, proposals });
                }
                Output::Refuse { member: to, sequences, error } => {
                    self.send_once(member, to, Input::Refused { sequences, error });
                }
                Output::Outcome { sequence, reply } => {
                    let Some(operation) = self.host(member).waiting.remove(&sequence) else {
                        continue;
                    };
                    // An error that says nothing of the state leaves open what happens.
                    let told = translate::outcome(reply).map_or(Told::ConnectionLost, Told::Answer);
                    self.reply_from(member, operation, told);
                }
                Output::Confirmed(number) => self.serve(member, number),
            }
        }
    }

    /// A read may be served, from the state as it is now.
    fn serve(&mut self, member: u64, number: u64) {
        let Some(operation) = self.host(member).waiting.remove(&number) else { return };
        let request = self.operation(operation).request.clone();
        let Some(core) = &mut self.host(member).core else { return };
        let answer = match request {
            Request::Range { span, revision, serializable } => {
                let request = translate::range(&span, revision, serializable);
                let view = core.glance(|machine| machine.view().clone());
                translate::range_outcome(view.range(&request))
            }
            Request::KeepAlive { id } if core.leads() => {
                let renewal = core.with_lessor(|lessor, now| lessor.renew(now, id));
                Some(Answer::KeptAlive {
                    ttl: match renewal {
                        Renewal::Renewed { ttl_seconds } => ttl_seconds,
                        Renewal::Expired | Renewal::Unknown => 0,
                    },
                })
            }
            _ => None,
        };
        self.reply_from(member, operation, answer.map_or(Told::ConnectionLost, Told::Answer));
    }

    fn reply_from(&mut self, member: u64, operation: usize, told: Told) {
        let at = self.host(member).busy_until.max(self.now);
        if self.hidden == Some(member) {
            // The client hears nothing and gives up.
            return;
        }
        let at = at + self.rng.between(50, 400);
        self.plan(at, Event::Reply { operation, told });
    }

    pub(crate) fn reply(&mut self, operation: usize, told: Told) {
        let at = self.now + self.rng.between(50, 400);
        self.plan(at, Event::Reply { operation, told });
    }

    fn send(&mut self, from: u64, mut message: Message) {
        let to = message.to;
        if !self.hosts.contains_key(&to) {
            return;
        }
        if self.planted == Some(Planted::EntryChanged) && to == 1 {
            change_entry(&mut message);
        }
        let sent = self.host(from).busy_until.max(self.now);
        for at in self.net.arrivals(&mut self.rng, sent, from, to) {
            let input = Input::Message(message.clone());
            self.plan(at, Event::Arrive { member: to, input });
        }
    }

    /// A snapshot travels over a connection of its own; when that breaks, its sender hears it.
    fn send_snapshot(&mut self, from: u64, message: Message, chunks: Vec<Bytes>) {
        let to = message.to;
        let input = Input::Snapshot { from, message, chunks };
        if !self.send_once(from, to, input) {
            self.snapshot_breaks(from, to);
        }
    }

    fn snapshot_breaks(&mut self, from: u64, to: u64) {
        let at = self.now + TICK_US;
        let input = Input::SnapshotSent { to, arrived: false };
        self.plan(at, Event::Arrive { member: from, input });
    }

    /// Whether it will arrive.
    fn send_once(&mut self, from: u64, to: u64, input: Input) -> bool {
        let sent = self.host(from).busy_until.max(self.now);
        let arrival = self.net.once(&mut self.rng, sent, from, to);
        let Some(at) = arrival.filter(|_| self.hosts.contains_key(&to)) else { return false };
        self.plan(at, Event::Arrive { member: to, input });
        true
    }

    /// A process begins.
    pub(crate) fn start(&mut self, member: u64) {
        let founders: Vec<u64> = match member <= self.scenario.members {
            true => (1..=self.scenario.members).collect(),
            // It learns of the others from them.
            false => Vec::new(),
        };
        let now = self.now;
        let healed = self.healed;
        let host = self.host(member);
        if host.is_up() || host.gone {
            return;
        }
        host.set_clock(now);
        host.disk.restart();
        let started = host.start(&founders);
        host.busy_until = now + host.disk.take_spent_us();
        let life = host.life;
        match started {
            Ok(()) => {
                self.say(format_args!("member {member} begins its life {life}"));
                self.plan(self.now + TICK_US, Event::Tick { member, life });
                self.plan_turn(member);
            }
            Err(error) => {
                let error = chain(&error);
                host.end();
                let (flipped, stopped) = (host.flipped, host.disk.is_stopped());
                host.gone = flipped && !stopped;
                self.say(format_args!("member {member} does not start: {error}"));
                if !flipped && healed {
                    self.problems.push(format!("member {member} does not start: {error}"));
                } else if !flipped || stopped {
                    self.plan(self.now + 1_000_000, Event::Start { member });
                }
            }
        }
    }

    /// The process is gone, for whatever reason; it begins again some time later.
    pub(crate) fn process_ends(&mut self, member: u64, why: &str) {
        self.say(format_args!("member {member} ends: {why}"));
        let (left, senders) = self.host(member).end();
        for operation in left {
            self.reply(operation, Told::ConnectionLost);
        }
        for from in senders {
            self.snapshot_breaks(from, member);
        }
        self.watchers_lose(member);
        let after = self.rng.between(50_000, 2_000_000);
        self.plan(self.now + after, Event::Start { member });
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Changes the value of a put without breaking the command: values end in a digit.
fn change_entry(message: &mut Message) {
    for entry in &mut message.entries {
        let mut data = entry.data.to_vec();
        let Some(at) = data.windows(2).rposition(|pair| pair[0] == b'.') else { continue };
        if data[at + 1].is_ascii_digit() {
            data[at + 1] = if data[at + 1] == b'9' { b'8' } else { data[at + 1] + 1 };
            entry.data = Bytes::from(data);
        }
    }
}
