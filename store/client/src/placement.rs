//! Where a session is connected while all is well: tasks that return it to its home endpoint and keep its
//! list of endpoints up to date.
//!
//! # Rebalancing
//!
//! A session that had to leave its home ([`crate::endpoints`]) tries to return after half to one and a half
//! times [`SessionConfig::rebalance`](crate::SessionConfig::rebalance), and again as often as it fails. It
//! moves only once the home has answered a linearizable read, that is, has a leader and is not behind; its
//! watches then resume there. After a rolling restart the sessions are thus spread as before, at a rate
//! that no member notices.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::config::SessionConfig;
use crate::connection::{Connection, Connector};
use crate::error;

/// The waits of these tasks are this much to [`JITTER_MAX`] times as long as configured, so that sessions
/// which lost the same member at the same moment do not act at the same moment.
const JITTER_MIN: f64 = 0.5;
/// See [`JITTER_MIN`].
const JITTER_MAX: f64 = 1.5;

/// Starts the tasks that a session with this connection needs and that do not run yet. They end with the
/// session.
pub(crate) fn look_after(connector: &Arc<Connector>) {
    if connector.config().member_refresh.is_some()
        && !connector.learning.swap(true, Ordering::Relaxed)
    {
        tokio::spawn(learn_members(Arc::downgrade(connector)));
    }
    if !is_home(connector) && !connector.away.swap(true, Ordering::Relaxed) {
        tokio::spawn(return_home(Arc::downgrade(connector)));
    }
}

/// True also while there is no connection: the next one is made by the order of the endpoints.
fn is_home(connector: &Connector) -> bool {
    let Some(current) = connector.current() else { return true };
    connector.endpoints().home() == Some(&current.endpoint)
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(JITTER_MIN..JITTER_MAX))
}

/// Tries until the session is home.
async fn return_home(connector: Weak<Connector>) {
    loop {
        let Some(wait) = connector.upgrade().map(|it| it.config().rebalance) else { return };
        tokio::time::sleep(jittered(wait)).await;
        let Some(connector) = connector.upgrade() else { return };
        if try_home(&connector).await {
            break;
        }
    }
    if let Some(connector) = connector.upgrade() {
        connector.away.store(false, Ordering::Relaxed);
        // It may have left again in between, when the flag still stood.
        look_after(&connector);
    }
}

async fn try_home(connector: &Connector) -> bool {
    if is_home(connector) {
        return true;
    }
    let Some(home) = connector.endpoints().home().map(str::to_owned) else { return true };
    let timeout = connector.config().request_timeout;
    match connector.second(&home).await {
        Ok(connection) if serves(&connection, timeout).await => {
            tracing::debug!(endpoint = %home, "back at the home endpoint");
            connector.endpoints().recovered(&home);
            connector.move_to(connection);
            true
        }
        Ok(_) => false,
        Err(error) => {
            tracing::debug!(endpoint = %home, %error, "the home endpoint is still away");
            false
        }
    }
}

/// Whether a linearizable read is answered. A refusal, as for want of rights, is an answer.
async fn serves(connection: &Connection, timeout: Duration) -> bool {
    let options = etcd_client::GetOptions::new().with_count_only();
    let mut kv = connection.kv();
    match tokio::time::timeout(timeout, kv.get(vec![0], Some(options))).await {
        Ok(Err(failure)) => !error::is_worth_retrying(&failure),
        Ok(Ok(_)) => true,
        Err(_) => false,
    }
}

/// Asks for the member list again and again.
async fn learn_members(connector: Weak<Connector>) {
    loop {
        let Some(strong) = connector.upgrade() else { return };
        let Some(interval) = strong.config().member_refresh else { return };
        // Also finds out that the member in use has gone while nobody else asks.
        if let Ok(connection) = strong.get("list members").await {
            learn_from(&strong, &connection).await;
        }
        drop(strong);
        tokio::time::sleep(jittered(interval)).await;
    }
}

async fn learn_from(connector: &Arc<Connector>, connection: &Connection) {
    let config = connector.config();
    let mut cluster = connection.client.cluster_client();
    let asked = tokio::time::timeout(config.request_timeout, cluster.member_list()).await;
    let Ok(Ok(list)) = asked else {
        tracing::debug!(endpoint = %connection.endpoint, "no member list");
        connector.failed(connection);
        return;
    };
    // Learners refuse linearizable reads, so no session belongs to one.
    let voters = list.members().iter().filter(|member| !member.is_learner());
    let learned = voters.filter_map(|member| endpoint_of(config, member.client_urls())).collect();
    connector.endpoints().learn(learned);
    look_after(connector);
}

/// One endpoint of a member: as the configuration spells it, else the first that could be used.
fn endpoint_of(config: &SessionConfig, urls: &[String]) -> Option<String> {
    let is_known = |known: &&String| urls.iter().any(|url| config.url(url) == config.url(known));
    let usable = || urls.iter().find(|url| config.transport(url).is_ok());
    config.endpoints.iter().find(is_known).or_else(usable).cloned()
}
