//! Ctrl-C removes the lab before the process ends.

use nix::sys::signal::{SigSet, Signal};

use crate::cluster::teardown;

/// Exit code of a process ended by SIGINT, by the shells' convention.
const INTERRUPTED: i32 = 130;

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
            if let Err(left) = teardown::down(&name, teardown::Logs::Remove) {
                eprintln!("{left:#}");
            }
            std::process::exit(INTERRUPTED);
        }
    });
}
