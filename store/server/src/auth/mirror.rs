//! What every request looks at, kept beside the machine so that it costs no lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use skein_store_mvcc::{Auth, AuthChange};

use super::simple::SimpleTokens;

/// The machine's authentication as of the last applied entries.
#[derive(Default)]
pub(crate) struct Mirror {
    enabled: AtomicBool,
    revision: AtomicU64,
    pub(crate) tokens: SimpleTokens,
}

impl Mirror {
    /// As the machine has it.
    pub(crate) fn of(auth: &Auth) -> Self {
        let mirror = Self::default();
        mirror.show(auth);
        mirror
    }

    /// Takes over what the machine has now. To be called before anybody is answered who may rely
    /// on it.
    pub(crate) fn show(&self, auth: &Auth) {
        self.revision.store(auth.revision(), Ordering::Release);
        self.enabled.store(auth.enabled(), Ordering::Release);
    }

    /// Follows what an applied command means for tokens.
    pub(crate) fn follow(&self, change: &AuthChange) {
        match change {
            AuthChange::Authenticated { user, simple_token, .. } => {
                if !simple_token.reveal().is_empty() {
                    self.tokens.give(user, simple_token);
                }
            }
            AuthChange::UserEnded { user } => self.tokens.end_of(user),
            AuthChange::Disabled => self.tokens.end_all(),
        }
    }

    pub(crate) fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }
}
