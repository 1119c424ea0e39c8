//! The search for an order: Wing and Gong's algorithm with Lowe's memo of visited configurations
//! (Wing, Gong: Testing and verifying concurrent objects, 1993; Lowe: Testing for linearizability,
//! 2017).
//!
//! An operation without a return is open: it may take effect at any time after its call, or never.

use std::collections::HashSet;

/// When an operation ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// When it was called.
    pub called: u64,
    /// When it returned; open without.
    pub returned: Option<u64>,
}

/// What taking an operation does to a state.
#[derive(Clone, Debug)]
pub enum Step<S> {
    /// It cannot take effect here with the answer that it had.
    Impossible,
    /// It can, and leaves the state as it is. A closed operation must then do so in every state
    /// that allows its answer, as a read does: it is taken at once, and nothing else is tried.
    Unchanged,
    /// It can, and this is the state behind it. The flag tells steps that are likely right (they
    /// are tried first) from others.
    Changed(S, bool),
}

/// A sequential object, whose operations are numbered as their intervals are.
pub trait Model {
    /// Its state.
    type State: Clone;
    /// The state before any operation.
    fn initial(&self) -> Self::State;
    /// Takes an operation.
    fn step(&self, state: &Self::State, operation: usize) -> Step<Self::State>;
    /// Whether an open operation that is not likely here should be tried now at all, in view of the
    /// operations that can be taken now. May be false if another order, in which it comes later or
    /// never, explains as much; this keeps the search from trying all sets of such operations.
    fn is_wanted(&self, _operation: usize, _candidates: &[usize]) -> bool {
        true
    }
    /// Equal for equal states, and for others with the probability of a collision of 64 bits.
    fn fingerprint(&self, state: &Self::State) -> u64;
}

/// What the search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<S> {
    /// There is an order.
    Order,
    /// There is none. `state` is the furthest state reached, and the operations are those that had
    /// to follow and could not.
    Nothing {
        /// Where it ended.
        state: S,
        /// What did not fit.
        stuck: Vec<usize>,
    },
    /// The bound was met first; as far as it came.
    GaveUp {
        /// The furthest state reached.
        state: S,
        /// What had to follow there.
        stuck: Vec<usize>,
    },
}

/// Searches an order, looking at no more than `steps_max` configurations.
pub fn search<M: Model>(model: &M, intervals: &[Interval], steps_max: usize) -> Found<M::State> {
    let mut search = Search::new(model, intervals);
    search.run(steps_max)
}

struct Frame<S> {
    options: std::vec::IntoIter<(usize, S)>,
    chosen: Option<usize>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    pending: Pending,
    /// Fingerprint of the set of operations taken.
    taken: u64,
    seen: HashSet<(u64, u64)>,
    furthest: usize,
    stuck: Vec<usize>,
    stuck_state: M::State,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, intervals: &[Interval]) -> Self {
        Self {
            model,
            pending: Pending::new(intervals),
            taken: 0,
            seen: HashSet::new(),
            furthest: usize::MAX,
            stuck: Vec::new(),
            stuck_state: model.initial(),
        }
    }

    fn run(&mut self, steps_max: usize) -> Found<M::State> {
        let mut frames: Vec<Frame<M::State>> = Vec::new();
        let mut state = self.model.initial();
        for _ in 0..steps_max {
            if self.pending.closed == 0 {
                return Found::Order;
            }
            let options = self.expand(&state).into_iter();
            frames.push(Frame { options, chosen: None });
            match self.choose(&mut frames) {
                Some(next) => state = next,
                None => {
                    let stuck = std::mem::take(&mut self.stuck);
                    return Found::Nothing { state: self.stuck_state.clone(), stuck };
                }
            }
        }
        let stuck = std::mem::take(&mut self.stuck);
        Found::GaveUp { state: self.stuck_state.clone(), stuck }
    }

    /// Takes the next untried option of the youngest frame that has one.
    fn choose(&mut self, frames: &mut Vec<Frame<M::State>>) -> Option<M::State> {
        loop {
            let frame = frames.last_mut()?;
            if let Some(operation) = frame.chosen.take() {
                self.pending.put_back(operation);
                self.taken ^= mix(operation as u64);
            }
            let Some((operation, next)) = frame.options.next() else {
                frames.pop();
                continue;
            };
            let taken = self.taken ^ mix(operation as u64);
            if self.seen.insert((taken, self.model.fingerprint(&next))) {
                self.pending.take(operation);
                self.taken = taken;
                frame.chosen = Some(operation);
                return Some(next);
            }
        }
    }

    /// What can come next, best first.
    fn expand(&mut self, state: &M::State) -> Vec<(usize, M::State)> {
        let candidates = self.pending.candidates();
        let mut options: [Vec<(usize, M::State)>; 3] = Default::default();
        for &operation in &candidates {
            let closed = self.pending.is_closed(operation);
            match self.model.step(state, operation) {
                // It fits here and disturbs nobody: if there is an order at all, there is one with
                // it in this place.
                Step::Unchanged if closed => return vec![(operation, state.clone())],
                // Never having happened explains an open one as well.
                Step::Impossible | Step::Unchanged => {}
                Step::Changed(_, false)
                    if !closed && !self.model.is_wanted(operation, &candidates) => {}
                Step::Changed(next, likely) => {
                    let rank = if closed { 0 } else { 2 - usize::from(likely) };
                    options[rank].push((operation, next));
                }
            }
        }
        if self.pending.closed < self.furthest {
            self.furthest = self.pending.closed;
            let closed = candidates.iter().copied().filter(|&op| self.pending.is_closed(op));
            self.stuck = closed.collect();
            self.stuck_state = state.clone();
        }
        options.into_iter().flatten().collect()
    }
}

/// Calls and returns that are not taken yet, in order of time, as a linked list: taking and putting
/// back cost the same however long it is.
struct Pending {
    /// Operation of each event; calls have an even place, returns an odd one.
    next: Vec<usize>,
    before: Vec<usize>,
    closed_flags: Vec<bool>,
    closed: usize,
}

impl Pending {
    fn new(intervals: &[Interval]) -> Self {
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(intervals.len() * 2);
        for (operation, interval) in intervals.iter().enumerate() {
            events.push((interval.called, false, operation));
            events.extend(interval.returned.map(|at| (at, true, operation)));
        }
        // At equal times calls come first: the operations overlap.
        events.sort_unstable();
        let nodes = intervals.len() * 2;
        let (head, mut last) = (nodes, nodes);
        let mut list = Self {
            next: vec![head; nodes + 1],
            before: vec![head; nodes + 1],
            closed_flags: intervals.iter().map(|interval| interval.returned.is_some()).collect(),
            closed: intervals.iter().filter(|interval| interval.returned.is_some()).count(),
        };
        for (_, is_return, operation) in events {
            let node = operation * 2 + usize::from(is_return);
            list.next[last] = node;
            list.before[node] = last;
            last = node;
        }
        list.next[last] = head;
        list.before[head] = last;
        list
    }

    fn is_closed(&self, operation: usize) -> bool {
        self.closed_flags[operation]
    }

    /// Everything called before the first return.
    fn candidates(&self) -> Vec<usize> {
        let head = self.next.len() - 1;
        let mut found = Vec::new();
        let mut node = self.next[head];
        while node != head && node.is_multiple_of(2) {
            found.push(node / 2);
            node = self.next[node];
        }
        found
    }

    fn take(&mut self, operation: usize) {
        self.unlink(operation * 2);
        if self.is_closed(operation) {
            self.unlink(operation * 2 + 1);
            self.closed -= 1;
        }
    }

    /// Undoes the youngest [`Pending::take`] that is not undone.
    fn put_back(&mut self, operation: usize) {
        if self.is_closed(operation) {
            self.relink(operation * 2 + 1);
            self.closed += 1;
        }
        self.relink(operation * 2);
    }

    fn unlink(&mut self, node: usize) {
        let (before, next) = (self.before[node], self.next[node]);
        self.next[before] = next;
        self.before[next] = before;
    }

    fn relink(&mut self, node: usize) {
        let (before, next) = (self.before[node], self.next[node]);
        self.next[before] = node;
        self.before[next] = node;
    }
}

/// Spreads neighbouring numbers (the finalizer of SplitMix64, Steele et al., OOPSLA 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
