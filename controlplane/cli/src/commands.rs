//! What each command does.

mod keys;
mod lease;
mod lists;
mod members;
mod snapshot;
mod status;
mod watch;

use std::process::ExitCode;

use crate::args::{Args, Command, ListOnly, NamespacedList};
use crate::connect;
pub(crate) use snapshot::SnapshotCommand;

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let session = connect::session(&args.global)?;
    let format = args.global.output;
    match args.command {
        Command::Status(status) => return status::show(&session, format, status.check).await,
        Command::Get(get) => keys::get(&session, format, &get).await?,
        Command::Watch(watch) => watch::follow(&session, format, &watch).await?,
        Command::Put(put) => keys::put(&session, format, put).await?,
        Command::Del(del) => keys::delete(&session, format, &del).await?,
        Command::Lease(command) => lease::run(&session, format, command).await?,
        Command::Member(ListOnly::List) => members::list(&session, format).await?,
        Command::Snapshot(command) => snapshot::run(&session, format, command).await?,
        Command::Node(ListOnly::List) => lists::nodes(&session, format).await?,
        Command::Pod(NamespacedList::List { namespace }) => {
            lists::pods(&session, format, namespace.as_ref()).await?;
        }
        Command::Service(NamespacedList::List { namespace }) => {
            lists::services(&session, format, namespace.as_ref()).await?;
        }
        Command::Identity(ListOnly::List) => lists::identities(&session, format).await?,
        Command::Ipcache(ListOnly::List) => lists::ipcache(&session, format).await?,
        Command::Ipam => lists::ipam(&session, format).await?,
    }
    Ok(ExitCode::SUCCESS)
}
