//! `skein-lab`: a cluster on this machine.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match skein_chaos_lab::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("skein-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}
