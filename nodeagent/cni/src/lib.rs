//! Messages between the CNI plugin and the agent.
