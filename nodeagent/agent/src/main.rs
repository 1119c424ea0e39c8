//! `skein-agent`: see `--help`.

use std::process::ExitCode;

use clap::Parser;
use skein_nodeagent_agent::args::{Cli, Command};
use skein_nodeagent_agent::{run, show};

fn main() -> ExitCode {
    keep_one_heap();
    let outcome = match Cli::parse().command {
        Command::Run(args) => runtime()
            .and_then(|runtime| runtime.block_on(run::run(*args)).map(|()| ExitCode::SUCCESS)),
        Command::Status(args) => show::status(&args),
        Command::Bpf(args) => show::bpf(&args),
        Command::Monitor(args) => show::monitor(&args),
        Command::Cleanup(args) => {
            runtime().and_then(|runtime| runtime.block_on(show::cleanup(&args)))
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("skein-agent: {}", skein_nodeagent_agent::chain(error.as_ref()));
        ExitCode::FAILURE
    })
}

/// The C library would give every thread a heap of its own; values of the store come in on one thread
/// and end on another, so each heap would keep holes.
fn keep_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a parameter and its value; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
