//! Ctrl-C removes the lab before the process ends.

use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use crate::cluster::teardown;
use crate::process::start_nothing_more;

/// Exit code of a process ended by SIGINT, by the shells' convention.
const INTERRUPTED: i32 = 130;

/// What the other threads were just starting may turn up after a first removal.
const ATTEMPTS: u32 = 3;

fn remove(name: &str) {
    for _ in 0..ATTEMPTS {
        match teardown::down(name, teardown::Logs::Remove) {
            Ok(_) => std::thread::sleep(Duration::from_millis(100)),
            Err(left) => eprintln!("{left:#}: trying again"),
        }
    }
}

/// From now on SIGINT and SIGTERM remove the lab `name` and end the process. To be called before other threads start,
/// which inherit the signal mask; child processes clear it again.
pub fn tear_down_on_signal(name: &str) {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    if signals.thread_block().is_err() {
        return;
    }
    let name = name.to_owned();
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            eprintln!("\ninterrupted: removing the lab {name}");
            start_nothing_more();
            remove(&name);
            std::process::exit(INTERRUPTED);
        }
    });
}
