//! `skein-store`: one store member as a process.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use skein_store_server::{Member, cli, logging};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let (args, ignored) = cli::normalize(std::env::args());
    let flags = cli::Flags::parse_from(args);
    logging::start(flags.log_level(), flags.log_json());
    for cli::Ignored { flag, why } in ignored {
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
