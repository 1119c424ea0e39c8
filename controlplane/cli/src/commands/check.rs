//! `check`: data, perf.

mod data;
mod perf;
mod verdict;

use std::process::ExitCode;

use skein_store_client::Session;

use crate::args::{CheckCommand, Global};

pub(crate) async fn run(
    session: &Session,
    global: &Global,
    command: CheckCommand,
) -> anyhow::Result<ExitCode> {
    match command {
        CheckCommand::Data { only_endpoints } => data::check(session, global, only_endpoints).await,
        CheckCommand::Perf(args) => perf::check(session, global, &args).await,
    }
}
