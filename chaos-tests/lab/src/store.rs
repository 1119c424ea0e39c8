//! The lab's own look at the store: through a plain etcd client, so that what is shown is what the store holds and not
//! what one of Skein's clients makes of it.

use anyhow::{Context, Result};
use etcd_client::{Client, ConnectOptions, GetOptions};
use skein_store_schema::kinds::block::{Block, BlockKey};
use skein_store_schema::kinds::ip::{IpIdentityPair, IpKey};
use skein_store_schema::kinds::service::{Service, ServiceKey};
use skein_store_schema::kinds::slice::{Slice, SliceKey};
use skein_store_schema::{KeyRange, StoreKey};

use crate::cluster::Cluster;

/// How long the store may take for one answer.
const ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// A listing of a lab fits well below this.
const DECODE_BYTES_MAX: usize = 256 << 20;

/// What the store says about the cluster at one time.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Youngest change of any key below.
    pub revision: i64,
    /// Blocks and their nodes.
    pub blocks: Vec<(BlockKey, Block)>,
    /// Addresses and their identities.
    pub ips: Vec<(IpKey, IpIdentityPair)>,
    /// Services.
    pub services: Vec<(ServiceKey, Service)>,
    /// Slices.
    pub slices: Vec<(SliceKey, Slice)>,
}

impl Cluster {
    /// Runs `work` with a client of the store, from where the store can be reached.
    ///
    /// # Errors
    /// The store does not answer, or what `work` returns.
    pub fn with_store<T: Send>(
        &self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T> + Send,
    ) -> Result<T> {
        let url = self.spec.store_url();
        self.in_cp(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut client = connect(&url).await?;
                work(&mut client).await
            })
        })
    }

    /// Everything the summary and the settling need, read once.
    ///
    /// # Errors
    /// The store does not answer or holds something unreadable.
    pub fn view(&self) -> Result<View> {
        self.with_store(async |client| {
            let mut view = View::default();
            view.blocks = list(client, &mut view.revision).await?;
            view.ips = list(client, &mut view.revision).await?;
            view.services = list(client, &mut view.revision).await?;
            view.slices = list(client, &mut view.revision).await?;
            Ok(view)
        })
    }
}

/// A client of the store at `url`.
///
/// # Errors
/// Nobody answers there.
pub async fn connect(url: &str) -> Result<Client> {
    let options =
        ConnectOptions::new().with_connect_timeout(ANSWER_TIMEOUT).with_timeout(ANSWER_TIMEOUT);
    let client = Client::connect([url], Some(options)).await;
    client.with_context(|| format!("connect to the store at {url}"))
}

/// Every entry of one kind; raises `revision` to the youngest change among them.
async fn list<K: StoreKey>(client: &mut Client, revision: &mut i64) -> Result<Vec<(K, K::Value)>> {
    let KeyRangeBytes { start, end } = KeyRangeBytes::of(&K::range());
    let options = GetOptions::new().with_range(end);
    let mut kv = client.kv_client().max_decoding_message_size(DECODE_BYTES_MAX);
    let answer = kv.get(start, Some(options)).await?;
    let mut entries = Vec::new();
    for pair in answer.kvs() {
        *revision = (*revision).max(pair.mod_revision());
        entries.push(K::decode_entry(pair.key(), pair.value())?);
    }
    Ok(entries)
}

struct KeyRangeBytes {
    start: Vec<u8>,
    end: Vec<u8>,
}

impl KeyRangeBytes {
    fn of(range: &KeyRange) -> Self {
        Self { start: range.start().to_vec(), end: range.end().to_vec() }
    }
}
