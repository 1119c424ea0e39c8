//! What each command does.

mod auth;
mod check;
mod compare;
mod diff;
mod endpoint;
mod keys;
mod lease;
mod lists;
mod maintenance;
mod members;
mod roles;
mod snapshot;
mod status;
mod users;
mod watch;

use std::process::ExitCode;

use crate::args::{Args, Command, ListOnly, NamespacedList};
use crate::connect;
pub(crate) use snapshot::SnapshotCommand;

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut global = args.global;
    connect::ask_password(&mut global)?;
    let global = global;
    let session = connect::session(&global)?;
    let format = global.output;
    match args.command {
        Command::Status(status) => return status::show(&session, format, status.check).await,
        Command::Get(get) => keys::get(&session, format, &get).await?,
        Command::Watch(watch) => watch::follow(&session, format, &watch).await?,
        Command::Put(put) => keys::put(&session, format, put).await?,
        Command::Del(del) => keys::delete(&session, format, &del).await?,
        Command::Lease(command) => lease::run(&session, format, command).await?,
        Command::Snapshot(command) => snapshot::run(&session, format, command).await?,
        Command::Member(command) => members::run(&session, format, command).await?,
        Command::Endpoint(command) => return endpoint::run(&session, format, command).await,
        Command::Alarm(command) => maintenance::alarm(&session, format, command).await?,
        Command::Compaction(args) => maintenance::compact(&session, format, &args).await?,
        Command::Defrag(args) => return maintenance::defrag(&session, format, args.scope).await,
        Command::MoveLeader(args) => maintenance::move_leader(&session, format, args.id).await?,
        Command::Auth(command) => auth::run(&session, format, command).await?,
        Command::User(command) => users::run(&session, format, command).await?,
        Command::Role(command) => roles::run(&session, format, command).await?,
        Command::Check(command) => return check::run(&session, &global, command).await,
        Command::Diff(args) => return diff::run(&global, &args).await,
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
