//! The store inside this process.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use skein_store_server::{AutoCompaction, Member, MemberConfig, TlsConfig};

use crate::cli::Args;

/// History that the embedded store keeps, so that an agent cut off for less resumes its watches instead of listing
/// everything. At 500 changes of 300 bytes a second this is about 250 MB.
const HISTORY_KEPT: Duration = Duration::from_secs(600);

/// A store member that lives and dies with the control plane.
pub(crate) struct Embedded {
    member: Member,
    /// Whether this process speaks to its https addresses or to the others.
    secure: bool,
}

impl Embedded {
    /// Starts it, unless the flags name an external store.
    ///
    /// # Errors
    /// The data directory is in use or damaged, an address is taken, a URL is none.
    pub(crate) async fn start(args: &Args) -> Result<Option<Embedded>> {
        let Some(dir) = args.data_dir.as_ref().filter(|_| args.store_endpoints.is_empty()) else {
            return Ok(None);
        };
        let mut config = MemberConfig::new(&args.name, dir);
        let urls = args.listen_client_urls.iter().map(|url| url.parse());
        config.listen_client_urls =
            urls.collect::<Result<_, _>>().context("--listen-client-urls")?;
        config.advertise_client_urls.clone_from(&args.advertise_client_urls);
        config.auto_compaction = AutoCompaction::Periodic(HISTORY_KEPT);
        config.tls =
            args.cert_file.clone().zip(args.key_file.clone()).map(|(cert_file, key_file)| {
                TlsConfig {
                    cert_file,
                    key_file,
                    trusted_ca_file: args.trusted_ca_file.clone(),
                    ..TlsConfig::default()
                }
            });
        let member = Member::start(config).await.context("the embedded store cannot start")?;
        Ok(Some(Embedded { member, secure: args.store_cacert.is_some() }))
    }

    /// Its URLs as this process reaches them: a wildcard address is no destination.
    pub(crate) fn urls(&self) -> Vec<String> {
        let listened = self.member.client_urls().into_iter().zip(self.member.client_addresses());
        let scheme = if self.secure { "https" } else { "http" };
        listened
            .filter(|(url, _)| url.starts_with("https://") == self.secure)
            .map(|(_, address)| format!("{scheme}://{}", destination(address)))
            .collect()
    }

    /// Returns when it has stopped by itself.
    pub(crate) async fn failed(&self) {
        self.member.failed().await;
    }

    /// Stops it.
    ///
    /// # Errors
    /// Why it had stopped by itself, or why its log could not be closed.
    pub(crate) async fn shutdown(self) -> Result<()> {
        self.member.shutdown().await.context("embedded store")
    }
}

fn destination(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(a) if a.ip().is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(a) if a.ip().is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
