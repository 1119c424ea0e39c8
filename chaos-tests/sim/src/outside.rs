//! What clients and watchers do, and what is looked at from outside.

use skein_chaos_model::history::Received;
use skein_chaos_model::{Operation, Outcome, Request};

use crate::host::Input;
use crate::planted::Planted;
use crate::world::{Event, Told, World};

/// One in so many looks breaks a watcher's connection, makes a bookmark, or hashes the state.
const BREAK: u64 = 400;
const BOOKMARK: u64 = 12;
const HASH: u64 = 20;

impl World {
    pub(crate) fn client_asks(&mut self, client: usize) {
        if !self.clients_ask() || self.clients[client].asked.is_some() {
            return;
        }
        let (now, healed) = (self.now, self.healed);
        let request = self.clients[client].request(healed);
        if self.rng.percent(5) || (healed && !self.is_served_by(self.clients[client].member)) {
            self.client_moves(client);
        }
        if matches!(request, Request::KeepAlive { .. }) && self.rng.percent(80) {
            let leader = self.hosts.values().find(|host| host.leads()).map(|host| host.id);
            self.clients[client].member = leader.unwrap_or(self.clients[client].member);
        }
        let (id, member) = (self.clients[client].id, self.clients[client].member);
        let life = self.host(member).life;
        let operation = self.recorder.history.operations.len();
        self.say(format_args!("client {id} asks member {member} #{operation} {request:?}"));
        self.recorder.history.operations.push(Operation {
            client: id,
            member,
            life,
            called: now,
            request,
            outcome: Outcome::Unknown,
        });
        self.clients[client].asked = Some(operation);
        let patience = self.clients[client].patience_us();
        let patience = if healed { patience.max(2_000_000) } else { patience };
        self.plan(now + patience, Event::GiveUp { operation });
        if self.hidden != Some(member) {
            let at = now + self.rng.between(50, 400);
            self.plan(at, Event::Arrive { member, input: Input::Ask(operation) });
        }
    }

    fn is_served_by(&self, member: u64) -> bool {
        self.hosts.get(&member).is_some_and(|host| host.is_up())
    }

    fn client_moves(&mut self, client: usize) {
        let members: Vec<u64> =
            self.hosts.values().filter(|host| !host.gone).map(|host| host.id).collect();
        self.clients[client].move_on(&members);
    }

    fn client_of(&self, operation: usize) -> usize {
        self.recorder.history.operations[operation].client as usize
    }

    pub(crate) fn client_hears(&mut self, operation: usize, told: Told) {
        let client = self.client_of(operation);
        if self.clients[client].asked != Some(operation) {
            return;
        }
        let now = self.now;
        self.say(format_args!("client {client} hears of #{operation} {told:?}"));
        let mut wait = self.clients[client].think_us();
        match told {
            Told::Answer(answer) => {
                let request = self.operation(operation).request.clone();
                self.clients[client].learn(&request, &answer);
                self.settle(operation, Outcome::Done { at: now, answer });
            }
            Told::Refused => {
                self.settle(operation, Outcome::Failed);
                wait += 50_000;
                self.client_moves(client);
            }
            Told::ConnectionLost => self.client_moves(client),
        }
        self.clients[client].asked = None;
        self.plan(now + wait, Event::Client { client });
    }

    pub(crate) fn client_gives_up(&mut self, operation: usize) {
        let client = self.client_of(operation);
        if self.clients[client].asked == Some(operation) {
            self.say(format_args!("client {client} gives up on #{operation}"));
            self.clients[client].asked = None;
            self.client_moves(client);
            self.plan(self.now + 1_000, Event::Client { client });
        }
    }

    pub(crate) fn watcher_connects(&mut self, watcher: usize) {
        if self.watchers[watcher].member.is_some() {
            return;
        }
        let up: Vec<u64> = self
            .hosts
            .values()
            .filter(|host| host.is_up() && self.hidden != Some(host.id))
            .map(|host| host.id)
            .collect();
        if let Some(&member) = self.rng.pick(&up)
            && let Some(core) = &self.hosts[&member].core
        {
            let events = core.glance(|machine| machine.events().clone());
            self.watchers[watcher].connect(member, &events);
            self.plan_turn(member);
        }
        if self.watchers[watcher].member.is_none() {
            let at = self.now + self.rng.between(20_000, 300_000);
            self.plan(at, Event::Connect { watcher });
        }
    }

    pub(crate) fn watcher_hears(&mut self, watcher: usize, epoch: u64, received: Received) {
        if self.watchers[watcher].epoch != epoch {
            return;
        }
        self.say(format_args!("watcher {watcher} receives {received:?}"));
        self.watchers[watcher].receive(received);
        if self.watchers[watcher].member.is_none() {
            self.plan(self.now + 1_000, Event::Connect { watcher });
        }
    }

    pub(crate) fn watchers_lose(&mut self, member: u64) {
        for watcher in 0..self.watchers.len() {
            if self.watchers[watcher].member == Some(member) {
                self.watchers[watcher].disconnect();
                let at = self.now + self.rng.between(1_000, 300_000);
                self.plan(at, Event::Connect { watcher });
            }
        }
    }

    /// After each turn: what did the member apply, and what has it for its watchers?
    pub(crate) fn look(&mut self, member: u64) {
        let (now, rng) = (self.now, &mut self.rng);
        let Some(host) = self.hosts.get_mut(&member) else { return };
        let Some(core) = &host.core else { return };
        let (events, view) = core.glance(|machine| {
            self.recorder.commits(member, now, machine, &mut host.recorded);
            if rng.one_in(HASH) {
                self.recorder.hash(member, machine);
            }
            (machine.events().clone(), machine.view().clone())
        });
        for watcher in 0..self.watchers.len() {
            if self.watchers[watcher].member != Some(member) {
                continue;
            }
            if !self.healed && self.rng.one_in(BREAK) {
                self.watchers[watcher].disconnect();
                self.plan(now + 10_000, Event::Connect { watcher });
                continue;
            }
            // Some watchers are slow.
            if !self.healed && watcher == 1 && !self.rng.one_in(40) {
                continue;
            }
            let mut messages = Vec::new();
            if self.rng.one_in(BOOKMARK)
                && (self.planted == Some(Planted::BookmarkEarly)
                    || self.watchers[watcher].is_caught_up(&events))
            {
                messages.push(Received::Progress { revision: events.head() });
            }
            messages.extend(self.watchers[watcher].poll(&events, &view));
            self.carry(member, watcher, messages);
        }
    }

    /// A watcher's messages travel one behind the other.
    fn carry(&mut self, member: u64, watcher: usize, mut messages: Vec<Received>) {
        let begin = self.host(member).busy_until.max(self.now);
        if self.hidden == Some(member) {
            self.watchers[watcher].disconnect();
            return self.plan(begin + 10_000, Event::Connect { watcher });
        }
        let is_events = |message: &Received| matches!(message, Received::Events(_));
        if self.planted == Some(Planted::WatchLoses) && self.rng.one_in(5) {
            messages.retain(|message| !is_events(message));
        }
        if self.planted == Some(Planted::WatchRepeats) && self.rng.one_in(5) {
            messages.extend(messages.iter().find(|message| is_events(message)).cloned());
        }
        let epoch = self.watchers[watcher].epoch;
        for received in messages {
            let at =
                (begin + self.rng.between(50, 5_000)).max(self.watchers[watcher].last_arrival + 1);
            self.watchers[watcher].last_arrival = at;
            self.plan(at, Event::Deliver { watcher, epoch, received });
        }
    }
}
