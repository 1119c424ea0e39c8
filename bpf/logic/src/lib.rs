//! Decisions of the datapath, without a kernel helper in sight.
#![no_std]
