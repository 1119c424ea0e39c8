//! The CNI plugin: see the library for what it does.

use std::io::{Read, Write};
use std::process::ExitCode;

use skein_nodeagent_cni::config::Environment;
use skein_nodeagent_cni::plugin;

/// A network configuration is a few kilobytes; GC's list of attachments may reach some hundred.
const STDIN_BYTES_MAX: u64 = 4 << 20;

fn main() -> ExitCode {
    let mut stdin = Vec::new();
    let read = std::io::stdin().lock().take(STDIN_BYTES_MAX).read_to_end(&mut stdin);
    if let Err(source) = read {
        eprintln!("skein-cni: cannot read stdin: {source}");
        return ExitCode::FAILURE;
    }
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let outcome = plugin::run(&Environment::new(variables), &stdin);
    if let Some(print) = &outcome.print
        && writeln!(std::io::stdout(), "{print:#}").is_err()
    {
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::try_from(outcome.code).unwrap_or(1))
}
