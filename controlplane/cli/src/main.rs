//! `skeinctl`: looks into the store and into the cluster that it describes.
//!
//! It speaks only to the store, Skein's own or any etcd v3, so it works when everything else is down.
//! Reading order: `args` (what there is to say), `commands` (what is done), `overview` (what is found).

mod args;
mod commands;
mod connect;
mod failure;
mod output;
mod overview;
mod password;
mod view;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = args::Args::parse();
    match commands::run(args).await {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}
