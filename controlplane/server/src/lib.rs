//! Sources, fenced writer, tasks of the control plane.
