//! What this node's kernel should hold, decided without touching it.
