//! Log lines of the process, on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Starts logging once; a second call in the same process changes nothing. `RUST_LOG` goes before
/// `level`.
pub fn start(level: &str, json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if json {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.with_ansi(false).try_init()
    };
    // Whoever embeds a member may have set up logging already.
    drop(started);
}
