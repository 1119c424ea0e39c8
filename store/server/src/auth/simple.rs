//! Simple tokens: random texts, known to every member by the log, forgotten when nobody uses them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng;
use skein_store_api::secret::Secret;

/// Letters in the random part of a token: 91 bits, as etcd's.
const PREFIX_LETTERS: usize = 16;

/// Tokens that are remembered: far more than clients that authenticate within one time to live.
/// Beyond it the one that was used longest ago is forgotten, and its client authenticates anew.
const TOKENS_MAX: usize = 100_000;

/// Tokens from which on it is worth looking for those whose time is over.
const SWEEP_FROM: usize = 1_024;

/// Time to live of a token that nobody uses, as etcd's.
pub(super) const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// The random part of a new token.
pub(crate) fn prefix() -> String {
    let letter = |_| {
        let at = rand::rng().random_range(0..52u8);
        char::from(if at < 26 { b'a' + at } else { b'A' + at - 26 })
    };
    (0..PREFIX_LETTERS).map(letter).collect()
}

/// The tokens that this member knows.
pub(crate) struct SimpleTokens {
    ttl: Duration,
    table: Mutex<Table>,
}

struct Table {
    by_token: HashMap<String, Session>,
    sweep_at: usize,
}

struct Session {
    user: String,
    used: Instant,
}

impl Default for SimpleTokens {
    fn default() -> Self {
        Self::new(DEFAULT_TTL)
    }
}

impl SimpleTokens {
    pub(crate) fn new(ttl: Duration) -> Self {
        let table = Table { by_token: HashMap::new(), sweep_at: SWEEP_FROM };
        Self { ttl, table: Mutex::new(table) }
    }

    /// A token stands for a user from now on.
    pub(super) fn give(&self, user: &str, token: &Secret) {
        let now = Instant::now();
        let mut table = self.table();
        if table.by_token.len() >= table.sweep_at {
            table.by_token.retain(|_, session| now.duration_since(session.used) < self.ttl);
            table.sweep_at = (2 * table.by_token.len()).clamp(SWEEP_FROM, TOKENS_MAX);
        }
        if table.by_token.len() >= TOKENS_MAX {
            let oldest = table.by_token.iter().min_by_key(|(_, session)| session.used);
            if let Some(token) = oldest.map(|(token, _)| token.clone()) {
                table.by_token.remove(&token);
            }
        }
        table
            .by_token
            .insert(token.reveal().to_owned(), Session { user: user.to_owned(), used: now });
    }

    /// Whom a token stands for. Using it starts its time anew.
    pub(super) fn user(&self, token: &str) -> Option<String> {
        let now = Instant::now();
        let mut table = self.table();
        let session = table.by_token.get_mut(token)?;
        if now.duration_since(session.used) < self.ttl {
            session.used = now;
            return Some(session.user.clone());
        }
        table.by_token.remove(token);
        None
    }

    /// All tokens of a user end.
    pub(super) fn end_of(&self, user: &str) {
        self.table().by_token.retain(|_, session| session.user != user);
    }

    /// All tokens end.
    pub(super) fn end_all(&self) {
        self.table().by_token.clear();
    }

    /// The table is whole at every point where a holder could panic.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(tokens: &SimpleTokens, user: &str, token: &str) {
        tokens.give(user, &Secret::new(token));
    }

    #[test]
    fn prefixes_are_letters_and_differ() {
        let (one, other) = (prefix(), prefix());
        assert_ne!(one, other);
        assert!(one.len() == PREFIX_LETTERS && one.chars().all(|c| c.is_ascii_alphabetic()));
    }

    #[test]
    fn tokens_end_with_their_user_and_all_at_once() {
        let tokens = SimpleTokens::default();
        give(&tokens, "alice", "a.1");
        give(&tokens, "alice", "a.2");
        give(&tokens, "bob", "b.3");
        assert_eq!(tokens.user("a.1").as_deref(), Some("alice"));
        tokens.end_of("alice");
        assert_eq!((tokens.user("a.1"), tokens.user("a.2")), (None, None));
        assert_eq!(tokens.user("b.3").as_deref(), Some("bob"));
        tokens.end_all();
        assert_eq!(tokens.user("b.3"), None);
    }

    #[test]
    fn use_keeps_a_token_and_time_ends_it() {
        let tokens = SimpleTokens::new(Duration::from_millis(200));
        give(&tokens, "alice", "a.1");
        give(&tokens, "alice", "a.2");
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(60));
            assert!(tokens.user("a.1").is_some());
        }
        assert_eq!(tokens.user("a.2"), None, "nobody used it for longer than its time");
    }

    #[test]
    fn the_table_is_bounded() {
        let tokens = SimpleTokens::default();
        for at in 0..=TOKENS_MAX {
            give(&tokens, "alice", &format!("t.{at}"));
        }
        assert_eq!(tokens.table().by_token.len(), TOKENS_MAX);
        assert_eq!(tokens.user("t.0"), None, "the oldest one went");
        assert!(tokens.user(&format!("t.{TOKENS_MAX}")).is_some());
    }
}
