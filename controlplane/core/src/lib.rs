//! Planners: what the cluster should look like.
