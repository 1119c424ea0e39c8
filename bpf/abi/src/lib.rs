//! Map and event layouts shared by the kernel programs and the agent.
#![no_std]
