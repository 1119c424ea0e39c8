//! The node agent's edges.
