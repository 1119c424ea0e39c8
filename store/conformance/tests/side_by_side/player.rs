//! Calls on one store, each of which leaves a line of what was answered.

use std::time::{Duration, Instant};

use skein_store_api::pb::etcdserverpb as pb;
use skein_store_conformance::ask;
use skein_store_conformance::endpoint::Endpoint;
use skein_store_conformance::endpoint::member::MemberEndpoint;
use skein_store_conformance::peers;
use skein_store_conformance::process::Process;
use skein_store_rpc::etcdserverpb::kv_client::KvClient;
use skein_store_rpc::etcdserverpb::lease_client::LeaseClient;
use skein_store_rpc::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::transport::Channel;

use crate::http;

/// How long the cluster's version may take to follow; etcd looks every five seconds.
const VERSION_WAIT: Duration = Duration::from_secs(40);

pub(crate) struct Player {
    process: Process,
    pub(crate) kv: KvClient<Channel>,
    pub(crate) leases: LeaseClient<Channel>,
    pub(crate) maintenance: MaintenanceClient<Channel>,
    pub(crate) member: u64,
    lines: Vec<String>,
}

fn connect(process: &Process) -> anyhow::Result<(MemberEndpoint, Channel)> {
    let endpoint = process.connect()?;
    let channel = endpoint.channel().ok_or_else(|| anyhow::anyhow!("a member has a channel"))?;
    Ok((endpoint, channel))
}

impl Player {
    pub(crate) async fn new(process: Process) -> anyhow::Result<Self> {
        let (endpoint, channel) = connect(&process)?;
        let status = endpoint.status().await.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
        Ok(Self {
            process,
            kv: KvClient::new(channel.clone()),
            leases: LeaseClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel),
            member: status.header.member_id,
            lines: Vec::new(),
        })
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines
    }

    /// Notes an answer: what it says, or its code and text.
    pub(crate) fn note<T>(
        &mut self,
        call: &str,
        answer: Result<tonic::Response<T>, tonic::Status>,
        say: impl FnOnce(T) -> String,
    ) {
        let said = match answer {
            Ok(answer) => say(answer.into_inner()),
            Err(status) => format!("{:?}: {}", status.code(), status.message()),
        };
        // Two spaces: Go's text format varies its own on purpose.
        let said = said.replace(&self.member.to_string(), "OWN").replace("  ", " ");
        self.lines.push(format!("{call}: {said}"));
    }

    pub(crate) async fn put(&mut self, key: &str, bytes: usize) -> bool {
        let put = pb::PutRequest { value: vec![b'v'; bytes].into(), ..ask::put(key, "") };
        let answer = self.kv.put(put).await;
        let ok = answer.is_ok();
        self.note("put", answer, |_| "ok".into());
        ok
    }

    /// Puts until one is refused; how many it took depends on how a store counts.
    pub(crate) async fn fill(&mut self, bytes: usize, most: usize) {
        let before = self.lines.len();
        for at in 0..most {
            if !self.put(&format!("fill/{at}"), bytes).await {
                break;
            }
        }
        let last = self.lines.pop().unwrap_or_default();
        self.lines.truncate(before);
        self.lines.push(format!("at the end of filling, {last}"));
    }

    pub(crate) async fn get(&mut self, key: &str) {
        let answer = self.kv.range(ask::get(key)).await;
        self.note("get", answer, |answer| format!("{} of {}", answer.kvs.len(), answer.count));
    }

    pub(crate) async fn txn(&mut self, failure: Vec<pb::RequestOp>) {
        // Compares nothing and so succeeds: `failure` is not taken.
        let answer = self.kv.txn(pb::TxnRequest { failure, ..Default::default() }).await;
        self.note("txn", answer, |answer| answer.succeeded.to_string());
    }

    pub(crate) async fn delete(&mut self, request: pb::DeleteRangeRequest) {
        let answer = self.kv.delete_range(request).await;
        self.note("delete", answer, |answer| format!("any: {}", answer.deleted > 0));
    }

    pub(crate) async fn revision(&mut self) -> i64 {
        let now = self.kv.range(ask::get("none")).await;
        now.ok().and_then(|now| now.into_inner().header).map_or(0, |header| header.revision)
    }

    pub(crate) async fn compact_all(&mut self) {
        let revision = self.revision().await;
        let answer = self.kv.compact(pb::CompactionRequest { revision, physical: true }).await;
        self.note("compact", answer, |_| "ok".into());
    }

    pub(crate) async fn grant(&mut self, id: i64) {
        let answer = self.leases.lease_grant(pb::LeaseGrantRequest { ttl: 600, id }).await;
        self.note("grant", answer, |answer| answer.id.to_string());
    }

    pub(crate) async fn revoke(&mut self, id: i64) {
        let answer = self.leases.lease_revoke(pb::LeaseRevokeRequest { id }).await;
        self.note("revoke", answer, |_| "ok".into());
    }

    pub(crate) async fn defragment(&mut self) {
        let answer = self.maintenance.defragment(pb::DefragmentRequest {}).await;
        self.note("defragment", answer, |_| "ok".into());
    }

    pub(crate) async fn alarm(
        &mut self,
        action: pb::alarm_request::AlarmAction,
        member_id: u64,
        kind: i32,
    ) {
        let request = pb::AlarmRequest { action: action.into(), member_id, alarm: kind };
        let answer = self.maintenance.alarm(request).await;
        let call = format!("alarm {action:?} {kind}");
        self.note(&call, answer, |answer| {
            // In any order from etcd.
            let mut alarms: Vec<String> =
                answer.alarms.iter().map(|a| format!("{} {}", a.member_id, a.alarm)).collect();
            alarms.sort_unstable();
            alarms.join(", ")
        });
    }

    pub(crate) async fn status(&mut self) {
        let answer = self.maintenance.status(pb::StatusRequest {}).await;
        self.note("status", answer, |mut answer| {
            answer.errors.sort_unstable();
            let quota = answer.db_size_quota;
            format!("{:?} {} {:?}", answer.errors, answer.storage_version, answer.downgrade_info)
                + &format!(" {quota}")
        });
    }

    pub(crate) async fn downgrade(
        &mut self,
        action: pb::downgrade_request::DowngradeAction,
        version: &str,
    ) {
        let request = pb::DowngradeRequest { action: action.into(), version: version.into() };
        let answer = self.maintenance.downgrade(request).await;
        self.note(&format!("downgrade {action:?} {version}"), answer, |answer| answer.version);
    }

    /// Waits until `/version` says so, and notes whether it ever did.
    pub(crate) async fn await_version(&mut self, cluster: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let told = http::ask(&self.process.address(), "GET", "/version").await?;
            let reached = told.contains(&format!("etcdcluster\\\":\\\"{cluster}"));
            if reached || begun.elapsed() > VERSION_WAIT {
                self.lines.push(format!("version {cluster} reached: {reached}: {told}"));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What a command of etcdctl prints and returns.
    pub(crate) async fn etcdctl(&mut self, line: &str) -> anyhow::Result<()> {
        let mut command = tokio::process::Command::new(peers::tool("etcdctl")?);
        command.arg(format!("--endpoints={}", self.process.address()));
        let output = command.args(line.split(' ')).output().await?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        // The client's own log lines name times; what they tell follows as text.
        let said: Vec<_> = said.lines().filter(|line| !line.starts_with('{')).collect();
        let code = output.status.code();
        // How long it took differs.
        let printed: Vec<_> =
            printed.lines().map(|line| line.split("took").next().unwrap_or_default()).collect();
        let all =
            format!("{printed:?} {said:?} {code:?}").replace(&self.process.address(), "ADDRESS");
        // Two spaces: Go's text format varies its own on purpose.
        let all = all.replace(&self.member.to_string(), "OWN").replace("  ", " ");
        self.lines.push(format!("etcdctl {line}: {all}"));
        Ok(())
    }

    pub(crate) async fn http(&mut self, method: &str, path: &str) -> anyhow::Result<()> {
        let answer = http::ask(&self.process.address(), method, path).await?;
        self.lines.push(format!("{method} {path}: {answer}"));
        Ok(())
    }

    /// A call of the JSON gateway.
    pub(crate) async fn json(&mut self, path: &str, body: &str) -> anyhow::Result<()> {
        let answer = http::call(&self.process.address(), path, body).await?;
        let answer = answer.replace(&self.member.to_string(), "OWN").replace("  ", " ");
        self.lines.push(format!("{path} {body}: {answer}"));
        Ok(())
    }

    /// The type of each metric, and the value of each series named with its labels.
    pub(crate) async fn metrics(&mut self, names: &[&str], series: &[&str]) -> anyhow::Result<()> {
        let page = http::page(&self.process.address(), "/metrics").await?;
        for name in names {
            let kind = format!("# TYPE {name} ");
            let kinds: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(&kind)).collect();
            self.lines.push(format!("{name} {kinds:?}"));
        }
        for name in series {
            let value = page.lines().find_map(|line| line.strip_prefix(name));
            // Go writes large numbers with an exponent.
            let value = value.map(str::parse::<f64>).transpose()?;
            self.lines.push(format!("{name}{value:?}"));
        }
        Ok(())
    }

    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill_and_restart().await?;
        let (_, channel) = connect(&self.process)?;
        self.kv = KvClient::new(channel.clone());
        self.leases = LeaseClient::new(channel.clone());
        self.maintenance = MaintenanceClient::new(channel);
        Ok(())
    }
}
