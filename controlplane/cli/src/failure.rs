//! Exit codes, and how errors are shown.

use std::io;
use std::process::ExitCode;

use skein_store_client::{ClientError, ErrorKind};
use thiserror::Error;

/// Anything that has no code of its own. (2 is a usage error, by clap.)
const FAILED: u8 = 1;
/// What was asked for is not there.
pub(crate) const NOT_FOUND: u8 = 3;
/// The store cannot be reached.
pub(crate) const UNREACHABLE: u8 = 4;
/// What was checked is not well: `status --check`, `endpoint`, `defrag`, `check`, `diff`.
pub(crate) const PROBLEMS: u8 = 5;

/// An answer that is not an error of the store but of the question.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct NotFound(pub(crate) String);

/// Prints the error with its causes and says which code to exit with.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    if broken_pipe {
        // The reader, as `head`, has seen enough.
        return ExitCode::SUCCESS;
    }
    eprintln!("skeinctl: {error:#}");
    let code = match error.downcast_ref::<ClientError>().map(ClientError::kind) {
        Some(ErrorKind::Unavailable) => {
            // What a member says for itself needs no guess.
            if !format!("{error:#}").contains("etcdserver: ") {
                let where_from = "Name it by --endpoints or SKEINCTL_ENDPOINTS";
                eprintln!("skeinctl: is the store up? {where_from}");
            }
            UNREACHABLE
        }
        Some(ErrorKind::NotFound) => NOT_FOUND,
        _ if error.is::<NotFound>() => NOT_FOUND,
        _ => FAILED,
    };
    ExitCode::from(code)
}
