//! The replicated state machine of the store.
