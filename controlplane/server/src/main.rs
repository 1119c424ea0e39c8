//! `skein-controlplane`: plans the state of a cluster and writes it to the store.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use skein_controlplane_server::cli::{Command, LogFormat};
use skein_controlplane_server::{App, Args, report};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Command::Status(args)) = &args.command {
        return told(report::run(args));
    }
    start_logging(args.log_format);
    told(run(&args).inspect_err(|error| tracing::error!("{error:#}")))
}

fn told(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skein-controlplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

#[tokio::main]
async fn run(args: &Args) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let mut app = App::start(args).await?;
    let failure = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        failure = app.failed() => failure,
    };
    if let Err(error) = failure {
        tracing::error!("stopping: {error:#}");
        // What is still running is stopped in order; the first cause is what is reported.
        if let Err(later) = app.shutdown().await {
            tracing::debug!("{later:#}");
        }
        return Err(error);
    }
    tracing::info!("stopping");
    app.shutdown().await
}
