//! `skein-store`: one store member as a process.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use skein_store_server::{Member, cli, logging};
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a command line that cannot be used, as clap's.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Variables that are no text cannot be meant for this program.
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let variables = std::env::vars_os().filter_map(text);
    let normalized = match cli::normalize(std::env::args(), variables) {
        Ok(normalized) => normalized,
        Err(refused) => {
            eprintln!("error: {refused}");
            return ExitCode::from(USAGE);
        }
    };
    let flags = cli::Flags::parse_from(normalized.args);
    logging::start(flags.log_level(), flags.log_json());
    for cli::Ignored { flag, why } in normalized.ignored {
        tracing::warn!(flag, why, "this flag has no effect");
    }
    if let Err(error) = skein_store_server::raise_max_open_files() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(flags: cli::Flags) -> anyhow::Result<()> {
    let config = flags.into_config()?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let member = Member::start(config).await?;
    tokio::select! {
        // All arms may be dropped: none holds anything.
        _ = terminate.recv() => tracing::info!("received SIGTERM"),
        _ = interrupt.recv() => tracing::info!("received SIGINT"),
        () = member.failed() => {}
    }
    member.shutdown().await?;
    Ok(())
}
