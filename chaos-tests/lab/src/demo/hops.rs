//! Following one request from decision to decision where no packet does it: asks the agents in turn.
