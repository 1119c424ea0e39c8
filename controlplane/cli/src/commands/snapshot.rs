//! `snapshot save`, `status` and `restore`: backups, and the way from etcd and to it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;
use skein_store_client::Session;
use skein_store_server::backup::{self, RestoreConfig, Status};

use crate::args::Format;
use crate::output::{self, Row};

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save the store of one member into a file, and read the file back
    Save {
        /// Where to; replaced only by a complete and verified one
        file: PathBuf,
    },
    /// Hash, revision, keys and size of a snapshot file, after checking all of it
    Status {
        /// The snapshot, or the member/snap/db of an etcd that is not running
        file: PathBuf,
    },
    /// Make a data directory for skein-store from a snapshot file
    Restore(RestoreArgs),
}

/// The names and defaults are those of etcdutl.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  skeinctl snapshot restore backup.db --data-dir default.etcd
  skeinctl snapshot restore etcd/member/snap/db --skip-hash-check --data-dir default.etcd
  skeinctl snapshot restore backup.db --bump-revision 1000000000 --mark-compacted

The last one is for a store whose clients watch: they have seen revisions that the snapshot does
not have, and are told to read everything anew.")]
pub(crate) struct RestoreArgs {
    /// The snapshot, or the member/snap/db of an etcd that is not running
    file: PathBuf,
    /// Directory to make; must be empty or not there [default: <name>.etcd]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Name of the member
    #[arg(long, default_value = "default")]
    name: String,
    /// Members of the new cluster as name=url
    #[arg(long, value_delimiter = ',', default_value = "default=http://localhost:2380")]
    initial_cluster: Vec<String>,
    /// Addresses of this member for the others
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2380")]
    initial_advertise_peer_urls: Vec<String>,
    /// Token of the new cluster
    #[arg(long, default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// Take a file without SHA-256, as is copied from a data directory
    #[arg(long)]
    skip_hash_check: bool,
    /// Increase the newest revision by this
    #[arg(long, default_value_t = 0, hide_default_value = true, requires = "mark_compacted")]
    bump_revision: u64,
    /// Let nothing before the newest revision be read; goes with --bump-revision
    #[arg(long, requires = "bump_revision")]
    mark_compacted: bool,
}

pub(crate) async fn run(
    session: &Session,
    format: Format,
    command: SnapshotCommand,
) -> anyhow::Result<()> {
    match command {
        SnapshotCommand::Save { file } => save(session, format, &file).await,
        SnapshotCommand::Status { file } => status(format, &file),
        SnapshotCommand::Restore(args) => restore(format, args),
    }
}

async fn save(session: &Session, format: Format, path: &Path) -> anyhow::Result<()> {
    let mut name = path.file_name().context("no file is named")?.to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let saved = fetch(session, &part, path).await;
    if saved.is_err() {
        // The first error is the one to tell; there may be no file.
        let _ = std::fs::remove_file(&part);
    }
    let (version, status) = saved?;
    let words = format!(
        "Snapshot saved at {}\nServer version {version}\nVerified: hash {:x}, revision {}, {}, {}",
        path.display(),
        status.hash,
        status.revision,
        output::counted(status.total_key, "key", "keys"),
        output::bytes(status.total_size as i64),
    );
    Ok(output::answer(format, &serde_json::to_value(&status)?, &words)?)
}

/// Receives into `part`, verifies it, and gives it its name.
async fn fetch(session: &Session, part: &Path, path: &Path) -> anyhow::Result<(String, Status)> {
    let cannot = |what: &str, file: &Path| format!("cannot {what} {}", file.display());
    let mut stream = session.snapshot().await?;
    let mut out = BufWriter::new(create_private(part).with_context(|| cannot("create", part))?);
    let mut version = String::new();
    while let Some(received) = stream.next().await? {
        out.write_all(&received.bytes).with_context(|| cannot("write", part))?;
        version = received.version;
    }
    let file = out.into_inner().with_context(|| cannot("write", part))?;
    file.sync_all().with_context(|| cannot("sync", part))?;
    let status = backup::verify(part)?;
    std::fs::rename(part, path).with_context(|| cannot("rename", part))?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(|| cannot("sync", dir))?;
    Ok((version, status))
}

/// A backup holds every secret that the store holds.
fn create_private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[derive(Serialize)]
struct StatusLine(Status);

impl Row for StatusLine {
    const HEADERS: &'static [&'static str] =
        &["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"];

    fn cells(&self) -> Vec<String> {
        vec![
            format!("{:x}", self.0.hash),
            self.0.revision.to_string(),
            self.0.total_key.to_string(),
            output::bytes(self.0.total_size as i64),
            self.0.version.clone(),
        ]
    }
}

fn status(format: Format, file: &Path) -> anyhow::Result<()> {
    let line = StatusLine(backup::status(file)?);
    match format {
        Format::Json => output::json_line(&line)?,
        Format::Table => output::text(&output::table(&[line]))?,
    }
    Ok(())
}

fn restore(format: Format, args: RestoreArgs) -> anyhow::Result<()> {
    let data_dir = args.data_dir.unwrap_or_else(|| format!("{}.etcd", args.name).into());
    let restored = backup::restore(&RestoreConfig {
        snapshot: args.file,
        data_dir: data_dir.clone(),
        name: args.name,
        initial_cluster: args.initial_cluster,
        peer_urls: args.initial_advertise_peer_urls,
        cluster_token: args.initial_cluster_token,
        skip_hash_check: args.skip_hash_check,
        bump_revision: args.bump_revision,
        mark_compacted: args.mark_compacted,
    })?;
    let object = serde_json::json!({
        "dataDir": data_dir,
        "revision": restored.revision,
        "compactRevision": restored.compact_revision,
        "totalKey": restored.keys,
        "leases": restored.leases,
    });
    let words = format!(
        "restored {} and {} at revision {} into {}",
        output::counted(restored.keys, "key", "keys"),
        output::counted(restored.leases, "lease", "leases"),
        restored.revision,
        data_dir.display(),
    );
    Ok(output::answer(format, &object, &words)?)
}
